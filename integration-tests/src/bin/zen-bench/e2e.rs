//! End to end with every hop on disk: open-loop latency at 200 events/s both ways, from the time
//! an event was due to its arrival at the private service; then saturation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::world::World;

use crate::report::{Row, median};

const RATE: u32 = 200;
const SECONDS: u32 = 5;
const ROUNDS: usize = 3;
const SATURATION: usize = 20_000;
const SENDERS: usize = 64;
const LONG: Duration = Duration::from_secs(120);
const SECRET: &[u8] = b"It's a secret to everybody";

pub(crate) async fn run() -> anyhow::Result<Vec<Row>> {
    let mut world = World::start_with(&["log.level=warn".to_owned()]).await?;
    world.data.secret("github", SECRET)?;
    world.edge.secret("github", SECRET)?;
    let service = Service::start().await?;
    let target = json!({ "name": "t", "url": service.url(), "max_concurrency": 64 });
    let target = world.target(target).await?;
    let mut sources = Vec::new();
    for (name, plane, ingest) in [
        ("public", world.data.id.clone(), world.data.ingest.address),
        ("local", world.edge.id.clone(), world.edge.ingest.address),
    ] {
        let verification = json!({ "scheme": "github", "secrets": ["file:github"] });
        let endpoint = world
            .endpoint(&plane, name, verification, &target, json!({}))
            .await?;
        let url = format!(
            "http://{ingest}/hooks/{}",
            endpoint["id"].as_str().unwrap_or_default()
        );
        sources.push((name, Source::new(url, Scheme::Github(SECRET.to_vec()))));
    }
    world.settled().await?;
    let mut rows = Vec::new();
    for (name, source) in &sources {
        paced(source, &service, "warm", 1).await?;
        let mut all = Histogram::new(3)?;
        for round in 0..ROUNDS {
            all.add(paced(source, &service, &format!("{name}{round}"), SECONDS).await?)?;
        }
        rows.push(Row::rate(
            &format!("{name}/at 200 a second"),
            f64::from(RATE),
            "events/s",
            &all,
        ));
    }
    for (name, source) in &sources {
        let (mut rates, mut took) = (Vec::new(), Histogram::new(3)?);
        for round in 0..ROUNDS {
            let run = format!("{name}s{round}");
            rates.push(saturate(source, &service, &run, &mut took).await?);
        }
        let row = Row::rate(
            &format!("{name}/saturated"),
            median(rates),
            "deliveries/s",
            &took,
        );
        rows.push(row);
    }
    Ok(rows)
}

fn body(run: &str, number: usize) -> Bytes {
    json!({ "run": run, "number": number, "filler": "x".repeat(960) })
        .to_string()
        .into()
}

/// Posts at a constant rate, never waiting for an answer before the next is due.
async fn paced(
    source: &Source,
    service: &Service,
    run: &str,
    seconds: u32,
) -> anyhow::Result<Histogram<u64>> {
    let start = Instant::now();
    let mut posting = JoinSet::new();
    for number in 0..RATE * seconds {
        let due = start + Duration::from_secs_f64(f64::from(number) / f64::from(RATE));
        tokio::time::sleep_until(due.into()).await;
        let (source, run) = (source.clone(), run.to_owned());
        posting.spawn(async move {
            let id = format!("{run}-{number}");
            let event = source.post(&id, body(&run, number as usize)).await?;
            anyhow::Ok((event, due))
        });
    }
    let mut due = Vec::new();
    while let Some(posted) = posting.join_next().await {
        due.push(posted??);
    }
    arrived(service, &due).await
}

/// Waits for the events and tells how long each took from its due time, in µs.
async fn arrived(service: &Service, due: &[(String, Instant)]) -> anyhow::Result<Histogram<u64>> {
    let mut received = service.received.clone();
    // The last posted is missing the longest: asked first, a look is cheap.
    let all = received.wait_for(|all| due.iter().rev().all(|(event, _)| all.contains_key(event)));
    let all = tokio::time::timeout(LONG, all).await??;
    let mut took = Histogram::new(3)?;
    for (event, due) in due {
        if let Some(seen) = all.get(event) {
            let elapsed = seen.first.saturating_duration_since(*due);
            took.record(u64::try_from(elapsed.as_micros())?.max(1))?;
        }
    }
    Ok(took)
}

/// Posts as fast as answers come; the rate is that of arrivals at the service, first to last.
async fn saturate(
    source: &Source,
    service: &Service,
    run: &str,
    took: &mut Histogram<u64>,
) -> anyhow::Result<f64> {
    let next = Arc::new(Mutex::new(0..SATURATION));
    let mut posting = JoinSet::new();
    for _ in 0..SENDERS {
        let (source, next, run) = (source.clone(), Arc::clone(&next), run.to_owned());
        posting.spawn(async move {
            let mut posted = Vec::new();
            loop {
                let Some(number) = next.lock().await.next() else {
                    return anyhow::Ok(posted);
                };
                let start = Instant::now();
                let event = source
                    .post(&format!("{run}-{number}"), body(&run, number))
                    .await?;
                posted.push((event, start));
            }
        });
    }
    let mut posted = Vec::new();
    while let Some(some) = posting.join_next().await {
        posted.extend(some??);
    }
    took.add(arrived(service, &posted).await?)?;
    let received = service.received.borrow();
    let times = posted
        .iter()
        .filter_map(|(event, _)| Some(received.get(event)?.first));
    let (first, last) = (times.clone().min(), times.max());
    let span = first
        .zip(last)
        .map_or(f64::NAN, |(first, last)| (last - first).as_secs_f64());
    Ok(posted.len() as f64 / span)
}

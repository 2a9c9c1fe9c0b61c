//! Nothing accepted is lost: every 202 ends delivered or as a dead letter, whoever is killed.
#![cfg(test)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::service::{Received, Service};
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::world::World;

const SECRET: &[u8] = b"It's a secret to everybody";
const SOURCES: u32 = 32;
/// Long enough for a target to come back from any storm.
const LONG: Duration = Duration::from_secs(300);

fn body(number: u32) -> Bytes {
    let filler = "x".repeat(900);
    json!({ "number": number, "filler": filler })
        .to_string()
        .into()
}

/// Posts `count` events from many sources; the answer maps event ids to numbers.
async fn post(source: &Source, count: u32, run: &'static str) -> HashMap<String, u32> {
    let next = Arc::new(AtomicU32::new(0));
    let mut posting = JoinSet::new();
    for _ in 0..SOURCES {
        let (source, next) = (source.clone(), Arc::clone(&next));
        posting.spawn(async move {
            let mut accepted = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= count {
                    return accepted;
                }
                let id = format!("{run}-{number}");
                let event = source
                    .post_until_accepted(&id, body(number), LONG)
                    .await
                    .unwrap();
                accepted.push((event, number));
            }
        });
    }
    posting.join_all().await.into_iter().flatten().collect()
}

/// Waits until every accepted event is at the service or a dead letter, and checks the keys.
async fn all_settled(world: &World, service: &Service, accepted: &HashMap<String, u32>) {
    let dead = eventually("every accepted event is settled", LONG, || async {
        let letters = world
            .api
            .all("/v1/dead-letters", &format!("&plane_id={}", world.edge.id))
            .await?;
        let dead: HashSet<String> = letters
            .iter()
            .filter_map(|letter: &Value| letter["event_id"].as_str().map(ToOwned::to_owned))
            .collect();
        let received = service.received.borrow();
        let missing = accepted
            .keys()
            .filter(|event| !received.contains_key(*event) && !dead.contains(*event))
            .count();
        anyhow::ensure!(missing == 0, "{missing} of {} missing", accepted.len());
        Ok(dead)
    })
    .await
    .unwrap();
    let received: Received = service.received.borrow().clone();
    let mut duplicates = 0;
    for (event, number) in accepted {
        let Some(seen) = received.get(event) else {
            continue;
        };
        assert_eq!(
            seen.keys.len(),
            1,
            "{event} came with several Idempotency-Keys: {seen:?}"
        );
        assert_eq!(seen.body, body(*number), "{event} came with another body");
        duplicates += seen.times - 1;
    }
    println!(
        "{} accepted, {} dead letters, {duplicates} duplicates at the target, each with the same \
         Idempotency-Key",
        accepted.len(),
        dead.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_202_is_delivered_while_every_process_is_killed_at_random() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut world = World::start().await.unwrap();
    world.data.secret("github", SECRET).unwrap();
    let service = Service::start().await.unwrap();
    let target = world
        .target(json!({ "name": "t", "url": service.url() }))
        .await
        .unwrap();
    let verification = json!({ "scheme": "github", "secrets": ["file:github"] });
    let retry = json!({ "max_attempts": 20, "initial_backoff_ms": 100, "max_backoff_ms": 2000 });
    let endpoint = world
        .endpoint(&world.data.id, "e", verification, &target, retry)
        .await
        .unwrap();
    world.settled().await.unwrap();
    let source = Source::new(
        format!(
            "http://{}/hooks/{}",
            world.data.ingest.address,
            endpoint["id"].as_str().unwrap()
        ),
        Scheme::Github(SECRET.to_vec()),
    );

    let world = Arc::new(Mutex::new(world));
    let over = Arc::new(AtomicBool::new(false));
    let storm = tokio::spawn(kill_at_random(Arc::clone(&world), Arc::clone(&over), seed));
    let accepted = post(&source, 20_000, "storm").await;
    over.store(true, Ordering::SeqCst);
    let kills = storm.await.unwrap();
    println!("killed: {kills:?}");
    let mut world = Arc::into_inner(world).unwrap().into_inner();
    world.settled().await.unwrap();
    all_settled(&world, &service, &accepted).await;
    for part in [
        "zen-ingester",
        "zen-bridge",
        "zen-egress",
        "zen-agent",
        "zen-control-plane",
    ] {
        assert!(
            kills.get(part).is_some_and(|count| *count > 0),
            "{part} was never killed"
        );
    }
}

/// Kills one process after another and starts it again; every component at least once.
async fn kill_at_random(
    world: Arc<Mutex<World>>,
    over: Arc<AtomicBool>,
    seed: u64,
) -> HashMap<&'static str, u32> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = HashMap::new();
    let mut round = 0;
    while round < 10 || !over.load(Ordering::SeqCst) {
        // The storm's own rhythm, not a wait for a state.
        tokio::time::sleep(Duration::from_millis(random.random_range(50..900))).await;
        let mut world = world.lock().await;
        let mut units = world.units();
        let count = units.len();
        // The first round visits everyone, in an order given by the seed.
        let chosen = if round < count {
            round
        } else {
            random.random_range(0..count)
        };
        let unit = &mut units[chosen];
        unit.kill().await.unwrap();
        *kills.entry(unit.binary).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        unit.start().unwrap();
        round += 1;
    }
    kills
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_flows_without_a_control_plane_across_restarts() {
    let mut world = World::start().await.unwrap();
    world.data.secret("github", SECRET).unwrap();
    world.edge.secret("github", SECRET).unwrap();
    let service = Service::start().await.unwrap();
    let target = world
        .target(json!({ "name": "t", "url": service.url() }))
        .await
        .unwrap();
    let mut sources = Vec::new();
    for (plane, ingest, name) in [
        (world.data.id.clone(), world.data.ingest.address, "public"),
        (world.edge.id.clone(), world.edge.ingest.address, "local"),
    ] {
        let verification = json!({ "scheme": "github", "secrets": ["file:github"] });
        let endpoint = world
            .endpoint(&plane, name, verification, &target, json!({}))
            .await
            .unwrap();
        let url = format!("http://{ingest}/hooks/{}", endpoint["id"].as_str().unwrap());
        sources.push(Source::new(url, Scheme::Github(SECRET.to_vec())));
    }
    world.settled().await.unwrap();
    world.control_plane.kill().await.unwrap();

    let mut accepted = HashMap::new();
    for source in &sources {
        accepted.extend(post(source, 200, "before").await);
    }
    let mut units = Vec::from_iter(world.data.units());
    units.extend(world.edge.units());
    for unit in units {
        unit.kill().await.unwrap();
        unit.start().unwrap();
    }
    for source in &sources {
        accepted.extend(post(source, 200, "after").await);
    }
    let mut received = service.received.clone();
    let all = received.wait_for(|all| accepted.keys().all(|event| all.contains_key(event)));
    let came = tokio::time::timeout(LONG, all).await.is_ok();
    let count = service.received.borrow().len();
    assert!(
        came,
        "{count} of {} delivered without a control plane",
        accepted.len()
    );
    // It comes back, and the planes with it.
    world.control_plane.start().unwrap();
    world.settled().await.unwrap();
    all_settled(&world, &service, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_target_never_takes_becomes_a_dead_letter_with_its_history() {
    let mut world = World::start().await.unwrap();
    let service = Service::start().await.unwrap();
    service.answer(http::StatusCode::INTERNAL_SERVER_ERROR);
    let target = world
        .target(json!({ "name": "t", "url": service.url() }))
        .await
        .unwrap();
    let retry = json!({ "max_attempts": 3, "initial_backoff_ms": 10, "max_backoff_ms": 50 });
    let endpoint = world
        .endpoint(
            &world.edge.id,
            "e",
            json!({ "scheme": "none" }),
            &target,
            retry,
        )
        .await
        .unwrap();
    world.settled().await.unwrap();
    let url = format!(
        "http://{}/hooks/{}",
        world.edge.ingest.address,
        endpoint["id"].as_str().unwrap()
    );
    let event = Source::new(url, Scheme::None)
        .post("x", body(1))
        .await
        .unwrap();
    let letter = eventually("a dead letter is listed", LONG, || async {
        let letters = world
            .api
            .all("/v1/dead-letters", &format!("&plane_id={}", world.edge.id))
            .await?;
        letters
            .into_iter()
            .find(|letter| letter["event_id"] == event.as_str())
            .ok_or_else(|| anyhow::anyhow!("none yet"))
    })
    .await
    .unwrap();
    assert_eq!(letter["attempts"], 3, "{letter}");
    assert_eq!(letter["status"], "dead_letter", "{letter}");
    let history = letter["history"].as_array().unwrap();
    assert!(
        history.iter().all(|attempt| attempt["status"] == 500),
        "{letter}"
    );
}

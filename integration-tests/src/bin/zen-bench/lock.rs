//! zen-lock: opens a second beside what this machine can open in memory, the memory of a process
//! that serves a thousand secrets, and how fast they are sealed again for a newer key.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use zen_integration_tests::fake_agent::FakeAgent;
use zen_integration_tests::locks::{Lock, open, question, stored};
use zen_proto::agent::v1::Slice;
use zen_proto::ids::{Id, PlaneId, TenantId};
use zen_proto::purpose::Purpose;
use zen_proto::snapshot::v1::Snapshot;
use zen_seal::{Identity, unseal};

use crate::idle::rss_mib;
use crate::machine;
use crate::report::{Row, median};

const SECRETS: u64 = 1_000;
const VALUE: &[u8] = b"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const PURPOSES: [Purpose; 1] = [Purpose::TargetAuth];
const PURPOSE: &str = "target-auth";
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
/// Secrets that zen-lock seals again a second, by its own rule.
const PACE: f64 = 50.0;

pub(crate) async fn run() -> anyhow::Result<Vec<Row>> {
    let folder = machine::folder()?;
    let sockets = tempfile::tempdir()?;
    let socket = sockets.path().join("a.sock");
    let plane = PlaneId::generate(1, [3; 10]).to_string();
    let mut lock = Lock::new(sockets.path(), &socket, &plane)?;
    lock.unit.set("log.level", "warn");
    lock.unit.set("state_dir", folder.path().display());
    let mut snapshot = Snapshot {
        version: 1,
        revision: 1,
        tenant_id: TenantId::generate(1, [2; 10]).to_string(),
        plane_id: plane,
        ..Snapshot::default()
    };
    for number in 0..SECRETS {
        let name = format!("s{number}");
        let sealed = lock.sealed(&name, &PURPOSES, &[("value", VALUE)])?;
        snapshot.secrets.push(stored(number, &name, sealed));
    }
    let sealed = snapshot
        .secrets
        .first()
        .context("no secret")?
        .sealed
        .clone();
    let slice = Slice {
        snapshot: Some(snapshot),
        ..Slice::default()
    };
    let agent = FakeAgent::start(&socket, slice)?;
    lock.unit.start()?;
    lock.unit.ready().await?;
    lock.metric_is("zen_lock_secrets", f64::from(u32::try_from(SECRETS)?))
        .await?;
    let memory = rss_mib(&lock.unit)?;

    let identity = Identity::from_file(&lock.identity("1"))?;
    let cores = std::thread::available_parallelism()?.get();
    let (mut limit, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    let (mut took_one, mut took_many) = (Histogram::new(3)?, Histogram::new(3)?);
    for _ in 0..ROUNDS {
        limit.push(in_memory(&sealed, &identity)?);
        one.push(load(&lock, 1, &mut took_one).await?);
        many.push(load(&lock, 64, &mut took_many).await?);
    }
    let (thread, one, many) = (median(limit), median(one), median(many));
    let after = rss_mib(&lock.unit)?;
    let resealed = reseal(&lock, &agent).await?;
    Ok(vec![
        Row::rate("lock/open, 1 caller", one, "opens/s", &took_one).against(thread),
        Row::rate("lock/open, 64 callers", many, "opens/s", &took_many)
            .against(thread * cores as f64),
        figure("lock/RSS, 1,000 secrets", memory, "MiB"),
        figure("lock/RSS after the load", after, "MiB"),
        figure("lock/re-seal", resealed, "secrets/s").against(PACE),
    ])
}

fn figure(name: &str, ours: f64, unit: &'static str) -> Row {
    Row {
        name: name.to_owned(),
        ours,
        unit,
        ..Row::default()
    }
}

/// Opens the same file over and over on one thread, with nothing around it.
fn in_memory(sealed: &str, identity: &Identity) -> anyhow::Result<f64> {
    let (start, mut opened) = (Instant::now(), 0.0);
    let identities = std::slice::from_ref(identity);
    while start.elapsed() < ROUND {
        black_box(unseal(black_box(sealed.as_bytes()), identities)?);
        opened += 1.0;
    }
    Ok(opened / start.elapsed().as_secs_f64())
}

/// Asks from so many callers for one round, each on a connection of its own up to eight.
async fn load(lock: &Lock, callers: u64, took: &mut Histogram<u64>) -> anyhow::Result<f64> {
    let clients = (0..callers.min(8)).map(|_| lock.client());
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let start = Instant::now();
    let mut asking = JoinSet::new();
    for (caller, client) in (0..callers).zip(clients.iter().cycle()) {
        let mut client = client.clone();
        asking.spawn(async move {
            let (mut number, mut took) = (caller, Vec::new());
            while start.elapsed() < ROUND {
                let asked = Instant::now();
                let name = format!("s{}", number % SECRETS);
                open(&mut client, question(&name, PURPOSE)).await?;
                took.push(asked.elapsed());
                number += callers;
            }
            anyhow::Ok(took)
        });
    }
    let mut opened = 0.0;
    while let Some(ended) = asking.join_next().await {
        for one in ended?? {
            took.record(u64::try_from(one.as_micros())?)?;
            opened += 1.0;
        }
    }
    Ok(opened / start.elapsed().as_secs_f64())
}

/// From the first to the last secret that comes back sealed for a newer key.
async fn reseal(lock: &Lock, agent: &FakeAgent) -> anyhow::Result<f64> {
    let mut resealed = agent.resealed();
    lock.add_identity("2")?;
    resealed.wait_for(|all| !all.is_empty()).await?;
    let start = Instant::now();
    let all = usize::try_from(SECRETS)?;
    let done = resealed.wait_for(|done| done.len() >= all);
    let done = tokio::time::timeout(Duration::from_secs(300), done).await??;
    Ok((done.len() - 1) as f64 / start.elapsed().as_secs_f64())
}

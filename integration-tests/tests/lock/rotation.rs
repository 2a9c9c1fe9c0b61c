//! Keys come and go while secrets are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::fake_agent::FakeAgent;
use zen_integration_tests::locks::{Lock, open, question, seal, stored};
use zen_proto::agent::v1::Slice;
use zen_proto::purpose::Purpose;
use zen_proto::session::v1::LockStatus;

use crate::plane::{LONG, bare};

const PURPOSES: [Purpose; 1] = [Purpose::TargetAuth];
const PURPOSE: &str = "target-auth";
const SECRETS: u64 = 120;

/// A zen-lock whose control plane has so many secrets.
async fn with_secrets(count: u64) -> (tempfile::TempDir, FakeAgent, Lock) {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let socket = dir.path().join("a.sock");
    let mut snapshot = bare();
    let mut lock = Lock::new(dir.path(), &socket, &snapshot.plane_id).unwrap();
    for number in 0..count {
        let name = format!("s{number}");
        let value = format!("value of {name}");
        let sealed = lock.sealed(&name, &PURPOSES, &[("value", value.as_bytes())]);
        snapshot
            .secrets
            .push(stored(number, &name, sealed.unwrap()));
    }
    let slice = Slice {
        snapshot: Some(snapshot),
        ..Slice::default()
    };
    let agent = FakeAgent::start(&socket, slice).unwrap();
    lock.unit.start().unwrap();
    lock.unit.ready().await.unwrap();
    (dir, agent, lock)
}

/// Waits until zen-lock reports so.
async fn reports(agent: &FakeAgent, what: &str, holds: impl Fn(&LockStatus) -> bool) {
    let mut statuses = agent.statuses();
    let reported = statuses.wait_for(|all| {
        let lock = all.get("lock").and_then(|status| status.lock.as_ref());
        lock.is_some_and(&holds)
    });
    let reported = tokio::time::timeout(LONG, reported).await.is_ok();
    assert!(
        reported,
        "{what}: {:?}",
        agent.statuses().borrow().get("lock")
    );
}

/// How many secrets each key opens.
fn usage(status: &LockStatus, key_id: &str) -> u32 {
    let used = status.usage.iter().find(|usage| usage.key_id == key_id);
    used.map_or(0, |usage| usage.secrets)
}

#[tokio::test]
async fn an_identity_is_added_and_retired_without_a_restart() {
    let (_dir, agent, lock) = with_secrets(1).await;
    let mut client = lock.client().unwrap();
    let first = lock.recipient("1").unwrap();
    let second = lock.add_identity("2").unwrap();
    let values = [("value", b"new".as_slice())];
    let sealed = seal(&lock.plane, "new", &PURPOSES, &values, &second).unwrap();
    std::fs::write(lock.file("new"), sealed).unwrap();
    lock.put("old", &PURPOSES, &values).unwrap();
    eventually("the new key opens", LONG, || {
        let mut client = client.clone();
        async move { open(&mut client, question("new", PURPOSE)).await }
    })
    .await
    .unwrap();
    open(&mut client, question("old", PURPOSE)).await.unwrap();
    // The control plane's is sealed again; that of the folder is not, and it is said so.
    reports(&agent, "who needs the old key", |status| {
        status.recipients == [second.to_string(), first.to_string()]
            && usage(status, &first.key_id()) == 1
            && usage(status, &second.key_id()) == 2
            && status.to_reseal == 0
    })
    .await;
    std::fs::remove_file(lock.identity("1")).unwrap();
    eventually("the old key is gone", LONG, || {
        let mut client = client.clone();
        async move {
            let refused = open(&mut client, question("old", PURPOSE)).await.err();
            let refused = refused.map(|error| error.to_string());
            anyhow::ensure!(
                refused.as_deref() == Some("SECRET_WRONG_RECIPIENT"),
                "{refused:?}"
            );
            Ok(())
        }
    })
    .await
    .unwrap();
    open(&mut client, question("new", PURPOSE)).await.unwrap();
    open(&mut client, question("s0", PURPOSE)).await.unwrap();
    // With no key left it says so, and keeps what it had.
    std::fs::remove_file(lock.identity("2")).unwrap();
    eventually("the empty folder is said", LONG, || async {
        anyhow::ensure!(
            lock.unit
                .log_text()
                .contains("identities stay as they were")
        );
        Ok(())
    })
    .await
    .unwrap();
    open(&mut client, question("s0", PURPOSE)).await.unwrap();
}

#[tokio::test]
async fn everything_is_sealed_again_under_load_and_no_open_fails() {
    let (_dir, agent, mut lock) = with_secrets(SECRETS).await;
    let first = lock.recipient("1").unwrap();
    let (stop, opened) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut loading = JoinSet::new();
    for caller in 0..4 {
        let (stop, opened) = (Arc::clone(&stop), Arc::clone(&opened));
        let mut client = lock.client().unwrap();
        loading.spawn(async move {
            let mut number = caller;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("s{}", number % SECRETS);
                let answer = open(&mut client, question(&name, PURPOSE)).await?;
                anyhow::ensure!(answer.value == format!("value of {name}"), "{name}");
                opened.fetch_add(1, Ordering::Relaxed);
                number += 4;
            }
            anyhow::Ok(())
        });
    }
    // Without a session nothing is lost and nothing is done; the progress is shown.
    agent.connect(false);
    let second = lock.add_identity("2").unwrap();
    let all = u32::try_from(SECRETS).unwrap();
    reports(&agent, "all are to be sealed again", |status| {
        status.to_reseal == all
    })
    .await;
    lock.metric_is("zen_lock_reseal_pending", f64::from(all))
        .await
        .unwrap();
    agent.connect(true);
    reports(&agent, "all are sealed again", |status| {
        status.to_reseal == 0
            && usage(status, &second.key_id()) == all
            && usage(status, &first.key_id()) == 0
    })
    .await;
    lock.metric_is("zen_lock_reseal_pending", 0.0)
        .await
        .unwrap();
    std::fs::remove_file(lock.identity("1")).unwrap();
    lock.metric_is("zen_lock_identities", 1.0).await.unwrap();
    let before = opened.load(Ordering::Relaxed);
    eventually(
        "opens go on with the new key alone",
        Duration::from_secs(20),
        || async {
            anyhow::ensure!(opened.load(Ordering::Relaxed) > before + 200);
            Ok(())
        },
    )
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = loading.join_next().await {
        ended.unwrap().unwrap();
    }
    let resealed = agent.resealed().borrow().clone();
    assert_eq!(
        resealed.len(),
        usize::try_from(SECRETS).unwrap(),
        "each once"
    );
    assert!(
        resealed
            .iter()
            .all(|one| one.recipients == [second.to_string()])
    );
    // Asked to stop, it answers what was asked and ends well, whoever is still connected.
    let mut client = lock.client().unwrap();
    open(&mut client, question("s0", PURPOSE)).await.unwrap();
    assert!(lock.unit.terminate().await.unwrap().success());
}

//! Stops, crashes and kills: what was acknowledged is delivered, under the same key.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::target::{Reply, Target, status};
use crate::world::{Ingester, World};

#[tokio::test]
async fn a_stop_lets_attempts_end_and_leaves_the_rest_due() {
    let world = World::new();
    let target = Target::serve(|_, _| Reply {
        delay: Duration::from_millis(300),
        ..status(200)
    })
    .await;
    world.target_with(1, &target.url, |target, _| target.max_concurrency = 4);
    let egress = world.start().await;
    egress
        .ingester()
        .await
        .deliver(world.deliveries(1, 0..10))
        .await;
    target.wait(4).await;
    egress.stop().await;
    let before = target.seen().len();
    assert!(before < 10, "nothing was left");
    let egress = world.start().await;
    target.wait(10).await;
    world.agent.status(|status| status.queue_depth == 0).await;
    egress.stop().await;
    // Those under way at the stop ended and were not made again.
    assert!(
        target
            .by_delivery()
            .into_values()
            .all(|requests| requests == 1)
    );
    assert_eq!(target.by_delivery().len(), 10);
}

#[tokio::test]
async fn attempts_cut_off_by_a_stop_are_made_again_under_the_same_key() {
    let world = World::new();
    let hanging = Arc::new(AtomicBool::new(true));
    let hangs = hanging.clone();
    let target = Target::serve(move |_, _| {
        let secs = if hangs.load(Ordering::SeqCst) { 600 } else { 0 };
        Reply {
            delay: Duration::from_secs(secs),
            ..status(200)
        }
    })
    .await;
    world.target(1, &target.url);
    let egress = world
        .start_with(|config| config.drain = Duration::from_millis(100))
        .await;
    egress
        .ingester()
        .await
        .deliver(world.deliveries(1, 0..3))
        .await;
    target.wait(3).await;
    egress.stop().await;
    hanging.store(false, Ordering::SeqCst);
    let egress = world.start().await;
    let seen = target.wait(6).await;
    assert!(
        target
            .by_delivery()
            .into_values()
            .all(|requests| requests == 2)
    );
    assert!(seen.iter().all(|seen| seen.header("x-zen-attempt") == "1"));
    egress.stop().await;
}

/// An egress in a process of its own.
pub(crate) struct Killable(Child);

impl Killable {
    pub(crate) fn start(world: &World) -> Self {
        let set = |key: &str, value: String| ["--set".to_owned(), format!("{key}={value}")];
        let path = |name: &str| world.path(name).display().to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_zen-egress"))
            .args(set("state_dir", path("egress")))
            .args(set("listen", format!("unix:{}", path("egress.sock"))))
            .args(set("agent.address", format!("unix:{}", path("agent.sock"))))
            .args(set("secrets_dir", path("secrets")))
            .args(set("admin.listen", "127.0.0.1:0".to_owned()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// SIGKILL: nothing is flushed, nothing is told.
    pub(crate) async fn kill(mut self) {
        self.0.kill().await.unwrap();
    }
}

/// Waits until it is up.
pub(crate) async fn connect(world: &World) -> Ingester {
    let connected = async {
        loop {
            if tokio::net::UnixStream::connect(world.path("egress.sock"))
                .await
                .is_ok()
            {
                return Ingester::attach(&world.path("egress.sock")).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), connected)
        .await
        .expect("not up in time")
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kills_at_any_point() {
    let world = World::new();
    // Some fail at first, so that kills meet retries too.
    let target = Target::serve(|seen, number| {
        status(if number % 5 == 0 && seen.header("x-zen-attempt") == "1" {
            503
        } else {
            200
        })
    })
    .await;
    world.target_with(1, &target.url, |_, flow| {
        flow.retry.as_mut().unwrap().max_attempts = 50;
    });
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    for kill_after in [3, 11, 40, 17] {
        let egress = Killable::start(&world);
        let mut ingester = connect(&world).await;
        let mut under_way = std::collections::VecDeque::new();
        for _ in 0..kill_after + 4 {
            let batch = world.deliveries(1, next..next + 25);
            next += 25;
            under_way.push_back(
                batch
                    .iter()
                    .map(|d| d.delivery_id.clone())
                    .collect::<Vec<_>>(),
            );
            ingester.send(batch).await.unwrap();
        }
        for _ in 0..kill_after {
            ingester.answer().await.expect("the egress has gone");
            acknowledged.extend(under_way.pop_front().unwrap());
        }
        egress.kill().await;
    }
    let egress = Killable::start(&world);
    target
        .wait_until("all that was acknowledged", |_| {
            let delivered = target.by_delivery();
            acknowledged.iter().all(|id| delivered.contains_key(id))
        })
        .await;
    assert_eq!(acknowledged.len(), (3 + 11 + 40 + 17) * 25);
    egress.kill().await;
}

//! What was handed out is written down, whatever happens to the process.

use std::fs::File;
use std::time::Duration;

use tokio::task::JoinSet;
use zen_integration_tests::fake_agent::FakeAgent;
use zen_integration_tests::locks::{Lock, open, question};
use zen_lock::{End, check_audit};
use zen_proto::agent::v1::Slice;
use zen_proto::purpose::Purpose;

use crate::plane::bare;

const PURPOSE: &str = "target-auth";

fn checked(lock: &Lock) -> End {
    check_audit(&mut File::open(lock.audit()).unwrap()).unwrap()
}

#[tokio::test]
async fn the_chain_of_openings_holds_over_kills_and_has_all_that_was_handed_out() {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let socket = dir.path().join("a.sock");
    let slice = Slice {
        snapshot: Some(bare()),
        ..Slice::default()
    };
    let _agent = FakeAgent::start(&socket, slice).unwrap();
    let mut lock = Lock::new(dir.path(), &socket, &bare().plane_id).unwrap();
    let values = [("value", b"x".as_slice())];
    lock.put("a", &[Purpose::TargetAuth], &values).unwrap();
    let mut handed_out = 0;
    for _ in 0..3 {
        lock.unit.start().unwrap();
        lock.unit.ready().await.unwrap();
        let mut asking = JoinSet::new();
        for _ in 0..8 {
            let mut client = lock.client().unwrap();
            asking.spawn(async move {
                let mut opened = 0;
                while open(&mut client, question("a", PURPOSE)).await.is_ok() {
                    opened += 1;
                }
                opened
            });
        }
        let lines = lock.metric("zen_lock_opens_total", &[("outcome", "opened")]);
        assert!(lines.await.is_ok());
        zen_integration_tests::eventually::eventually(
            "some are opened",
            Duration::from_secs(30),
            || async {
                let labels = [("outcome", "opened")];
                let opened = lock.metric("zen_lock_opens_total", &labels).await?;
                anyhow::ensure!(opened > 100.0, "{opened}");
                Ok(())
            },
        )
        .await
        .unwrap();
        lock.unit.kill().await.unwrap();
        handed_out += asking.join_all().await.into_iter().sum::<u64>();
        let end = checked(&lock);
        assert!(end.seq >= handed_out, "{} of {handed_out}", end.seq);
    }
    let look = || {
        let program = zen_integration_tests::tools::binary("zen-lock").unwrap();
        let mut command = std::process::Command::new(program);
        command.arg("audit").arg(lock.audit()).output().unwrap()
    };
    let looked = look();
    assert!(looked.status.success(), "{looked:?}");
    assert!(looked.stdout.starts_with(b"whole: "), "{looked:?}");
    // A line that was changed is found, and no new one is written behind it.
    let text = std::fs::read_to_string(lock.audit()).unwrap();
    std::fs::write(
        lock.audit(),
        text.replacen("target-auth", "target-signing", 1),
    )
    .unwrap();
    let looked = String::from_utf8(look().stderr).unwrap();
    assert!(looked.contains("was changed, removed or moved"), "{looked}");
    lock.unit.start().unwrap();
    let ended = lock.unit.ended(Duration::from_secs(30)).await.unwrap();
    assert!(!ended.success());
    assert!(
        lock.unit
            .log_text()
            .contains("was changed, removed or moved")
    );
}

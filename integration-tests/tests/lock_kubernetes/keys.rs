//! Keys: several at once, added and retired while everything goes on.

use zen_integration_tests::eventually::eventually;
use zen_integration_tests::world::PATIENCE;

use super::stage::{Stage, put_identity};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_sealed_again_for_a_new_key_and_no_pod_waits_for_it() {
    let stage = Stage::start().await;
    const COUNT: usize = 40;
    let names: Vec<_> = (0..COUNT).map(|n| format!("s{n}")).collect();
    for name in &names {
        stage.put("shop", name, &["api"], name);
    }
    let pod = stage.asking("shop", "api", "s7").await.unwrap();
    let new = put_identity(&stage.identities(), "2.key");
    let key_id = new.recipient().key_id();
    // Opens go on while it is done.
    let mut opened = 0;
    loop {
        assert_eq!(stage.run(&pod).unwrap()["password"], b"s7");
        opened += 1;
        let current = names.iter().filter(|name| {
            let object = stage.server.get("zenlocks", "shop", name).unwrap();
            object["status"]["keyIds"] == serde_json::json!([key_id])
        });
        if current.count() == COUNT {
            break;
        }
        assert!(opened < 2_000, "not sealed again");
    }
    assert_eq!(
        stage.metric("zen_lock_zenlocks_reseal_pending", &[]).await,
        0.0
    );
    // The old key is of no use any more, and its end changes nothing.
    std::fs::remove_file(stage.identities().join("1.key")).unwrap();
    eventually("the old key is gone", PATIENCE, || async {
        let held = stage.metric("zen_lock_identities", &[]).await;
        anyhow::ensure!(held == 1.0, "{held}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(stage.run(&pod).unwrap()["password"], b"s7");
    stage.condition("shop", "s7", "True", "Opened").await;
}

//! What an upgrade keeps: the plane's identity, and every event that was accepted.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::tools::binary;
use zen_integration_tests::world::{PATIENCE, settled};

use super::installed::Installed;

#[tokio::test]
async fn an_upgrade_keeps_identity_and_undelivered_events() {
    let host = Installed::new().await.unwrap();
    let old = host.seat.dir.path().join("zen-old");
    std::fs::copy(binary("zen").unwrap(), &old).unwrap();
    let mut edge = host.start(&old, &[]).unwrap();
    host.healthy().await.unwrap();
    let service = Service::start().await.unwrap();
    service.answer(StatusCode::SERVICE_UNAVAILABLE);
    let endpoint = flow(&host, &service.url()).await;
    let url = format!("http://{}/hooks/{endpoint}", host.ingest.address);
    let source = Source::new(url, Scheme::None);
    let mut events = Vec::new();
    for number in 0..20 {
        let name = format!("event {number}");
        let body = Bytes::from(format!("{{\"number\":{number}}}"));
        events.push(
            source
                .post_until_accepted(&name, body, PATIENCE)
                .await
                .unwrap(),
        );
    }
    let identity = host.states.join("zen-edge/agent/identity.json");
    let key = |text: &[u8]| -> Value {
        let stored: Value = serde_json::from_slice(text).unwrap();
        stored["plane_ca_key_pem"].clone()
    };
    let before = key(&std::fs::read(&identity).unwrap());
    edge.kill().await.unwrap();
    std::fs::remove_file(&old).unwrap();

    // The credentials are still there, and nobody can delete them.
    assert_eq!(std::fs::read_dir(&host.credentials).unwrap().count(), 2);
    let _edge = host.start(&binary("zen").unwrap(), &[]).unwrap();
    host.healthy().await.unwrap();
    service.answer(StatusCode::NO_CONTENT);
    eventually("every event is delivered", PATIENCE, || async {
        let received = service.received.borrow();
        let missing = events
            .iter()
            .filter(|id| !received.contains_key(*id))
            .count();
        anyhow::ensure!(missing == 0, "{missing} missing");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(key(&std::fs::read(&identity).unwrap()), before);
    let shown = host.seat.show(&host.plane).await.unwrap();
    assert!(shown["alerts"].as_array().unwrap().is_empty(), "{shown}");
    let left = host.states.join("zen-edge/agent/enrollment/bundle.age");
    assert!(!left.exists());
}

/// A flow within the plane to `url`, that tries often; its endpoint's id.
async fn flow(host: &Installed, url: &str) -> String {
    let api = &host.seat.api;
    let target = json!({ "plane_id": host.plane, "name": "private", "url": url });
    let target = api.post("/v1/targets", &target).await.unwrap();
    let endpoint = json!({
        "plane_id": host.plane, "name": "in", "verification": { "scheme": "none" },
    });
    let endpoint = api.post("/v1/endpoints", &endpoint).await.unwrap();
    let flow = json!({
        "name": "f", "endpoint_id": endpoint["id"], "target_id": target["id"],
        "retry": { "max_attempts": 100, "initial_backoff_ms": 100, "max_backoff_ms": 500 },
    });
    api.post("/v1/flows", &flow).await.unwrap();
    settled(api, &host.plane, PATIENCE).await.unwrap();
    endpoint["id"].as_str().unwrap().to_owned()
}

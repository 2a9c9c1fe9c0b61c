//! A plane whose enrolment bundle nobody but its zen-lock can open.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use zen_integration_tests::unit::Unit;
use zen_integration_tests::world::Seat;

use super::stage::{OWN, Stage};

/// A bundle for this zen-lock alone, put where an agent looks for one.
async fn put_bundle(seat: &Seat, stage: &Stage, plane: &str, folder: &Path) {
    let recipient = stage.recipient().to_string();
    let path = format!("/v1/planes/{plane}/bundles");
    let asked = json!({ "recipient": recipient });
    let issued = seat.api.post(&path, &asked).await.unwrap();
    assert!(issued["identity"].is_null(), "a key was made");
    let bundle = issued["bundle"].as_str().unwrap();
    fs::write(folder.join("bundle.age"), bundle).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_enrols_with_a_bundle_that_its_zen_lock_opens_for_the_agent_alone() {
    let stage = Stage::start().await;
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let account: Value = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "zen-agent", "namespace": OWN } });
    stage.server.put(&account).unwrap();
    let folder = stage.dir.path().join("agent");
    fs::create_dir(&folder).unwrap();
    let published = stage.server.get("configmaps", OWN, "zen-lock-ca").unwrap();
    let authority = published["data"]["ca.pem"].as_str().unwrap();
    fs::write(folder.join("ca.pem"), authority).unwrap();
    let show_token_of = |account: &str| {
        let token = stage
            .server
            .token(OWN, account, &["zen-lock"], 600, None)
            .unwrap();
        fs::write(folder.join("token"), token).unwrap();
    };
    let file = |name: &str| folder.join(name).display().to_string();
    let mut agent = Unit::new(
        "zen-agent",
        &folder,
        vec![
            format!("listen=unix:{}", file("agent.sock")),
            format!("state_dir={}", file("state")),
            format!("enrollment.bundle_file={}", file("bundle.age")),
            format!("enrollment.identity_file={}", file("identity.txt")),
            format!("enrollment.lock.address={}", stage.pods_at.address),
            "enrollment.lock.server_name=zen-lock.events.svc".to_owned(),
            format!("enrollment.lock.ca_file={}", file("ca.pem")),
            format!("enrollment.lock.token_file={}", file("token")),
        ],
    )
    .unwrap();

    // Whoever else has a token of the namespace gets nothing.
    show_token_of("api");
    put_bundle(&seat, &stage, &plane, &folder).await;
    agent.start().unwrap();
    agent.pending_with("SECRET_NOT_ALLOWED").await.unwrap();

    show_token_of("zen-agent");
    put_bundle(&seat, &stage, &plane, &folder).await;
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
    for outcome in ["opened", "SECRET_NOT_ALLOWED"] {
        let labels = ["purpose=\"bundle\"", &format!("outcome=\"{outcome}\"")];
        let counted = stage.metric("zen_lock_opens_total", &labels).await;
        assert!((counted - 1.0).abs() < 0.5, "{outcome}: {counted}");
    }
}

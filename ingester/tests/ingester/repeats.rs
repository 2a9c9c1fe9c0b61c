//! Repeats are known by their source's own id: one after the other, at once, and across a restart.

use aws_lc_rs::hmac;
use zen_proto::snapshot::v1::Scheme;

use crate::harness::{Answer, Plane, Running, endpoint_id};

fn github_plane() -> Plane {
    let mut plane = Plane::new();
    plane.secret("github", "secret");
    plane.endpoint(2, Scheme::Github, &["file:github"]);
    plane
}

async fn deliver(running: &Running, guid: &str, body: &str) -> Answer {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
    let signature = format!("sha256={}", hex::encode(hmac::sign(&key, body.as_bytes())));
    let headers = [
        ("x-hub-signature-256", &*signature),
        ("x-github-delivery", guid),
    ];
    running.post(&endpoint_id(2), &headers, body).await
}

#[tokio::test]
async fn a_repeat_gets_the_first_events_id_and_is_stored_once() {
    let mut plane = github_plane();
    let running = plane.start().await;
    let first = deliver(&running, "one", "body").await;
    let again = deliver(&running, "one", "body").await;
    let other = deliver(&running, "two", "body").await;
    assert_eq!(first.event_id(), again.event_id());
    assert_ne!(first.event_id(), other.event_id());
    let report = plane
        .agent
        .report(|s| s.counters.iter().any(|c| c.duplicates == 1))
        .await;
    let counts = report
        .counters
        .iter()
        .find(|c| c.endpoint_id == endpoint_id(2))
        .unwrap();
    assert_eq!((counts.accepted, counts.duplicates), (2, 1));
    running.stop().await;
    assert_eq!(plane.stored().await.len(), 2);
}

#[tokio::test]
async fn repeats_that_come_at_once_are_one_event() {
    let mut plane = github_plane();
    let running = plane.start().await;
    let all = futures::future::join_all((0..32).map(|_| deliver(&running, "one", "body"))).await;
    assert!(
        all.iter()
            .all(|answer| answer.event_id() == all[0].event_id())
    );
    running.stop().await;
    assert_eq!(plane.stored().await.len(), 1);
}

#[tokio::test]
async fn a_repeat_is_known_after_a_restart() {
    let mut plane = github_plane();
    let running = plane.start().await;
    let first = deliver(&running, "one", "body").await;
    running.stop().await;
    let running = plane.start().await;
    let again = deliver(&running, "one", "body").await;
    assert_eq!(first.event_id(), again.event_id());
    running.stop().await;
    assert_eq!(plane.stored().await.len(), 1);
}

//! A secret that cannot be read holds its endpoint back, and nothing else, until it can.

use zen_proto::snapshot::v1::Scheme;

use crate::harness::{Plane, SOON, endpoint_id};

const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[tokio::test]
async fn a_missing_secret_is_503_until_its_file_appears() {
    let mut plane = Plane::new();
    plane.endpoint(2, Scheme::Github, &["file:late"]);
    let running = plane.start().await;
    let signed = [("x-hub-signature-256", SIGNATURE)];
    let answer = running
        .post(&endpoint_id(2), &signed, "Hello, World!")
        .await;
    assert_eq!(answer.refusal(), (503, "SECRET_UNAVAILABLE"));
    assert!(answer.headers.contains_key("retry-after"));
    running.post(&endpoint_id(1), &[], "").await.event_id();

    plane.secret("late", "It's a Secret to Everybody");
    let accepted = async {
        while running
            .post(&endpoint_id(2), &signed, "Hello, World!")
            .await
            .status
            != 202
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, accepted)
        .await
        .expect("the secret is not read again");
    let answer = running
        .post(&endpoint_id(2), &signed, "Hello, World?")
        .await;
    assert_eq!(answer.refusal(), (401, "no_match"));
    running.stop().await;
}

#[tokio::test]
async fn a_readable_secret_verifies_beside_a_missing_one() {
    let mut plane = Plane::new();
    plane.secret("here", "It's a Secret to Everybody");
    plane.endpoint(2, Scheme::Github, &["file:missing", "file:here"]);
    let running = plane.start().await;
    let signed = [("x-hub-signature-256", SIGNATURE)];
    running
        .post(&endpoint_id(2), &signed, "Hello, World!")
        .await
        .event_id();
    // It may be signed with the one that is missing: not the source's fault.
    let answer = running
        .post(&endpoint_id(2), &signed, "Hello, World?")
        .await;
    assert_eq!(answer.refusal(), (503, "SECRET_UNAVAILABLE"));
    let answer = running.post(&endpoint_id(2), &[], "Hello, World!").await;
    assert_eq!(answer.refusal(), (401, "missing_header"));
    running.stop().await;
}

//! Every scheme through the door: the providers' vectors are accepted, what was tampered with is not.

use zen_chassis::Clock;
use zen_proto::snapshot::v1::Scheme;

use crate::harness::{Plane, endpoint_id};

const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const STRIPE: &str =
    "t=1700000000,v1=0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd";
const STANDARD: [(&str, &str); 3] = [
    ("webhook-id", "msg_loFOjxBNrRLzqYUf"),
    ("webhook-timestamp", "1731705121"),
    (
        "webhook-signature",
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
];
const STANDARD_BODY: &str = "{\"event_type\":\"ping\",\"data\":{\"success\":true}}";

#[tokio::test]
async fn github_is_accepted_with_any_live_secret_and_refused_once_tampered_with() {
    let mut plane = Plane::new();
    plane.secret("new", "another");
    plane.secret("old", "It's a Secret to Everybody\n");
    plane.endpoint(2, Scheme::Github, &["file:new", "file:old"]);
    let running = plane.start().await;
    let endpoint = endpoint_id(2);
    let signed = [("x-hub-signature-256", GITHUB)];
    running
        .post(&endpoint, &signed, "Hello, World!")
        .await
        .event_id();
    let answer = running.post(&endpoint, &signed, "Hello, World?").await;
    assert_eq!(answer.refusal(), (401, "no_match"));
    assert!(!answer.body.to_string().contains(&GITHUB[7..]));
    let answer = running.post(&endpoint, &[], "Hello, World!").await;
    assert_eq!(answer.refusal(), (401, "missing_header"));
    let twice = [signed[0], signed[0]];
    let answer = running.post(&endpoint, &twice, "Hello, World!").await;
    assert_eq!(answer.refusal(), (401, "malformed"));
    running.stop().await;
    assert_eq!(plane.stored().await.len(), 1);
}

#[tokio::test]
async fn stripe_is_accepted_within_the_tolerance_and_knows_its_event_by_the_body() {
    let mut plane = Plane::new();
    plane.clock = Clock::manual(1_700_000_000_000);
    plane.secret("stripe", "whsec_test_secret");
    plane.endpoint(2, Scheme::Stripe, &["file:stripe"]);
    let running = plane.start().await;
    let endpoint = endpoint_id(2);
    let signed = [("stripe-signature", STRIPE)];
    let body = "{\"id\":\"evt_1\",\"object\":\"event\"}";
    let first = running.post(&endpoint, &signed, body).await;
    let again = running.post(&endpoint, &signed, body).await;
    assert_eq!(first.event_id(), again.event_id());
    let answer = running
        .post(&endpoint, &signed, &body.replace("evt_1", "evt_2"))
        .await;
    assert_eq!(answer.refusal(), (401, "no_match"));
    plane.clock.advance(std::time::Duration::from_secs(301));
    let answer = running.post(&endpoint, &signed, body).await;
    assert_eq!(answer.refusal(), (401, "timestamp_outside_window"));
    running.stop().await;
    let events = plane.stored().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].source_key, "evt_1");
}

#[tokio::test]
async fn standard_webhooks_are_accepted_with_their_headers_whole() {
    let mut plane = Plane::new();
    plane.clock = Clock::manual(1_731_705_121_000);
    plane.secret("standard", "whsec_plJ3nmyCDGBKInavdOK15jsl");
    plane.endpoint(2, Scheme::StandardWebhooks, &["file:standard"]);
    let running = plane.start().await;
    let endpoint = endpoint_id(2);
    running
        .post(&endpoint, &STANDARD, STANDARD_BODY)
        .await
        .event_id();
    let mut changed = STANDARD;
    changed[0].1 = "msg_another";
    let answer = running.post(&endpoint, &changed, STANDARD_BODY).await;
    assert_eq!(answer.refusal(), (401, "no_match"));
    let answer = running.post(&endpoint, &STANDARD[..2], STANDARD_BODY).await;
    assert_eq!(answer.refusal(), (401, "missing_header"));
    running.stop().await;
    let events = plane.stored().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].source_key, "msg_loFOjxBNrRLzqYUf");
}

//! Test events and probes: what the control plane asks of an ingester.

use zen_proto::query::v1::{Hop, Probe, TestAccepted, TestEvent, answer, query};
use zen_proto::snapshot::v1::Scheme;

use crate::egress::FakeEgress;
use crate::harness::{Plane, endpoint_id};

async fn test(plane: &Plane, endpoint: u8, tenant_id: &str) -> TestAccepted {
    let asked = TestEvent {
        endpoint_id: endpoint_id(endpoint),
        tenant_id: tenant_id.to_owned(),
    };
    match plane.agent.ask(query::Question::TestEvent(asked)).await {
        answer::Answer::TestAccepted(accepted) => accepted,
        other => panic!("{other:?}"),
    }
}

async fn probe(plane: &Plane) -> Vec<Hop> {
    match plane
        .agent
        .ask(query::Question::Probe(Probe::default()))
        .await
    {
        answer::Answer::Probed(probed) => probed.hops,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_test_event_of_every_scheme_is_verified_and_stored_like_a_webhook() {
    let mut plane = Plane::new();
    plane.secret("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    plane.endpoint(2, Scheme::StandardWebhooks, &["file:key"]);
    plane.endpoint(3, Scheme::Github, &["file:key"]);
    let only = plane.endpoint(4, Scheme::Stripe, &["file:key"]);
    // Nobody may post from here, and not by POST: it is no post that a test makes.
    only.allowed_sources = vec!["192.0.2.0/24".to_owned()];
    only.methods = vec!["PUT".to_owned()];
    let running = plane.start().await;
    let tenant = plane.snapshot.tenant_id.clone();
    let mut ids = Vec::new();
    for endpoint in 1..=4 {
        let accepted = test(&plane, endpoint, &tenant).await;
        assert_eq!(accepted.code, "", "{accepted:?}");
        ids.push(accepted.event_id);
    }
    running.stop().await;
    let stored = plane.stored().await;
    assert_eq!(
        stored
            .iter()
            .map(|e| e.event_id.clone())
            .collect::<Vec<_>>(),
        ids
    );
    for event in &stored {
        let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(body["type"], "zen.test");
    }
    let signed = |name: &str| {
        let has = |event: &zen_proto::delivery::v1::Event| {
            event.headers.iter().any(|header| header.name == name)
        };
        stored.iter().position(has)
    };
    assert_eq!(signed("webhook-signature"), Some(1));
    assert_eq!(signed("x-hub-signature-256"), Some(2));
    assert_eq!(signed("stripe-signature"), Some(3));
}

#[tokio::test]
async fn a_test_event_is_refused_with_the_code_that_a_source_would_get() {
    let mut plane = Plane::new();
    plane.endpoint(2, Scheme::Github, &["file:absent"]);
    plane.endpoint(3, Scheme::None, &[]).removed = true;
    let running = plane.start().await;
    let tenant = plane.snapshot.tenant_id.clone();
    for (endpoint, tenant, code) in [
        (2, &*tenant, "SECRET_UNAVAILABLE"),
        (3, &*tenant, "ENDPOINT_REMOVED"),
        (9, &*tenant, "ENDPOINT_UNKNOWN"),
        (1, "ten_other", "ENDPOINT_UNKNOWN"),
    ] {
        let refused = test(&plane, endpoint, tenant).await;
        assert_eq!((&*refused.code, &*refused.event_id), (code, ""));
        assert!(!refused.detail.is_empty());
    }
    running.stop().await;
    assert!(plane.stored().await.is_empty());
}

#[tokio::test]
async fn a_probe_measures_the_egress_next_door_and_names_what_is_missing() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    plane.flow(2, Some("pl_elsewhere"));
    let running = plane.start().await;
    let hops = probe(&plane).await;
    let told: Vec<_> = hops.iter().map(|hop| (&*hop.to, &*hop.code)).collect();
    assert_eq!(
        told,
        [
            ("egress", "EGRESS_UNREACHABLE"),
            ("bridge", "BRIDGE_ABSENT")
        ]
    );
    let egress = FakeEgress::default();
    let served = egress.start(&plane.egress_socket());
    let reached = async {
        loop {
            let hop = probe(&plane).await.remove(0);
            if hop.code.is_empty() {
                return hop;
            }
            tokio::task::yield_now().await;
        }
    };
    let hop = tokio::time::timeout(crate::harness::SOON, reached)
        .await
        .unwrap();
    assert!(hop.rtt_us > 0 && hop.from == "ingester/0", "{hop:?}");
    running.stop().await;
    served.abort();
}

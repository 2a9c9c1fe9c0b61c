//! Test calls and probes: by the way of a delivery, with nothing kept.

use zen_proto::query::v1::{Hop, ListDeliveries, Probe, TestCall, TestCalled, answer, query};
use zen_proto::session::v1::TargetState;

use crate::target::{Target, status};
use crate::world::{World, target_id};

async fn test(world: &World, number: u8) -> TestCalled {
    let asked = TestCall {
        target_id: target_id(number).to_string(),
        tenant_id: world.agent.authority.tenant.to_string(),
    };
    match world.agent.ask(query::Question::TestCall(asked)).await {
        answer::Answer::TestCalled(called) => called,
        other => panic!("{other:?}"),
    }
}

async fn probe(world: &World) -> Vec<Hop> {
    let asked = Probe {
        tenant_id: world.agent.authority.tenant.to_string(),
    };
    match world.agent.ask(query::Question::Probe(asked)).await {
        answer::Answer::Probed(probed) => probed.hops,
        other => panic!("{other:?}"),
    }
}

/// Waits until the egress goes by a configuration with so many targets of the tenant.
async fn configured(world: &World, targets: usize) {
    let applied = async {
        while probe(world).await.len() != targets {
            tokio::task::yield_now().await;
        }
    };
    let applied = tokio::time::timeout(std::time::Duration::from_secs(20), applied).await;
    applied.expect("not configured in time");
}

/// The address of a port where nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_test_call_is_a_signed_request_that_no_ledger_knows() {
    let world = World::new();
    let target = Target::serve(|_, _| status(202)).await;
    let signing = world.secret("signing", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let token = world.secret("token", "s3cret");
    world.target_with(1, &target.url, |target, _| {
        target.signing_secrets = vec![signing];
        target.auth = Some(zen_proto::snapshot::v1::TargetAuth {
            kind: Some(zen_proto::snapshot::v1::target_auth::Kind::Bearer(token)),
        });
    });
    let egress = world.start().await;
    configured(&world, 1).await;
    let called = test(&world, 1).await;
    assert_eq!((called.status, &*called.code), (202, ""), "{called:?}");
    assert!(called.remote_address.contains(':'), "{called:?}");
    let seen = target.wait(1).await.remove(0);
    assert_eq!(seen.header("x-zen-test"), "1");
    assert_eq!(seen.header("authorization"), "Bearer s3cret");
    assert!(seen.header("webhook-signature").starts_with("v1,"));
    assert!(seen.header("idempotency-key").starts_with("dlv_"));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(body["type"], "zen.test");
    assert!(world.list(ListDeliveries::default()).await.is_empty());
    egress.stop().await;
}

#[tokio::test]
async fn a_test_call_says_why_there_is_no_answer_and_never_what_the_answer_says() {
    let world = World::new();
    let rejecting = Target::serve(|_, _| status(403)).await;
    world.target(1, &rejecting.url);
    world.target(2, &nobody().await);
    world.target(3, "http://169.254.169.254/latest");
    let egress = world.start().await;
    configured(&world, 3).await;
    let called = test(&world, 1).await;
    assert_eq!((called.status, &*called.code), (403, "TARGET_REJECTED"));
    assert!(!format!("{called:?}").contains("thanks"), "{called:?}");
    assert_eq!(test(&world, 2).await.code, "TARGET_UNREACHABLE");
    assert_eq!(test(&world, 3).await.code, "TARGET_ADDRESS_REFUSED");
    assert_eq!(test(&world, 4).await.code, "TARGET_UNKNOWN");
    egress.stop().await;
}

#[tokio::test]
async fn a_target_of_another_tenant_is_not_called() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target_with(1, &target.url, |target, _| {
        target.tenant_id = "ten_other".to_owned();
    });
    world.target(2, &nobody().await);
    let egress = world.start().await;
    configured(&world, 1).await;
    assert_eq!(test(&world, 1).await.code, "TARGET_UNKNOWN");
    let own = target_id(2).to_string();
    assert!(probe(&world).await.iter().all(|hop| hop.target_id == own));
    assert!(target.seen().is_empty());
    assert_eq!(
        target.connections.load(std::sync::atomic::Ordering::SeqCst),
        0
    );
    egress.stop().await;
}

#[tokio::test]
async fn a_probe_connects_to_each_target_and_asks_none_for_anything() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target(1, &target.url);
    world.target(2, &nobody().await);
    world.target(3, "http://169.254.169.254/");
    let egress = world.start().await;
    configured(&world, 3).await;
    let hops = probe(&world).await;
    let told: Vec<_> = hops
        .iter()
        .map(|hop| (&*hop.from, &*hop.to, &*hop.code, hop.rtt_us > 0))
        .collect();
    assert_eq!(
        told,
        [
            ("egress/0", "target", "", true),
            ("egress/0", "target", "TARGET_UNREACHABLE", false),
            ("egress/0", "target", "TARGET_ADDRESS_REFUSED", false),
        ]
    );
    assert_eq!(hops[0].target_id, target_id(1).to_string());
    assert!(target.seen().is_empty(), "no request was sent");
    egress.stop().await;
}

#[tokio::test]
async fn a_target_that_nobody_answers_at_is_in_the_status_until_it_answers() {
    let world = World::new();
    world.target(1, &nobody().await);
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    ingester.deliver(world.deliveries(1, 0..10)).await;
    let told = world.agent.status(|status| {
        let unwell = status.targets.first();
        unwell.is_some_and(|health| health.state() == TargetState::Open)
    });
    let told = told.await;
    assert!(told.ready && told.pending.is_empty());
    let health = &told.targets[0];
    assert_eq!(health.code, "TARGET_UNREACHABLE");
    assert!(health.since_ms > 0 && health.waiting > 0, "{health:?}");
    let back = Target::serve(|_, _| status(200)).await;
    world.target(1, &back.url);
    world.agent.status(|status| status.targets.is_empty()).await;
    egress.stop().await;
}

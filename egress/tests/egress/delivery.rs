//! What a target gets to see, and what the egress makes of its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use zen_proto::query::v1::DeliveryStatus;
use zen_proto::snapshot::v1::{TargetAuth, target_auth};

use crate::target::{Reply, Target, status};
use crate::world::{World, header};

#[tokio::test]
async fn a_delivery_arrives_as_the_source_sent_it_signed_and_named() {
    let world = World::new();
    let target = Target::serve(|_, _| status(204)).await;
    let keys = [
        b"0123456789012345678901234".as_slice(),
        b"another key of this target".as_slice(),
    ];
    let secrets: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| {
            world.secret(
                &format!("s{i}"),
                &format!("whsec_{}\n", STANDARD.encode(key)),
            )
        })
        .collect();
    let bearer = world.secret("token", "sesame\n");
    world.target_with(1, &target.url, |target, _| {
        target.signing_secrets = secrets;
        target.auth = Some(TargetAuth {
            kind: Some(target_auth::Kind::Bearer(bearer)),
        });
    });
    let egress = world.start().await;
    let mut delivery = world.delivery(1, 7);
    let event = delivery.event.as_mut().unwrap();
    event.headers.push(header("webhook-id", "theirs"));
    event.headers.push(header("Host", "hooks.example"));
    event.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    let event = event.clone();
    let answer = egress
        .ingester()
        .await
        .deliver(vec![delivery.clone()])
        .await;
    assert!(answer.refused.is_empty());

    let seen = target.wait(1).await.remove(0);
    assert_eq!(
        (seen.method.clone(), seen.path.as_str()),
        (Method::POST, "/in")
    );
    assert_eq!(seen.body, event.body);
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("x-source"), "shop");
    assert_eq!(seen.header("authorization"), "Bearer sesame");
    assert!(seen.header("host").starts_with("localhost:"));
    assert_eq!(seen.header("idempotency-key"), delivery.delivery_id);
    assert_eq!(seen.header("x-zen-event-id"), event.event_id);
    assert_eq!(seen.header("x-zen-attempt"), "1");
    assert_eq!(seen.header("traceparent"), event.traceparent);
    assert_eq!(seen.header("webhook-id"), delivery.delivery_id);
    let mut signed = format!(
        "{}.{}.",
        delivery.delivery_id,
        seen.header("webhook-timestamp")
    );
    signed.push_str(std::str::from_utf8(&event.body).unwrap());
    let signatures: Vec<_> = seen.header("webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), 2);
    for (key, signature) in keys.iter().zip(signatures) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let tag = STANDARD
            .decode(signature.strip_prefix("v1,").unwrap())
            .unwrap();
        hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
    }

    let record = world.record(&delivery, DeliveryStatus::Delivered).await;
    assert_eq!((record.attempts, record.history[0].status), (1, 204));
    assert_eq!(record.event_id, event.event_id);
    let counted = world.agent.status(|status| {
        status
            .counters
            .iter()
            .any(|flow| flow.delivered == 1 && flow.accepted == 1)
    });
    assert_eq!(counted.await.queue_depth, 0);
    egress.stop().await;
}

#[tokio::test]
async fn basic_credentials_are_encoded_and_connections_are_used_again() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    let basic = world.secret("login", "user:pass");
    world.target_with(1, &target.url, |target, _| {
        target.auth = Some(TargetAuth {
            kind: Some(target_auth::Kind::Basic(basic)),
        });
        target.max_concurrency = 2;
    });
    let egress = world.start().await;
    egress
        .ingester()
        .await
        .deliver(world.deliveries(1, 0..50))
        .await;
    let seen = target.wait(50).await;
    assert_eq!(seen[0].header("authorization"), "Basic dXNlcjpwYXNz");
    assert!(target.connections.load(Ordering::SeqCst) <= 4);
    egress.stop().await;
}

#[tokio::test]
async fn a_private_authority_is_trusted_for_its_own_target_only() {
    let world = World::new();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let target = Target::serve_over(Some(Arc::new(tls)), |_, _| status(200)).await;
    world.target_with(1, &target.url, |target, _| target.ca_pem = cert.pem());
    world.target_with(2, &target.url, |_, flow| {
        flow.retry.as_mut().unwrap().max_attempts = 1;
    });
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    ingester
        .deliver(vec![world.delivery(1, 1), world.delivery(2, 2)])
        .await;
    world
        .record(&world.delivery(1, 1), DeliveryStatus::Delivered)
        .await;
    let refused = world
        .record(&world.delivery(2, 2), DeliveryStatus::DeadLetter)
        .await;
    assert_eq!(refused.code, "RETRIES_EXHAUSTED");
    assert_eq!(
        refused.history[0].code, "TARGET_TLS_FAILED",
        "{:?}",
        refused.history
    );
    assert_eq!(target.seen().len(), 1);
    egress.stop().await;
}

#[tokio::test]
async fn a_flaky_target_gets_further_attempts_until_it_answers() {
    let world = World::new();
    let target = Target::serve(|_, number| match number {
        1 => status(500),
        2 => status(429),
        3 => status(408),
        _ => status(200),
    })
    .await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let delivery = world.delivery(1, 1);
    egress
        .ingester()
        .await
        .deliver(vec![delivery.clone()])
        .await;
    let seen = target.wait(4).await;
    let numbers: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("x-zen-attempt"))
        .collect();
    assert_eq!(numbers, ["1", "2", "3", "4"]);
    assert!(
        seen.iter()
            .all(|seen| seen.header("idempotency-key") == delivery.delivery_id)
    );
    let record = world.record(&delivery, DeliveryStatus::Delivered).await;
    let statuses: Vec<_> = record
        .history
        .iter()
        .map(|attempt| attempt.status)
        .collect();
    assert_eq!(statuses, [500, 429, 408, 200]);
    egress.stop().await;
}

#[tokio::test]
async fn attempts_run_out_and_the_dead_letter_keeps_its_history() {
    let world = World::new();
    let target = Target::serve(|_, _| status(503)).await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let delivery = world.delivery(1, 1);
    egress
        .ingester()
        .await
        .deliver(vec![delivery.clone()])
        .await;
    let record = world.record(&delivery, DeliveryStatus::DeadLetter).await;
    assert_eq!(
        (record.code.as_str(), record.attempts),
        ("RETRIES_EXHAUSTED", 5)
    );
    assert_eq!(record.history.len(), 5);
    assert!(
        record
            .history
            .iter()
            .all(|attempt| attempt.code == "TARGET_ERROR")
    );
    assert_eq!(target.seen().len(), 5);
    let counted = world.agent.status(|status| {
        status
            .counters
            .iter()
            .any(|flow| flow.dead_lettered == 1 && flow.failed_attempts == 5)
    });
    counted.await;
    egress.stop().await;
}

#[tokio::test]
async fn a_refusal_or_a_redirect_is_a_dead_letter_at_once() {
    let world = World::new();
    let rejecting = Target::serve(|_, _| status(422)).await;
    let elsewhere = Target::serve(|_, _| status(200)).await;
    let location = elsewhere.url.clone();
    let redirecting = Target::serve(move |_, _| Reply {
        status: 307,
        headers: vec![("location", location.clone())],
        ..Reply::default()
    })
    .await;
    world.target(1, &rejecting.url);
    world.target(2, &redirecting.url);
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    ingester
        .deliver(vec![world.delivery(1, 1), world.delivery(2, 2)])
        .await;
    let rejected = world
        .record(&world.delivery(1, 1), DeliveryStatus::DeadLetter)
        .await;
    assert_eq!(
        (rejected.code.as_str(), rejected.attempts),
        ("TARGET_REJECTED", 1)
    );
    let redirected = world
        .record(&world.delivery(2, 2), DeliveryStatus::DeadLetter)
        .await;
    assert_eq!(
        (redirected.code.as_str(), redirected.attempts),
        ("TARGET_REDIRECTED", 1)
    );
    assert!(elsewhere.seen().is_empty());
    egress.stop().await;
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let world = World::new();
    let target = Target::serve(|_, number| match number {
        1 => Reply {
            headers: vec![("retry-after", "1".to_owned())],
            ..status(503)
        },
        _ => status(200),
    })
    .await;
    world.target(1, &target.url);
    let egress = world.start().await;
    egress
        .ingester()
        .await
        .deliver(vec![world.delivery(1, 1)])
        .await;
    let seen = target.wait(2).await;
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_millis(990), "{waited:?}");
    egress.stop().await;
}

#[tokio::test]
async fn no_answer_in_time_is_a_failed_attempt() {
    let world = World::new();
    let target = Target::serve(|_, number| match number {
        1 => Reply {
            delay: Duration::from_secs(60),
            ..status(200)
        },
        _ => status(200),
    })
    .await;
    world.target_with(1, &target.url, |target, _| target.timeout_ms = 200);
    let egress = world.start().await;
    let delivery = world.delivery(1, 1);
    egress
        .ingester()
        .await
        .deliver(vec![delivery.clone()])
        .await;
    let record = world.record(&delivery, DeliveryStatus::Delivered).await;
    assert_eq!(record.history[0].code, "TARGET_TIMEOUT");
    assert_eq!(record.attempts, 2);
    egress.stop().await;
}

#[tokio::test]
async fn what_came_before_is_not_delivered_twice() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    let delivery = world.delivery(1, 1);
    ingester
        .deliver(vec![delivery.clone(), delivery.clone()])
        .await;
    world.record(&delivery, DeliveryStatus::Delivered).await;
    ingester.deliver(vec![delivery.clone()]).await;
    ingester.deliver(vec![world.delivery(1, 2)]).await;
    world
        .record(&world.delivery(1, 2), DeliveryStatus::Delivered)
        .await;
    assert_eq!(
        target.by_delivery().into_values().collect::<Vec<_>>(),
        [1, 1]
    );
    let counted = world.agent.status(|status| {
        status
            .counters
            .iter()
            .any(|flow| flow.duplicates == 2 && flow.accepted == 2)
    });
    counted.await;
    egress.stop().await;
}

#[tokio::test]
async fn a_malformed_delivery_is_refused_and_its_batch_goes_on() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let mut malformed = world.delivery(1, 1);
    malformed.version = 9;
    let mut nameless = world.delivery(1, 2);
    nameless.delivery_id = "x".to_owned();
    let batch = vec![malformed, nameless, world.delivery(1, 3)];
    let answer = egress.ingester().await.deliver(batch).await;
    assert_eq!(answer.refused.len(), 2);
    assert!(
        answer
            .refused
            .iter()
            .all(|refused| refused.code == "DELIVERY_INVALID")
    );
    world
        .record(&world.delivery(1, 3), DeliveryStatus::Delivered)
        .await;
    egress.stop().await;
}

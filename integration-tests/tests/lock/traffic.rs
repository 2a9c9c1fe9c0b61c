//! Webhooks in and deliveries out, with secrets that only zen-lock can open.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::service::Seen;
use zen_integration_tests::sign;
use zen_proto::purpose::Purpose;

use crate::plane::{HOOK, LOCKED, LONG, Named, Plane, SIGNING, TOKEN, whsec};

fn header<'a>(seen: &'a Seen, name: &str) -> &'a str {
    let value = seen.headers.get(name).map(|value| value.to_str().unwrap());
    value.unwrap_or_default()
}

fn is_signed(seen: &Seen, key: &[u8]) -> bool {
    sign::is_standard_webhooks(
        key,
        header(seen, "webhook-id"),
        header(seen, "webhook-timestamp"),
        &seen.body,
        header(seen, "webhook-signature"),
    )
}

fn bearer(token: &[u8]) -> String {
    format!("Bearer {}", String::from_utf8_lossy(token))
}

#[tokio::test]
async fn a_webhook_is_verified_and_a_delivery_signed_and_authorized_with_sealed_secrets() {
    let mut plane = Plane::new(&LOCKED).await.unwrap();
    plane.seal_all().unwrap();
    plane.start().await.unwrap();
    let seen = plane.delivers("first", HOOK).await.unwrap();
    assert!(is_signed(&seen, SIGNING), "{seen:?}");
    assert_eq!(header(&seen, AUTHORIZATION.as_str()), bearer(TOKEN));
    let forged = plane.source(b"not yet").post("forged", Bytes::new()).await;
    assert!(forged.unwrap_err().to_string().starts_with("401"));

    // Other content is in use as soon as a configuration comes.
    let other: &[u8] = b"another token";
    let values = [("value", other)];
    let purpose = [Purpose::TargetAuth];
    plane.lock.put("token", &purpose, &values).unwrap();
    plane
        .lock
        .put(
            "hook",
            &[Purpose::WebhookVerification],
            &[("current", other)],
        )
        .unwrap();
    plane.agent.publish(|_| {});
    eventually("the new secret is in use", LONG, || async {
        plane.source(other).post("second", Bytes::new()).await
    })
    .await
    .unwrap();
    eventually("the new token is in use", LONG, || async {
        let seen = plane.delivers("third", other).await?;
        let shown = header(&seen, AUTHORIZATION.as_str());
        anyhow::ensure!(shown == bearer(other), "{shown}");
        Ok(())
    })
    .await
    .unwrap();

    // What the configuration does not name any more is not held any more.
    plane.agent.publish(|snapshot| {
        snapshot.targets[0].auth = None;
        snapshot.endpoints[0].removed = true;
    });
    for (unit, component, left) in [
        (&plane.egress, "egress", 1),
        (&plane.ingester, "ingester", 0),
    ] {
        eventually("what is not named is dropped", LONG, || async {
            let held = Plane::held(unit, component).await?;
            anyhow::ensure!(held.as_array().map(Vec::len) == Some(left), "{held}");
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn zen_lock_is_killed_and_started_under_load_and_no_delivery_fails() {
    let mut plane = Plane::new(&LOCKED).await.unwrap();
    plane.seal_all().unwrap();
    plane.start().await.unwrap();
    plane.delivers("before", HOOK).await.unwrap();
    let source = plane.source(HOOK);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let loading = tokio::spawn(async move {
        let mut events = Vec::new();
        while !*stopped.borrow_and_update() {
            let number = events.len();
            let body = Bytes::from(format!("{{\"number\":{number}}}"));
            // The first try counts: no repeat hides a refusal.
            events.push(source.post(&format!("load-{number}"), body).await?);
        }
        anyhow::Ok(events)
    });
    let count = || plane.service.received.borrow().len();
    for _ in 0..3 {
        plane.lock.unit.kill().await.unwrap();
        let before = count();
        eventually("deliveries go on without zen-lock", LONG, || async {
            anyhow::ensure!(count() > before + 50, "{}", count() - before);
            Ok(())
        })
        .await
        .unwrap();
        plane.lock.unit.start().unwrap();
        plane.lock.unit.ready().await.unwrap();
    }
    stop.send_replace(true);
    let events = loading.await.unwrap().unwrap();
    for event in &events {
        let seen = plane.delivered(event).await.unwrap();
        assert!(seen.times == 1 && is_signed(&seen, SIGNING), "{seen:?}");
    }
}

#[tokio::test]
async fn deliveries_wait_for_a_zen_lock_that_is_away_when_the_egress_starts() {
    let mut plane = Plane::new(&LOCKED).await.unwrap();
    plane.seal_all().unwrap();
    plane.start().await.unwrap();
    plane.delivers("before", HOOK).await.unwrap();
    plane.lock.unit.kill().await.unwrap();
    plane.egress.kill().await.unwrap();
    plane.egress.start().unwrap();
    plane.egress.ready().await.unwrap();
    let source = plane.source(HOOK);
    let event = source.post("waits", Bytes::new()).await.unwrap();
    Plane::shows(
        &plane.egress,
        "egress",
        "lock:token",
        Some("SECRET_LOCK_UNREACHABLE"),
    )
    .await
    .unwrap();
    // The control plane hears what its deliveries wait for.
    let mut statuses = plane.agent.statuses();
    let told = statuses.wait_for(|all| {
        let targets = all.get("egress").map(|egress| &egress.targets);
        targets.is_some_and(|all| all.iter().any(|t| t.code == "SECRET_LOCK_UNREACHABLE"))
    });
    assert!(tokio::time::timeout(LONG, told).await.is_ok());
    assert!(!plane.service.received.borrow().contains_key(&event));
    plane.start().await.unwrap();
    // One attempt is all that the flow allows, and none was spent.
    let seen = plane.delivered(&event).await.unwrap();
    assert!(seen.times == 1 && is_signed(&seen, SIGNING), "{seen:?}");
}

#[tokio::test]
async fn without_zen_lock_files_serve_the_same_way_and_what_needs_it_says_so() {
    let files = Named {
        hook: "file:hook",
        signing: "file:signing",
        token: "file:token",
    };
    let mut plane = Plane::new(&files).await.unwrap();
    for unit in [&mut plane.ingester, &mut plane.egress] {
        unit.set("lock", "null");
        unit.start().unwrap();
        unit.ready().await.unwrap();
    }
    plane.put_file("hook", HOOK).unwrap();
    plane.put_file("signing", whsec().as_bytes()).unwrap();
    plane.put_file("token", TOKEN).unwrap();
    let seen = plane.delivers("first", HOOK).await.unwrap();
    assert!(is_signed(&seen, SIGNING));
    assert_eq!(header(&seen, AUTHORIZATION.as_str()), bearer(TOKEN));

    plane.agent.publish(|snapshot| {
        snapshot.targets[0].signing_secrets = vec![LOCKED.signing.to_owned()];
    });
    let event = plane
        .source(HOOK)
        .post("second", Bytes::new())
        .await
        .unwrap();
    let mut statuses = plane.agent.statuses();
    let told = statuses.wait_for(|all| {
        let targets = all.get("egress").map(|egress| &egress.targets);
        targets.is_some_and(|all| all.iter().any(|t| t.code == "SECRET_NEEDS_LOCK"))
    });
    assert!(tokio::time::timeout(LONG, told).await.is_ok());
    assert!(!plane.service.received.borrow().contains_key(&event));
    plane.agent.publish(|snapshot| {
        let verification = snapshot.endpoints[0].verification.as_mut().unwrap();
        verification.secrets = vec![LOCKED.hook.to_owned()];
    });
    eventually("the ingester says what it lacks", LONG, || async {
        let refused = plane.source(HOOK).post("third", Bytes::new()).await;
        let refused = refused.err().map(|error| error.to_string());
        let refused = refused.unwrap_or_default();
        anyhow::ensure!(
            refused.starts_with("503") && refused.contains("SECRET_UNAVAILABLE"),
            "{refused}"
        );
        let (_, state) = plane.ingester.admin_get("/debug/state").await?;
        let state: serde_json::Value = serde_json::from_slice(&state)?;
        let lacks = &state["ingester"]["intake"]["secrets_unavailable"][0];
        anyhow::ensure!(lacks["code"] == "SECRET_NEEDS_LOCK", "{lacks}");
        Ok(())
    })
    .await
    .unwrap();
}

//! What holds deliveries back, ends them early, or keeps them apart.

use std::time::Duration;

use zen_chassis::Clock;
use zen_proto::query::v1::{DeliveryStatus, ListDeadLetters, ListDeliveries, answer, query};
use zen_proto::session::v1::TargetState;

use crate::target::{Reply, Target, status};
use crate::world::{World, flow_id, target_id};

#[tokio::test]
async fn a_target_that_is_gone_rests_until_it_is_changed_even_over_a_restart() {
    let world = World::new();
    let gone = Target::serve(|_, _| status(410)).await;
    let back = Target::serve(|_, _| status(200)).await;
    world.target_with(1, &gone.url, |target, _| target.max_concurrency = 1);
    let egress = world.start().await;
    egress
        .ingester()
        .await
        .deliver(world.deliveries(1, 0..3))
        .await;
    let dead = world
        .record(&world.delivery(1, 0), DeliveryStatus::DeadLetter)
        .await;
    assert_eq!(dead.code, "TARGET_GONE");
    let told = world.agent.status(|status| {
        status
            .targets
            .iter()
            .any(|target| target.code == "TARGET_GONE" && target.waiting == 2)
    });
    let told = told.await;
    assert!(told.ready && told.pending.is_empty(), "{:?}", told.pending);
    assert_eq!(told.targets[0].state(), TargetState::Paused);
    assert_eq!(told.targets[0].name, "target 1");
    assert_eq!(told.queue_depth, 2);
    egress.stop().await;

    let egress = world.start().await;
    // Another flow's delivery to another target shows that the egress is at work.
    world.target(2, &back.url);
    egress
        .ingester()
        .await
        .deliver(world.deliveries(2, 5..6))
        .await;
    back.wait(1).await;
    assert_eq!(gone.seen().len(), 1);
    world.target(1, &back.url);
    back.wait(3).await;
    assert_eq!(gone.seen().len(), 1);
    let told = world
        .agent
        .status(|status| status.queue_depth == 0 && status.targets.is_empty());
    told.await;
    egress.stop().await;
}

#[tokio::test]
async fn a_slow_target_does_not_delay_another() {
    let world = World::new();
    let slow = Target::serve(|_, _| Reply {
        delay: Duration::from_secs(30),
        ..status(200)
    })
    .await;
    let quick = Target::serve(|_, _| status(200)).await;
    world.target(1, &slow.url);
    world.target(2, &quick.url);
    let egress = world
        .start_with(|config| config.drain = Duration::ZERO)
        .await;
    let mut ingester = egress.ingester().await;
    ingester.deliver(world.deliveries(1, 0..200)).await;
    slow.wait(32).await;
    ingester.deliver(world.deliveries(2, 0..200)).await;
    let seen = quick.wait(200).await;
    assert!(seen[199].at - seen[0].at < Duration::from_secs(10));
    // The slow one has as many attempts under way as one target may, and no more.
    assert_eq!(slow.seen().len(), 32);
    egress.stop().await;
}

#[tokio::test]
async fn a_dead_target_is_left_alone_and_its_deliveries_keep_their_attempts() {
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    world.target_with(1, &url, |target, flow| {
        target.max_concurrency = 1;
        flow.retry.as_mut().unwrap().max_attempts = 20;
    });
    let egress = world.start().await;
    egress
        .ingester()
        .await
        .deliver(world.deliveries(1, 0..40))
        .await;
    let attempts = async {
        loop {
            let all = world.list(ListDeliveries::default()).await;
            let attempts: u32 = all.iter().map(|record| record.attempts).sum();
            if attempts >= 5 {
                return attempts;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let attempts = tokio::time::timeout(Duration::from_secs(20), attempts)
        .await
        .unwrap();
    assert_eq!(attempts, 5);
    // Long enough for a hundred more, had the breaker not opened.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all = world.list(ListDeliveries::default()).await;
    assert_eq!(all.iter().map(|record| record.attempts).sum::<u32>(), 5);
    assert!(
        all.iter()
            .all(|record| record.status() == DeliveryStatus::Pending)
    );
    let codes: Vec<_> = all
        .iter()
        .flat_map(|record| &record.history)
        .map(|a| &a.code)
        .collect();
    assert!(
        codes.iter().all(|code| *code == "TARGET_UNREACHABLE"),
        "{codes:?}"
    );
    egress.stop().await;
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_never_called() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target(1, &target.url);
    world.target_with(2, &target.url, |target, _| {
        target.allowed_networks = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
    });
    world.target(3, "http://169.254.169.254/latest/meta-data");
    let egress = world
        .start_with(|config| config.allow_private = false)
        .await;
    let mut ingester = egress.ingester().await;
    let batch = (1..=3)
        .map(|target| world.delivery(target, target.into()))
        .collect();
    ingester.deliver(batch).await;
    for number in [1, 3] {
        let delivery = world.delivery(number, number.into());
        let refused = world.record(&delivery, DeliveryStatus::DeadLetter).await;
        assert_eq!(refused.code, "TARGET_ADDRESS_REFUSED");
    }
    world
        .record(&world.delivery(2, 2), DeliveryStatus::Delivered)
        .await;
    assert_eq!(target.seen().len(), 1);
    egress.stop().await;
}

#[tokio::test]
async fn a_delivery_waits_for_its_configuration_and_not_for_ever() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    let egress = world
        .start_with(|config| config.unknown_grace = Duration::from_secs(3))
        .await;
    let mut ingester = egress.ingester().await;
    // No configuration at all yet, then one without the target.
    ingester
        .deliver(vec![world.delivery(1, 1), world.delivery(9, 9)])
        .await;
    world.agent.change(|_| {});
    world.target(1, &target.url);
    world
        .record(&world.delivery(1, 1), DeliveryStatus::Delivered)
        .await;
    let unknown = world
        .record(&world.delivery(9, 9), DeliveryStatus::DeadLetter)
        .await;
    assert_eq!(unknown.code, "TARGET_UNKNOWN");
    assert!(unknown.settled_at_ms - unknown.accepted_at_ms >= 3_000);
    egress.stop().await;
}

#[tokio::test]
async fn a_disabled_flow_waits_while_another_to_the_same_target_goes_on() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target(1, &target.url);
    let to_the_same = |enabled| {
        world.target_with(2, &target.url, |_, flow| {
            flow.enabled = enabled;
            flow.target_id = target_id(1).to_string();
        });
    };
    to_the_same(false);
    let egress = world.start().await;
    let mut disabled = world.deliveries(2, 0..5);
    for delivery in &mut disabled {
        delivery.target_id = target_id(1).to_string();
    }
    let mut ingester = egress.ingester().await;
    ingester.deliver(disabled).await;
    ingester.deliver(world.deliveries(1, 10..15)).await;
    target.wait(5).await;
    let waiting = ListDeliveries {
        flow_id: flow_id(2).to_string(),
        ..ListDeliveries::default()
    };
    let waiting = world.list(waiting).await;
    assert!(
        waiting
            .iter()
            .all(|record| record.status() == DeliveryStatus::Pending)
    );
    assert_eq!(target.seen().len(), 5);
    to_the_same(true);
    target.wait(10).await;
    egress.stop().await;
}

#[tokio::test]
async fn another_tenants_target_and_a_spent_time_end_a_delivery_unattempted() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let mut foreign = world.delivery(1, 1);
    foreign.event.as_mut().unwrap().tenant_id = "ten_another".to_owned();
    let mut late = world.delivery(1, 2);
    late.expires_at_ms = Clock::system().unix_ms() - 1;
    egress
        .ingester()
        .await
        .deliver(vec![foreign.clone(), late.clone()])
        .await;
    let refused = world.record(&foreign, DeliveryStatus::DeadLetter).await;
    assert_eq!(
        (refused.code.as_str(), refused.attempts),
        ("TENANT_MISMATCH", 0)
    );
    let expired = world.record(&late, DeliveryStatus::DeadLetter).await;
    assert_eq!(
        (expired.code.as_str(), expired.attempts),
        ("DELIVERY_EXPIRED", 0)
    );
    assert!(target.seen().is_empty());
    world
        .agent
        .status(|status| status.counters.iter().any(|flow| flow.expired == 1))
        .await;
    egress.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_not_there_yet_costs_attempts_until_it_is() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    world.target_with(1, &target.url, |target, flow| {
        target.signing_secrets = vec!["file:late".to_owned()];
        flow.retry.as_mut().unwrap().max_attempts = 1000;
    });
    let egress = world.start().await;
    let delivery = world.delivery(1, 1);
    egress
        .ingester()
        .await
        .deliver(vec![delivery.clone()])
        .await;
    let failed = async {
        while world.list(ListDeliveries::default()).await[0].attempts == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), failed)
        .await
        .unwrap();
    world.secret("late", "whsec_AAECAwQF");
    let record = world.record(&delivery, DeliveryStatus::Delivered).await;
    assert_eq!(record.history[0].code, "SECRET_UNREADABLE");
    assert!(
        target.seen()[0]
            .header("webhook-signature")
            .starts_with("v1,")
    );
    egress.stop().await;
}

#[tokio::test]
async fn lists_come_newest_first_in_pages_and_by_tenant() {
    let world = World::new();
    let target =
        Target::serve(|seen, _| status(if seen.body.ends_with(b"3}") { 400 } else { 200 })).await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    for event in 0..25 {
        ingester.deliver(vec![world.delivery(1, event)]).await;
    }
    world.agent.status(|status| status.queue_depth == 0).await;
    let all = world
        .list(ListDeliveries {
            limit: 7,
            ..ListDeliveries::default()
        })
        .await;
    let ids: Vec<_> = all
        .iter()
        .map(|record| record.delivery_id.clone())
        .collect();
    let newest_first: Vec<_> = (0..25)
        .rev()
        .map(|event| world.delivery(1, event).delivery_id)
        .collect();
    assert_eq!(ids, newest_first);
    let dead = ListDeadLetters {
        limit: 2,
        tenant_id: world.agent.authority.tenant.to_string(),
        ..ListDeadLetters::default()
    };
    let answer = world
        .agent
        .ask(query::Question::ListDeadLetters(dead.clone()))
        .await;
    let answer::Answer::Deliveries(page) = answer else {
        panic!("{answer:?}")
    };
    let ids: Vec<_> = page
        .deliveries
        .iter()
        .map(|record| record.delivery_id.clone())
        .collect();
    let wanted = [23, 13].map(|event| world.delivery(1, event).delivery_id);
    assert_eq!(ids, wanted);
    assert!(!page.next_cursor.is_empty());
    let others = ListDeadLetters {
        tenant_id: "ten_other".to_owned(),
        ..dead.clone()
    };
    let answer = world
        .agent
        .ask(query::Question::ListDeadLetters(others))
        .await;
    let answer::Answer::Deliveries(page) = answer else {
        panic!("{answer:?}")
    };
    assert!(page.deliveries.is_empty());
    let lost = ListDeadLetters {
        cursor: "nonsense".to_owned(),
        ..dead
    };
    let answer = world
        .agent
        .ask(query::Question::ListDeadLetters(lost))
        .await;
    let answer::Answer::Error(error) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(error.code, "QUERY_INVALID");
    egress.stop().await;
}

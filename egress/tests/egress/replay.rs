//! Dead letters that wait again: which, how fast, how often, and over a kill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use zen_proto::query::v1::{
    DeadLetterFilter, DeliveryRecord, DeliveryStatus, GetDelivery, Replay, Replayed, answer, query,
};

use crate::crash::{Killable, connect};
use crate::target::{Target, status};
use crate::world::{World, target_id};

/// A target whose answer a test changes.
async fn moody(first: u16) -> (Target, Arc<AtomicU16>) {
    let mood = Arc::new(AtomicU16::new(first));
    let now = mood.clone();
    let target = Target::serve(move |_, _| status(now.load(Ordering::SeqCst))).await;
    (target, mood)
}

async fn replay(world: &World, change: impl FnOnce(&mut Replay)) -> Replayed {
    let mut asked = Replay {
        tenant_id: world.agent.authority.tenant.to_string(),
        filter: Some(DeadLetterFilter::default()),
        rate_per_second: 1_000,
        ..Replay::default()
    };
    change(&mut asked);
    match world.agent.ask(query::Question::Replay(asked)).await {
        answer::Answer::Replayed(replayed) => replayed,
        other => panic!("{other:?}"),
    }
}

async fn get(world: &World, id: &str, tenant_id: &str) -> Result<DeliveryRecord, String> {
    let asked = GetDelivery {
        delivery_id: id.to_owned(),
        tenant_id: tenant_id.to_owned(),
    };
    match world.agent.ask(query::Question::GetDelivery(asked)).await {
        answer::Answer::Delivery(record) => Ok(record),
        answer::Answer::Error(error) => Err(error.code),
        other => panic!("{other:?}"),
    }
}

async fn dead(world: &World, events: std::ops::Range<u32>) {
    for event in events {
        let delivery = world.delivery(1, event);
        world.record(&delivery, DeliveryStatus::DeadLetter).await;
    }
}

#[tokio::test]
async fn a_replayed_dead_letter_is_delivered_with_its_history_and_its_attempts_begin_anew() {
    let world = World::new();
    let (target, mood) = moody(500).await;
    world.target_with(1, &target.url, |_, flow| {
        flow.retry.as_mut().unwrap().max_attempts = 2;
    });
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    ingester.deliver(world.deliveries(1, 0..1)).await;
    dead(&world, 0..1).await;
    let id = world.delivery(1, 0).delivery_id;

    let by_id = |asked: &mut Replay| asked.delivery_ids = vec![id.clone()];
    let counted = replay(&world, |asked| {
        by_id(asked);
        asked.dry_run = true;
    });
    let counted = counted.await;
    assert_eq!(
        (counted.matched, counted.replayed, counted.remaining),
        (1, 0, 1)
    );
    assert_eq!(target.seen().len(), 2, "a dry run calls nobody");

    // Still broken: it gets both attempts of its flow again, then is a dead letter again.
    let done = replay(&world, by_id).await;
    assert_eq!((done.matched, done.replayed, done.remaining), (1, 1, 0));
    target.wait(4).await;
    dead(&world, 0..1).await;

    mood.store(200, Ordering::SeqCst);
    assert_eq!(replay(&world, by_id).await.replayed, 1);
    let record = world
        .record(&world.delivery(1, 0), DeliveryStatus::Delivered)
        .await;
    assert_eq!((record.attempts, record.replays), (5, 2));
    let numbers: Vec<_> = record
        .history
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert!(record.code.is_empty());
    let tenant = world.agent.authority.tenant.to_string();
    assert_eq!(get(&world, &id, &tenant).await.unwrap(), record);
    assert_eq!(
        get(&world, &id, "ten_other").await.unwrap_err(),
        "DELIVERY_UNKNOWN"
    );
    assert_eq!(
        replay(&world, by_id).await.matched,
        0,
        "it is no dead letter any more"
    );
    egress.stop().await;
}

#[tokio::test]
async fn a_filter_selects_batches_follow_one_another_and_none_is_replayed_twice() {
    let world = World::new();
    let (target, _) = moody(400).await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    ingester.deliver(world.deliveries(1, 0..25)).await;
    dead(&world, 0..25).await;

    for filter in [
        DeadLetterFilter {
            code: "TARGET_GONE".to_owned(),
            ..DeadLetterFilter::default()
        },
        DeadLetterFilter {
            target_id: target_id(2).to_string(),
            ..DeadLetterFilter::default()
        },
        DeadLetterFilter {
            dead_until_ms: 1,
            ..DeadLetterFilter::default()
        },
    ] {
        let counted = replay(&world, |asked| {
            asked.dry_run = true;
            asked.filter = Some(filter.clone());
        });
        assert_eq!(counted.await.matched, 0, "{filter:?}");
    }
    let foreign = replay(&world, |asked| asked.tenant_id = "ten_other".to_owned());
    assert_eq!(foreign.await.matched, 0);

    // They die again at once: the cursor keeps them out of the later batches.
    let mut cursor = String::new();
    let mut replayed = Vec::new();
    loop {
        let batch = replay(&world, |asked| {
            asked.limit = 10;
            asked.cursor = cursor.clone();
            asked.filter.as_mut().unwrap().code = "TARGET_REJECTED".to_owned();
        });
        let batch = batch.await;
        replayed.push((batch.matched, batch.replayed, batch.remaining));
        let total: u64 = replayed.iter().map(|(_, replayed, _)| replayed).sum();
        let so_far = 25 + usize::try_from(total).unwrap();
        target.wait(so_far).await;
        dead(&world, 0..25).await;
        cursor = batch.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(replayed, [(25, 10, 15), (15, 10, 5), (5, 5, 0)]);
    assert_eq!(target.seen().len(), 50);
    egress.stop().await;
}

#[tokio::test]
async fn a_replay_keeps_its_rate() {
    let world = World::new();
    let (target, mood) = moody(400).await;
    world.target(1, &target.url);
    let egress = world.start().await;
    let mut ingester = egress.ingester().await;
    ingester.deliver(world.deliveries(1, 0..20)).await;
    dead(&world, 0..20).await;
    mood.store(200, Ordering::SeqCst);
    let done = replay(&world, |asked| asked.rate_per_second = 20).await;
    assert_eq!(done.replayed, 20);
    let seen = target.wait(40).await;
    let took = seen[39].at - seen[20].at;
    assert!(took >= Duration::from_millis(850), "{took:?}");
    egress.stop().await;
}

#[tokio::test]
async fn what_was_replayed_survives_a_kill() {
    let world = World::new();
    let (target, mood) = moody(400).await;
    world.target(1, &target.url);
    let egress = Killable::start(&world);
    let mut ingester = connect(&world).await;
    ingester.deliver(world.deliveries(1, 0..10)).await;
    dead(&world, 0..10).await;
    // Due over ten seconds: most of them still wait when it is killed.
    let done = replay(&world, |asked| asked.rate_per_second = 1).await;
    assert_eq!(done.replayed, 10);
    egress.kill().await;
    mood.store(200, Ordering::SeqCst);
    let egress = Killable::start(&world);
    target
        .wait_until("all of them", |_| {
            let delivered = target.by_delivery();
            delivered.len() == 10 && delivered.values().all(|requests| *requests >= 2)
        })
        .await;
    egress.kill().await;
}

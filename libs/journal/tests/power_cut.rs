//! The power goes at every single operation: what was acknowledged is there, nothing else is invented.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use bytes::Bytes;
use zen_journal::sim::{SimDisk, Tear};
use zen_journal::{AppendError, Cursor, Journal, Options, Position, Record};

const SEEDS: [(u64, Tear); 6] = [
    (1, Tear::Byte),
    (2, Tear::Sector),
    (3, Tear::Byte),
    (4, Tear::Sector),
    (5, Tear::Byte),
    (6, Tear::Byte),
];

/// What the outside world knows when the power goes.
#[derive(Default)]
struct World {
    /// Everything ever handed to the journal, in order.
    sent: Vec<Bytes>,
    /// How many of them, from the first on, were acknowledged, and where.
    acked: Vec<Position>,
    /// The last acknowledged and the last attempted commit.
    committed: Position,
    attempted: Position,
    trimmed_to: Position,
}

/// Half of the disks see files grow with every batch, half by zeros ahead.
async fn open(disk: &SimDisk) -> Option<(Journal, zen_journal::Recovery)> {
    let options = Options {
        segment_bytes: 4096,
        batch_bytes: 1024,
        preallocate: disk.seed().is_multiple_of(2),
        ..Options::default()
    };
    Journal::open_on(Arc::new(disk.clone()), "j", options)
        .await
        .ok()
}

fn payload(index: usize) -> Bytes {
    // All lengths modulo eight, some larger than a sector.
    let size = 9 + (index * 37) % 90 + if index.is_multiple_of(11) { 700 } else { 0 };
    let mut content = format!("{index:08}").into_bytes();
    content.resize(size, index as u8);
    content.into()
}

/// Appends, commits and trims until it is done or the power goes.
async fn work(disk: &SimDisk, world: &mut World, records: usize) -> Option<()> {
    let (journal, _) = open(disk).await?;
    let outcome = work_on(&journal, world, records).await;
    journal.close().await;
    outcome
}

async fn work_on(journal: &Journal, world: &mut World, records: usize) -> Option<()> {
    let mut cursor: Cursor = journal.cursor("consumer").await.ok()?;
    for round in 0..records {
        let count = if round % 3 == 0 { 4 } else { 1 };
        let first = world.sent.len();
        let payloads: Vec<_> = (first..first + count).map(payload).collect();
        world.sent.extend(payloads.iter().cloned());
        match journal.append_all(payloads).await {
            Ok(positions) => world.acked.extend(positions),
            Err(AppendError::Io(_) | AppendError::Poisoned) => return None,
            Err(other) => panic!("unexpected: {other}"),
        }
        if round % 5 == 4 {
            world.attempted = world.acked[world.acked.len() / 2];
            cursor.commit(world.attempted).await.ok()?;
            world.committed = world.attempted;
        }
        if round % 9 == 8 {
            journal.trim().await.ok()?;
            world.trimmed_to = journal.start();
        }
    }
    Some(())
}

async fn read_all(journal: &Journal) -> Vec<Record> {
    let mut reader = journal.reader(journal.start());
    let mut all = Vec::new();
    while reader.position() < journal.end() {
        all.extend(
            reader
                .next_batch(1000, 1 << 20)
                .await
                .expect("nothing is damaged"),
        );
    }
    all
}

/// Checks what is found after the cut, and goes on with it as the new truth.
async fn check(disk: &SimDisk, world: &mut World, context: &str) {
    let (journal, recovery) = open(disk).await.expect(context);
    assert_eq!(recovery.corruptions, [], "{context}");
    assert_eq!(recovery.damaged_cursors, [] as [String; 0], "{context}");
    let found = read_all(&journal).await;
    // Records carry their index: what is found is a stretch of what was sent, without a hole.
    // Retention never drops the last segment with records in it here, so that finding none means that none was
    // acknowledged.
    let first = found.first().map_or(0, |record| index_of(&record.payload));
    for (offset, record) in found.iter().enumerate() {
        assert_eq!(
            world.sent.get(first + offset),
            Some(&record.payload),
            "{context}"
        );
        if let Some(position) = world.acked.get(first + offset) {
            assert_eq!(record.position, *position, "{context}");
        }
    }
    assert!(
        first + found.len() >= world.acked.len(),
        "{context}: an acknowledged record is lost"
    );
    let oldest = world.acked.get(first).copied().unwrap_or_default();
    assert!(
        oldest <= world.attempted || first == 0,
        "{context}: an unread record is lost"
    );
    assert!(
        journal.start() >= world.trimmed_to,
        "{context}: trimmed records came back"
    );
    let cursor = journal.cursor("consumer").await.expect(context);
    let at = cursor.position();
    assert!(
        at == world.committed || at == world.attempted,
        "{context}: the cursor is at {at}"
    );
    (world.committed, world.attempted) = (at, at);
    world.sent.truncate(first + found.len());
    for record in &found[(world.acked.len().max(first)) - first..] {
        world.acked.push(record.position);
    }
    drop(cursor);
    journal.close().await;
}

fn index_of(payload: &[u8]) -> usize {
    std::str::from_utf8(&payload[..8]).unwrap().parse().unwrap()
}

/// How many operations the workload takes when nothing happens.
async fn operations(records: usize) -> u64 {
    let disk = SimDisk::new(2);
    work(&disk, &mut World::default(), records)
        .await
        .expect("the power stays on");
    disk.operations()
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let records = 40;
    let operations = operations(records).await;
    assert!(operations > 100);
    for cut in 0..operations {
        for (seed, tear) in SEEDS {
            let disk = SimDisk::new(seed);
            disk.cut_after(cut);
            let mut world = World::default();
            _ = work(&disk, &mut world, records).await;
            let context = format!("cut at {cut} of {operations}, seed {seed}, {tear:?}");
            let disk = disk.restart(seed + 1000 * cut, tear);
            check(&disk, &mut world, &context).await;
            // Life goes on in what was found.
            work(&disk, &mut world, 3).await.expect(&context);
            check(&disk, &mut world, &context).await;
        }
    }
}

#[tokio::test]
async fn a_second_cut_during_recovery_loses_nothing_either() {
    let records = 12;
    let total = operations(records).await;
    for cut in (0..total).step_by(3) {
        for again in 0..8 {
            let (seed, tear) = SEEDS[(cut + again) as usize % SEEDS.len()];
            let disk = SimDisk::new(seed);
            disk.cut_after(cut);
            let mut world = World::default();
            _ = work(&disk, &mut world, records).await;
            let disk = disk.restart(seed + cut, tear);
            disk.cut_after(again);
            if let Some((journal, _)) = open(&disk).await {
                journal.close().await;
            }
            let disk = disk.restart(seed + cut + again, tear);
            check(
                &disk,
                &mut world,
                &format!("cut at {cut}, again at {again}, seed {seed}"),
            )
            .await;
        }
    }
}

#[tokio::test]
async fn what_a_failed_sync_left_in_the_cache_is_not_taken_for_durable() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let (journal, _) = open(&disk).await.unwrap();
        let before = journal.append("before").await.unwrap();
        disk.fail_next_sync();
        assert!(matches!(
            journal.append("unsure").await,
            Err(AppendError::Io(_))
        ));
        assert!(matches!(
            journal.append("refused").await,
            Err(AppendError::Poisoned)
        ));
        assert!(journal.stats().poisoned);
        assert!(!journal.try_has_room());
        journal.close().await;
        // The unsure record is still visible, but the system believes that it is clean.
        let (journal, _) = open(&disk).await.unwrap();
        let found = read_all(&journal).await.len();
        let after = journal.append("after").await.unwrap();
        journal.close().await;
        let disk = disk.restart(seed, Tear::Byte);
        let (journal, recovery) = open(&disk).await.unwrap();
        assert_eq!(recovery.corruptions, []);
        assert_eq!(
            read_all(&journal).await.len(),
            found + 1,
            "what was served is still there"
        );
        assert_eq!(journal.read(before).await.unwrap(), "before");
        assert_eq!(journal.read(after).await.unwrap(), "after");
        journal.close().await;
    }
}

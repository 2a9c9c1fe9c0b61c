//! Failing disks, second openers, retention, concurrency and `kill -9`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zen_journal::sim::SimDisk;
use zen_journal::{
    AppendError, CursorError, Journal, OpenError, Options, Position, ReadError, Record,
};

const PATIENCE: Duration = Duration::from_secs(20);
const CHILD: &str = "ZEN_JOURNAL_TEST_CHILD";

fn small() -> Options {
    Options {
        segment_bytes: 4096,
        batch_bytes: 1024,
        preallocate: false,
        ..Options::default()
    }
}

async fn on(disk: &SimDisk) -> Journal {
    Journal::open_on(Arc::new(disk.clone()), "j", small())
        .await
        .unwrap()
        .0
}

async fn read_all(journal: &Journal) -> Vec<Record> {
    let mut reader = journal.reader(journal.start());
    let mut all = Vec::new();
    while reader.position() < journal.end() {
        all.extend(reader.next_batch(1000, 1 << 20).await.unwrap());
    }
    all
}

#[tokio::test]
async fn a_failed_write_stops_the_log_until_it_is_opened_again() {
    let disk = SimDisk::new(1);
    let journal = on(&disk).await;
    journal.append("before").await.unwrap();
    disk.fail_next_write();
    assert!(matches!(
        journal.append("torn").await,
        Err(AppendError::Io(_))
    ));
    let refused = journal.append("after").await.unwrap_err();
    assert_eq!(refused.code(), "JOURNAL_POISONED");
    assert_eq!(
        read_all(&journal).await.len(),
        1,
        "what is durable can still be read"
    );
    journal.close().await;
    let journal = on(&disk).await;
    assert!(!journal.stats().poisoned);
    journal.append("after").await.unwrap();
    assert_eq!(read_all(&journal).await.len(), 2);
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_log_goes_on_when_there_is_room() {
    let disk = SimDisk::new(1);
    let journal = on(&disk).await;
    let mut kept = 0;
    disk.limit_growth(Some(9000));
    let refused = loop {
        match journal.append(vec![kept; 300]).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), "JOURNAL_DISK_FULL");
    assert!(kept > 20);
    for _ in 0..10 {
        assert!(matches!(
            journal.append(vec![0; 300]).await,
            Err(AppendError::DiskFull)
        ));
    }
    disk.limit_growth(None);
    journal.append("room again").await.unwrap();
    assert!(!journal.stats().poisoned);
    let read = read_all(&journal).await;
    assert_eq!(read.len(), usize::from(kept) + 1);
    journal.close().await;
    assert_eq!(read_all(&on(&disk).await).await, read);
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_is_an_error_and_not_the_end() {
    let disk = SimDisk::new(1);
    let journal = on(&disk).await;
    let position = journal.append("there").await.unwrap();
    journal.close().await;
    let journal = on(&disk).await;
    disk.fail_reads(true);
    assert!(matches!(
        journal.read(position).await,
        Err(ReadError::Io(_))
    ));
    let mut reader = journal.reader(position);
    assert!(matches!(
        reader.next_batch(1, 1).await,
        Err(ReadError::Io(_))
    ));
    disk.fail_reads(false);
    assert_eq!(reader.next_batch(1, 1).await.unwrap()[0].payload, "there");
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), small()).await.unwrap();
    let refused = Journal::open(dir.path(), small()).await.unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }));
    assert_eq!(refused.code(), "JOURNAL_LOCKED");
    journal.append("one").await.unwrap();
    let left_open = journal.clone();
    journal.close().await;
    let (journal, _) = Journal::open(dir.path(), small()).await.unwrap();
    assert_eq!(read_all(&journal).await.len(), 1);
    assert!(matches!(
        left_open.append("two").await,
        Err(AppendError::Closed)
    ));
    assert!(matches!(
        left_open.trim().await,
        Err(zen_journal::TrimError::Closed)
    ));
    drop(journal);
}

#[tokio::test]
async fn dropping_the_last_handle_writes_what_is_queued_and_gives_the_directory_up() {
    let disk = SimDisk::new(1);
    let journal = on(&disk).await;
    let appending = journal.clone();
    let appended = tokio::spawn(async move { appending.append("queued").await });
    drop(journal);
    appended.await.unwrap().unwrap();
    let began = Instant::now();
    let journal = loop {
        match Journal::open_on(Arc::new(disk.clone()), "j", small()).await {
            Ok((journal, _)) => break journal,
            Err(OpenError::Locked { .. }) if began.elapsed() < PATIENCE => {
                tokio::task::yield_now().await
            }
            Err(error) => panic!("unexpected: {error}"),
        }
    };
    assert_eq!(read_all(&journal).await.len(), 1);
}

#[tokio::test]
async fn retention_waits_for_the_slowest_and_the_size_cap_does_not() {
    let disk = SimDisk::new(1);
    let options = Options {
        max_bytes: Some(20_000),
        ..small()
    };
    let (journal, _) = Journal::open_on(Arc::new(disk), "j", options)
        .await
        .unwrap();
    let mut slow = journal.cursor("slow").await.unwrap();
    let mut fast = journal.cursor("fast").await.unwrap();
    let mut positions = Vec::new();
    for index in 0..40_u8 {
        positions.push(journal.append(vec![index; 400]).await.unwrap());
    }
    fast.commit(journal.end()).await.unwrap();
    assert_eq!(journal.trim().await.unwrap().segments, 0);
    slow.commit(positions[20]).await.unwrap();
    journal.set_keep_from(positions[15]);
    let trimmed = journal.trim().await.unwrap();
    assert!(trimmed.segments > 0 && trimmed.unread_bytes == 0);
    assert!(journal.start() > Position(0) && journal.start() <= positions[15]);
    assert!(matches!(
        journal.read(Position(0)).await,
        Err(ReadError::Trimmed { .. })
    ));
    for index in 40..100_u8 {
        journal.append(vec![index; 400]).await.unwrap();
    }
    let trimmed = journal.trim().await.unwrap();
    assert!(trimmed.unread_bytes > 0 && trimmed.unread_bytes < trimmed.bytes);
    let stats = journal.stats();
    assert_eq!(stats.dropped_unread, trimmed.unread_bytes);
    assert!(stats.bytes <= 20_000);
    let mut reader = journal.reader(slow.position());
    let Err(ReadError::Trimmed { oldest }) = reader.next_batch(1, 1).await else {
        panic!("the slow consumer is told");
    };
    reader.skip_to(oldest);
    assert_eq!(
        reader.next_batch(1, 1).await.unwrap()[0].position,
        journal.start()
    );
}

#[tokio::test]
async fn expired_records_are_dropped_by_force_and_counted() {
    let journal = on(&SimDisk::new(1)).await;
    let cursor = journal.cursor("slow").await.unwrap();
    let mut positions = Vec::new();
    for index in 0..40_u8 {
        positions.push(journal.append(vec![index; 400]).await.unwrap());
    }
    let trimmed = journal.drop_before(positions[30]).await.unwrap();
    assert!(trimmed.segments > 0 && trimmed.unread_bytes == trimmed.bytes);
    assert_eq!(trimmed.oldest, journal.start());
    assert!(journal.start() <= positions[30] && journal.start() > positions[15]);
    assert!(cursor.position() < journal.start());
    assert!(journal.read(positions[30]).await.is_ok());
}

#[tokio::test]
async fn cursors_are_exclusive_monotone_and_bounded() {
    let disk = SimDisk::new(1);
    let journal = on(&disk).await;
    let first = journal.append("first").await.unwrap();
    let mut cursor = journal.cursor("consumer-1").await.unwrap();
    assert!(matches!(
        journal.cursor("consumer-1").await,
        Err(CursorError::InUse)
    ));
    assert!(matches!(
        journal.remove_cursor("consumer-1").await,
        Err(CursorError::InUse)
    ));
    for name in ["", "Upper", "../up", "under_score", &"x".repeat(65)] {
        assert!(matches!(
            journal.cursor(name).await,
            Err(CursorError::InvalidName)
        ));
    }
    let end = journal.end();
    let beyond = Position(end.0 + 8);
    assert!(matches!(
        cursor.commit(beyond).await,
        Err(CursorError::BeyondEnd { .. })
    ));
    cursor.commit(end).await.unwrap();
    cursor.commit(end).await.unwrap();
    assert!(matches!(
        cursor.commit(first).await,
        Err(CursorError::Backwards { .. })
    ));
    disk.fail_next_sync();
    journal.append("second").await.unwrap_err();
    drop(cursor);
    assert!(journal.remove_cursor("consumer-1").await.unwrap());
    assert!(!journal.remove_cursor("consumer-1").await.unwrap());
    journal.close().await;
}

#[tokio::test]
async fn a_commit_that_failed_can_be_repeated() {
    let disk = SimDisk::new(1);
    let journal = on(&disk).await;
    journal.append("first").await.unwrap();
    let mut cursor = journal.cursor("consumer").await.unwrap();
    disk.fail_next_sync();
    assert!(matches!(
        cursor.commit(journal.end()).await,
        Err(CursorError::Io(_))
    ));
    assert_eq!(cursor.position(), Position(0));
    cursor.commit(journal.end()).await.unwrap();
    assert_eq!(cursor.position(), journal.end());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_syncs_and_each_finds_its_records_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 1 << 20,
        queue: 64,
        ..Options::default()
    };
    let (journal, _) = Journal::open(dir.path(), options).await.unwrap();
    let mut reader = journal.reader(journal.start());
    let (writers, each) = (100_u32, 50_u32);
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for index in 0..each {
                    let mut content = [writer.to_le_bytes(), index.to_le_bytes()].concat();
                    content.resize(500, 1);
                    journal.append(content).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = vec![0; writers as usize];
    let mut total = 0;
    while total < writers * each {
        let batch = tokio::time::timeout(PATIENCE, reader.next_batch(100, 1 << 20))
            .await
            .unwrap();
        for record in batch.unwrap() {
            let writer = u32::from_le_bytes(record.payload[..4].try_into().unwrap());
            let index = u32::from_le_bytes(record.payload[4..8].try_into().unwrap());
            assert_eq!(seen[writer as usize], index);
            seen[writer as usize] += 1;
            total += 1;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let stats = journal.stats();
    assert_eq!(stats.appended, 5000);
    assert!(stats.syncs < 4000, "{} syncs", stats.syncs);
    journal.close().await;
    let (journal, _) = Journal::open(dir.path(), Options::default()).await.unwrap();
    assert_eq!(read_all(&journal).await.len(), 5000);
}

#[tokio::test]
async fn the_next_segment_is_prepared_in_the_background_and_leftovers_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        preallocate: true,
        segment_bytes: 1 << 20,
        ..small()
    };
    std::fs::write(dir.path().join("segment-7.tmp"), b"left by a crash").unwrap();
    let (journal, _) = Journal::open(dir.path(), options.clone()).await.unwrap();
    assert!(!dir.path().join("segment-7.tmp").exists());
    let prepared = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut files = entries.map(|entry| entry.unwrap());
        files.any(|file| {
            file.file_name().to_string_lossy().ends_with(".tmp")
                && file
                    .metadata()
                    .is_ok_and(|data| data.len() == (1 << 20) + 64)
        })
    };
    let began = Instant::now();
    let mut sizes = 0;
    while !prepared() {
        assert!(began.elapsed() < PATIENCE);
        // Slowly enough for preparing to be worth its while.
        sizes += 1;
        journal.append(vec![1; 100]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    journal.close().await;
    assert!(!prepared(), "what was not used is removed");
    let (journal, recovery) = Journal::open(dir.path(), options).await.unwrap();
    assert_eq!((recovery.records, recovery.truncated_bytes), (sizes, 0));
    journal.close().await;
}

#[tokio::test]
async fn what_a_killed_process_had_acknowledged_is_found() {
    for round in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_that_writes_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acked = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            if let Some(ack) = line.strip_prefix("acked ") {
                acked.push(ack.to_owned());
            }
            if acked.len() == 200 + 300 * round {
                // SIGKILL on Unix; what is in the pipe was acknowledged too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acked.len() >= 200 + 300 * round);
        let (journal, recovery) = Journal::open(dir.path(), small()).await.unwrap();
        assert_eq!(recovery.corruptions, []);
        let found: std::collections::BTreeSet<Bytes> = read_all(&journal)
            .await
            .into_iter()
            .map(|record| record.payload)
            .collect();
        for ack in acked {
            assert!(found.contains(ack.as_bytes()), "{ack} is lost");
        }
        journal.close().await;
    }
}

/// The other half of the test above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test"]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let (journal, _) = Journal::open(Path::new(&dir), small()).await.unwrap();
    let writers = (0..16).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for index in 0.. {
                let content = format!("{writer}-{index}-{}", "x".repeat(index % 300));
                journal.append(content.clone()).await.unwrap();
                println!("acked {content}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

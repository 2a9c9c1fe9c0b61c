//! Damage on a real disk is found, named and never served; what is around it stays readable.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zen_journal::{Journal, Options, Position, ReadError, Record, Recovery};

const HEADER: u64 = 64;

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        batch_bytes: 1024,
        ..Options::default()
    }
}

async fn open(dir: &Path) -> (Journal, Recovery) {
    Journal::open(dir, options()).await.unwrap()
}

fn payload(index: usize) -> Bytes {
    Bytes::from(format!("record {index} ").repeat(4 + index % 9))
}

/// Appends one batch per record, so that each is known durable to the next.
async fn filled(dir: &Path, records: usize) -> Vec<Position> {
    let (journal, _) = open(dir).await;
    let mut positions = Vec::new();
    for index in 0..records {
        positions.push(journal.append(payload(index)).await.unwrap());
    }
    journal.close().await;
    positions
}

/// Everything that can be read, and the damage met on the way.
async fn read_all(journal: &Journal) -> (Vec<Record>, Vec<(Position, Position)>) {
    let mut reader = journal.reader(journal.start());
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    while reader.position() < journal.end() {
        match reader.next_batch(100, 1 << 20).await {
            Ok(batch) => records.extend(batch),
            Err(ReadError::Corrupt {
                position,
                next: Some(next),
                ..
            }) => {
                assert!(next > position);
                damage.push((position, next));
                reader.skip_to(next);
            }
            Err(other) => panic!("unexpected: {other}"),
        }
    }
    (records, damage)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}

fn base(segment: &Path) -> u64 {
    segment
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], offset).unwrap();
}

#[tokio::test]
async fn a_flipped_byte_anywhere_costs_one_record_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let records = 120;
    let positions = filled(dir.path(), records).await;
    let all = segments(dir.path());
    assert!(all.len() >= 3);
    for path in &all {
        let (base, len) = (base(path), fs::metadata(path).unwrap().len());
        let next_base = all
            .iter()
            .map(|path| self::base(path))
            .find(|next| *next > base);
        for offset in (HEADER..len).step_by(97) {
            let at = Position(base + offset - HEADER);
            if next_base.is_some_and(|next| at.0 >= next) {
                // Zeros that were never used.
                break;
            }
            let hit = positions.partition_point(|position| *position <= at) - 1;
            flip(path, offset);
            let (journal, recovery) = open(dir.path()).await;
            let is_last = next_base.is_none();
            if is_last && hit == records - 1 {
                // Nothing after it says that the very last write was whole: it counts as torn.
                journal.close().await;
                return;
            }
            let end = positions[hit + 1];
            assert_eq!(recovery.truncated_bytes, 0);
            let named: Vec<_> = recovery
                .corruptions
                .iter()
                .map(|found| (found.position, found.next))
                .collect();
            assert_eq!(
                named,
                if is_last {
                    vec![(positions[hit], end)]
                } else {
                    vec![]
                }
            );
            let (read, damage) = read_all(&journal).await;
            assert_eq!(
                damage,
                [(positions[hit], end)],
                "offset {offset} of {}",
                path.display()
            );
            assert_eq!(journal.stats().corruptions, 1);
            let expected = (0..records).filter(|index| *index != hit);
            assert!(
                read.iter()
                    .map(|record| record.payload.clone())
                    .eq(expected.map(payload))
            );
            assert!(matches!(
                journal.read(positions[hit]).await,
                Err(ReadError::Corrupt { .. })
            ));
            journal.close().await;
            flip(path, offset);
        }
    }
    panic!("the last record was not reached");
}

#[tokio::test]
async fn damage_in_a_segments_header_costs_no_record() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 120).await;
    let path = segments(dir.path()).remove(1);
    flip(&path, 20);
    let (journal, recovery) = open(dir.path()).await;
    assert_eq!(recovery.corruptions, [], "the second copy stands in");
    journal.close().await;
    flip(&path, 52);
    let (journal, recovery) = open(dir.path()).await;
    assert_eq!(recovery.corruptions[0].segment, path);
    let (read, damage) = read_all(&journal).await;
    assert_eq!((read.len(), damage.len()), (120, 0));
    journal.close().await;
}

#[tokio::test]
async fn a_header_that_nothing_can_stand_in_for_refuses_to_open() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3).await;
    let path = segments(dir.path()).remove(0);
    flip(&path, 12);
    flip(&path, 44);
    let refused = Journal::open(dir.path(), options()).await.unwrap_err();
    assert_eq!(refused.code(), "JOURNAL_UNREADABLE");
}

#[tokio::test]
async fn lost_bytes_behind_a_cursor_are_named_and_their_places_never_given_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let positions = filled(dir.path(), 10).await;
    let (journal, _) = open(dir.path()).await;
    let mut cursor = journal.cursor("consumer").await.unwrap();
    let end = journal.end();
    cursor.commit(end).await.unwrap();
    drop(cursor);
    journal.close().await;
    let path = segments(dir.path()).remove(0);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(HEADER + positions[7].0).unwrap();
    let (journal, recovery) = open(dir.path()).await;
    assert_eq!(
        (
            recovery.corruptions[0].position,
            recovery.corruptions[0].next
        ),
        (positions[7], end)
    );
    assert_eq!(journal.append("after").await.unwrap(), end);
    let (read, damage) = read_all(&journal).await;
    assert_eq!((read.len(), damage), (8, vec![(positions[7], end)]));
    journal.close().await;
}

#[tokio::test]
async fn a_missing_segment_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let positions = filled(dir.path(), 200).await;
    let all = segments(dir.path());
    fs::remove_file(&all[1]).unwrap();
    let (journal, _) = open(dir.path()).await;
    let (read, damage) = read_all(&journal).await;
    assert_eq!(damage, [(Position(base(&all[1])), Position(base(&all[2])))]);
    let lost = positions
        .iter()
        .filter(|at| (base(&all[1])..base(&all[2])).contains(&at.0))
        .count();
    assert_eq!(read.len(), 200 - lost);
    journal.close().await;
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_its_bytes_never_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path()).await;
    journal.append("kept").await.unwrap();
    let batch = (0..5).map(|index| Bytes::from(vec![index; 100])).collect();
    let torn = journal.append_all(batch).await.unwrap();
    journal.close().await;
    let path = segments(dir.path()).remove(0);
    // Only the first of five frames is missing: they were one write, which thus never ended.
    flip(&path, HEADER + torn[0].0 + 30);
    let (journal, recovery) = open(dir.path()).await;
    assert!(recovery.truncated_bytes >= 500);
    assert_eq!(recovery.corruptions, []);
    assert_eq!(journal.end(), torn[0]);
    // A record of the same size ends where the second torn frame stood.
    journal.append(vec![9; 100]).await.unwrap();
    journal.close().await;
    let (journal, recovery) = open(dir.path()).await;
    assert_eq!(recovery.truncated_bytes, 0);
    let (read, damage) = read_all(&journal).await;
    assert_eq!((read.len(), damage.len()), (2, 0));
    journal.close().await;
}

#[tokio::test]
async fn a_payload_that_imitates_a_frame_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path()).await;
    let start = journal.append("first").await.unwrap();
    let end = journal.end();
    journal.close().await;
    // The attacker knows positions and the format, and imitates what an unsalted journal would write.
    let inner = end.0 + 24;
    let mut forged = Vec::new();
    forged.extend_from_slice(&8_u32.to_le_bytes());
    forged.extend_from_slice(&[0; 4]);
    forged.extend_from_slice(&inner.to_le_bytes());
    forged.extend_from_slice(&inner.to_le_bytes());
    forged.extend_from_slice(b"invented");
    let crc = crc32c::crc32c_append(crc32c::crc32c(&forged[..4]), &forged[8..]);
    forged[4..8].copy_from_slice(&crc.to_le_bytes());
    let (journal, _) = open(dir.path()).await;
    journal.append(forged).await.unwrap();
    journal.close().await;
    let path = segments(dir.path()).remove(0);
    flip(&path, HEADER + end.0 + 4);
    let (journal, recovery) = open(dir.path()).await;
    assert_eq!(
        recovery.corruptions,
        [],
        "a torn tail, whatever the payload says"
    );
    assert!(recovery.truncated_bytes > 0);
    assert_eq!(read_all(&journal).await.0[0].position, start);
    assert_eq!(journal.end(), end);
    journal.close().await;
}

#[tokio::test]
async fn a_damaged_cursor_is_named_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let positions = filled(dir.path(), 10).await;
    let (journal, _) = open(dir.path()).await;
    let mut cursor = journal.cursor("consumer").await.unwrap();
    cursor.commit(positions[3]).await.unwrap();
    cursor.commit(positions[6]).await.unwrap();
    drop(cursor);
    journal.close().await;
    let path = dir.path().join("consumer.cursor");
    // The newest slot is gone: the one before it stands.
    flip(&path, 16);
    let (journal, recovery) = open(dir.path()).await;
    assert_eq!(recovery.damaged_cursors, [] as [String; 0]);
    assert_eq!(
        journal.cursor("consumer").await.unwrap().position(),
        positions[3]
    );
    journal.close().await;
    flip(&path, 4096 + 16);
    let (journal, recovery) = open(dir.path()).await;
    assert_eq!(recovery.damaged_cursors, ["consumer"]);
    assert_eq!(
        journal.cursor("consumer").await.unwrap().position(),
        Position(0)
    );
    journal.close().await;
}

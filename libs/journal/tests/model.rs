//! The journal against a vector: any sequence of operations gives what the vector gives.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use zen_journal::sim::SimDisk;
use zen_journal::{Journal, Options, Position, ReadError, Record};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    AppendAll(Vec<usize>),
    ReadOne(prop::sample::Index),
    ReadFrom {
        from: prop::sample::Index,
        max_records: usize,
        max_bytes: usize,
    },
    Commit {
        cursor: usize,
        to: prop::sample::Index,
    },
    KeepFrom(prop::sample::Index),
    Trim,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 0..700_usize, 1 => 2000..6000_usize];
    prop_oneof![
        6 => size.clone().prop_map(Step::Append),
        3 => prop::collection::vec(size, 0..8).prop_map(Step::AppendAll),
        2 => any::<prop::sample::Index>().prop_map(Step::ReadOne),
        3 => (any::<prop::sample::Index>(), 1..20_usize, 1..5000_usize)
            .prop_map(|(from, max_records, max_bytes)| Step::ReadFrom { from, max_records, max_bytes }),
        2 => (0..2_usize, any::<prop::sample::Index>())
            .prop_map(|(cursor, to)| Step::Commit { cursor, to }),
        1 => any::<prop::sample::Index>().prop_map(Step::KeepFrom),
        2 => Just(Step::Trim),
        1 => Just(Step::Reopen),
    ]
}

/// What the journal should hold.
#[derive(Default)]
struct Model {
    records: Vec<(Position, Bytes)>,
    cursors: BTreeMap<String, Position>,
    appended: usize,
}

impl Model {
    fn payload(&mut self, size: usize) -> Bytes {
        self.appended += 1;
        Bytes::from(
            (0..size)
                .map(|index| (index + self.appended) as u8)
                .collect::<Vec<_>>(),
        )
    }

    fn from(&self, position: Position) -> impl Iterator<Item = &(Position, Bytes)> {
        self.records.iter().filter(move |(at, _)| *at >= position)
    }
}

async fn open(disk: &SimDisk) -> Journal {
    let options = Options {
        segment_bytes: 4096,
        batch_bytes: 1024,
        ..Options::default()
    };
    let (journal, recovery) = Journal::open_on(std::sync::Arc::new(disk.clone()), "j", options)
        .await
        .unwrap();
    assert_eq!(recovery.corruptions, []);
    assert_eq!(recovery.truncated_bytes, 0);
    journal
}

async fn read_all(
    journal: &Journal,
    from: Position,
    max_records: usize,
    max_bytes: usize,
) -> Vec<Record> {
    let mut reader = journal.reader(from);
    let mut all = Vec::new();
    while reader.position() < journal.end() {
        let batch = tokio::time::timeout(PATIENCE, reader.next_batch(max_records, max_bytes))
            .await
            .unwrap();
        let batch = batch.unwrap();
        let bytes: usize = batch.iter().map(|record| record.payload.len()).sum();
        assert!(!batch.is_empty() && batch.len() <= max_records);
        assert!(bytes <= max_bytes || batch.len() == 1);
        all.extend(batch);
    }
    all
}

/// The journal and what it should hold, side by side.
struct Pair {
    disk: SimDisk,
    journal: Journal,
    model: Model,
}

impl Pair {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Append(size) => {
                let payload = self.model.payload(size);
                let position = self.journal.append(payload.clone()).await.unwrap();
                self.model.records.push((position, payload));
            }
            Step::AppendAll(sizes) => {
                let payloads: Vec<_> = sizes
                    .into_iter()
                    .map(|size| self.model.payload(size))
                    .collect();
                let positions = self.journal.append_all(payloads.clone()).await.unwrap();
                assert_eq!(positions.len(), payloads.len());
                self.model
                    .records
                    .extend(positions.into_iter().zip(payloads));
            }
            Step::Trim => self.trim().await,
            Step::Reopen => {
                let bounds = (self.journal.start(), self.journal.end());
                self.journal.close().await;
                self.journal = open(&self.disk).await;
                assert_eq!((self.journal.start(), self.journal.end()), bounds);
            }
            _ if self.model.records.is_empty() => {}
            Step::ReadOne(index) => self.read_one(index).await,
            Step::ReadFrom {
                from,
                max_records,
                max_bytes,
            } => {
                let from = self.pick(from);
                self.read_from(from, max_records, max_bytes).await;
            }
            Step::Commit { cursor, to } => self.commit(cursor, self.pick(to)).await,
            Step::KeepFrom(index) => {
                self.journal.set_keep_from(index.get(&self.model.records).0);
            }
        }
    }

    /// The position of some record that is kept.
    fn pick(&self, index: prop::sample::Index) -> Position {
        index.get(&self.model.records).0.max(self.journal.start())
    }

    async fn read_one(&self, index: prop::sample::Index) {
        let (at, payload) = index.get(&self.model.records);
        let read = self.journal.read(*at).await;
        if *at < self.journal.start() {
            assert!(matches!(read, Err(ReadError::Trimmed { .. })));
        } else {
            assert_eq!(read.unwrap(), payload);
        }
    }

    async fn read_from(&self, from: Position, max_records: usize, max_bytes: usize) {
        let read = read_all(&self.journal, from, max_records, max_bytes).await;
        let expected: Vec<_> = self.model.from(from).cloned().collect();
        let got: Vec<_> = read
            .iter()
            .map(|record| (record.position, record.payload.clone()))
            .collect();
        assert_eq!(got, expected);
        assert!(read.windows(2).all(|pair| pair[0].next == pair[1].position));
    }

    async fn commit(&mut self, cursor: usize, to: Position) {
        let name = format!("consumer-{cursor}");
        let start = self.journal.start();
        let mut cursor = self.journal.cursor(&name).await.unwrap();
        let at = *self.model.cursors.entry(name.clone()).or_insert(start);
        assert_eq!(cursor.position(), at);
        assert_eq!(cursor.commit(to).await.is_ok(), to >= at);
        let at = at.max(to);
        assert_eq!(cursor.position(), at);
        self.model.cursors.insert(name, at);
    }

    async fn trim(&self) {
        let before = self.journal.start();
        let trimmed = self.journal.trim().await.unwrap();
        let start = self.journal.start();
        assert_eq!(trimmed.oldest, start);
        assert_eq!(trimmed.bytes, start.0 - before.0);
        assert_eq!(trimmed.unread_bytes, 0);
        assert!(self.model.cursors.values().all(|cursor| *cursor >= start));
    }
}

async fn run(steps: Vec<Step>) {
    let disk = SimDisk::new(1);
    let journal = open(&disk).await;
    let mut pair = Pair {
        disk,
        journal,
        model: Model::default(),
    };
    for step in steps {
        pair.take(step).await;
    }
    pair.read_from(pair.journal.start(), 7, 3000).await;
    pair.journal.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_behaves_like_a_vector(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

#[tokio::test]
async fn records_larger_than_a_segment_are_kept_whole() {
    let disk = SimDisk::new(1);
    let journal = open(&disk).await;
    let large = Bytes::from(vec![9; 300_000]);
    let many = vec![large.clone(), Bytes::from_static(b"small"), large.clone()];
    let positions = journal.append_all(many.clone()).await.unwrap();
    journal.close().await;
    let journal = open(&disk).await;
    for (position, payload) in positions.iter().zip(&many) {
        assert_eq!(journal.read(*position).await.unwrap(), payload);
    }
    let read = read_all(&journal, Position(0), 2, 10).await;
    assert_eq!(
        read.into_iter()
            .map(|record| record.payload)
            .collect::<Vec<_>>(),
        many
    );
}

#[tokio::test]
async fn a_reader_waits_at_the_end_and_losing_its_wait_loses_no_record() {
    let journal = open(&SimDisk::new(1)).await;
    let mut reader = journal.reader(journal.end());
    let waited = tokio::time::timeout(Duration::from_millis(5), reader.next_batch(10, 10)).await;
    assert!(waited.is_err(), "there was nothing to read");
    let (appended, read) = tokio::join!(
        journal.append("first"),
        tokio::time::timeout(PATIENCE, reader.next_batch(10, 1000))
    );
    let read = read.unwrap().unwrap();
    assert_eq!(
        (read[0].position, &read[0].payload[..]),
        (appended.unwrap(), &b"first"[..])
    );
    let waiting = tokio::spawn(async move { reader.next_batch(10, 10).await });
    journal.close().await;
    assert!(matches!(waiting.await.unwrap(), Err(ReadError::Closed)));
}

#[tokio::test]
async fn an_idle_writer_ends_and_appends_start_another() {
    let disk = std::sync::Arc::new(SimDisk::new(1));
    let idle = Some(Duration::from_millis(1));
    let options = Options {
        idle_writer_exit: idle,
        preallocate: false,
        ..Options::default()
    };
    let (journal, _) = Journal::open_on(disk, "j", options).await.unwrap();
    let mut positions = Vec::new();
    for index in 0..30_u8 {
        positions.push(journal.append(vec![index; 10]).await.unwrap());
        // Now and then long enough for the writer to end, now and then not.
        tokio::time::sleep(Duration::from_micros(u64::from(index) * 150)).await;
    }
    assert!(positions.is_sorted());
    assert_eq!(read_all(&journal, Position(0), 100, 1000).await.len(), 30);
    journal.close().await;
    assert!(matches!(
        journal.append("late").await,
        Err(zen_journal::AppendError::Closed)
    ));
}

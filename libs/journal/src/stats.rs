//! The figures a journal shows.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// A moment's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of records and their frames kept.
    pub bytes: u64,
    /// Segments kept.
    pub segments: usize,
    /// Records made durable since open.
    pub appended: u64,
    /// Syncs since open; `appended / syncs` is the mean batch.
    pub syncs: u64,
    /// Appends waiting for the writer.
    pub queued: usize,
    /// How long the last sync took.
    pub last_sync: Duration,
    /// Whether a failed write has stopped the log.
    pub poisoned: bool,
    /// Damaged stretches found by recovery and by readers, each counted once.
    pub corruptions: u64,
    /// Bytes that retention dropped although a cursor had not passed them.
    pub dropped_unread: u64,
}

/// What is counted as it happens.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) appended: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) last_sync_nanos: AtomicU64,
    pub(crate) dropped_unread: AtomicU64,
    damaged: Mutex<Damaged>,
}

/// Where damage was seen, so that a second look at it does not count again.
#[derive(Default)]
struct Damaged {
    seen: BTreeSet<u64>,
    count: u64,
}

/// Places remembered; beyond that, repeated looks count again.
const MOST_PLACES: usize = 4096;

impl Counters {
    /// Notes damage at a position; whether it is new.
    pub(crate) fn damaged(&self, position: u64) -> bool {
        let mut damaged = self.damaged.lock();
        if damaged.seen.contains(&position) {
            return false;
        }
        if damaged.seen.len() >= MOST_PLACES {
            damaged.seen.pop_first();
        }
        damaged.seen.insert(position);
        damaged.count += 1;
        true
    }

    /// Notes a batch made durable.
    pub(crate) fn synced(&self, records: u64, took: Duration) {
        self.appended.fetch_add(records, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last_sync_nanos.store(nanos, Ordering::Relaxed);
    }

    /// How many damaged stretches were seen.
    pub(crate) fn corruptions(&self) -> u64 {
        self.damaged.lock().count
    }
}

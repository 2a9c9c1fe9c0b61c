//! How far each road has come, for the agent's report, the metrics and `/debug/state`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use zen_journal::Position;

use crate::plan::Road;

/// What a road shows of itself. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Inner>);

struct Inner {
    road: Road,
    done: AtomicU64,
    oldest_ms: AtomicU64,
    parked: AtomicU64,
    records: AtomicU64,
    record_bytes: AtomicU64,
    connected: AtomicBool,
    /// Why the other side is not reached, and since when (Unix milliseconds).
    failure: Mutex<Option<(String, u64)>>,
}

/// Bytes of a record while none was read.
const USUAL_RECORD: u64 = 1024;

impl Progress {
    /// A road that has handed on everything before `done`.
    pub(crate) fn new(road: Road, done: Position) -> Self {
        Self(Arc::new(Inner {
            road,
            done: AtomicU64::new(done.0),
            oldest_ms: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            records: AtomicU64::new(0),
            record_bytes: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            failure: Mutex::new(None),
        }))
    }

    /// Whose progress it is.
    pub(crate) fn road(&self) -> Road {
        self.0.road
    }

    /// The road has read records of so many bytes together.
    pub(crate) fn read(&self, records: usize, bytes: u64) {
        self.0.records.fetch_add(records as u64, Ordering::Relaxed);
        self.0.record_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Everything before `done` is handed on; the oldest event that is not was accepted at `oldest_ms`, 0 if there
    /// is none; `parked` deliveries wait for their plane.
    pub(crate) fn moved(&self, done: Position, oldest_ms: u64, parked: usize) {
        self.0.done.store(done.0, Ordering::Relaxed);
        self.0.oldest_ms.store(oldest_ms, Ordering::Relaxed);
        self.0.parked.store(parked as u64, Ordering::Relaxed);
    }

    /// The other side answers.
    pub(crate) fn connected(&self) {
        self.0.connected.store(true, Ordering::Relaxed);
        *self.0.failure.lock() = None;
    }

    /// The other side does not answer, or no more.
    pub(crate) fn broken(&self, why: String, now_ms: u64) {
        self.0.connected.store(false, Ordering::Relaxed);
        let mut failure = self.0.failure.lock();
        let since_ms = failure.as_ref().map_or(now_ms, |(_, since_ms)| *since_ms);
        *failure = Some((why, since_ms));
    }

    /// Why the other side is not reached, if it is not, and since when (Unix milliseconds, else 0).
    pub(crate) fn failure(&self) -> (Option<String>, u64) {
        match self.0.failure.lock().clone() {
            Some((why, since_ms)) => (Some(why), since_ms),
            None => (None, 0),
        }
    }

    /// Bytes of the journal still to be handed on.
    pub(crate) fn lag_bytes(&self, end: Position) -> u64 {
        end.0.saturating_sub(self.0.done.load(Ordering::Relaxed))
    }

    /// About how many events that is.
    pub(crate) fn lag_records(&self, end: Position) -> u64 {
        let records = self.0.records.load(Ordering::Relaxed);
        let bytes = self.0.record_bytes.load(Ordering::Relaxed);
        let mean = bytes.checked_div(records).unwrap_or(USUAL_RECORD).max(1);
        self.lag_bytes(end).div_ceil(mean)
    }

    /// When the oldest event not handed on was accepted, Unix milliseconds; 0 if there is none.
    pub(crate) fn oldest_ms(&self) -> u64 {
        self.0.oldest_ms.load(Ordering::Relaxed)
    }

    /// For `/debug/state`.
    pub(crate) fn view(&self, end: Position) -> Value {
        json!({
            "connected": self.0.connected.load(Ordering::Relaxed),
            "failure": self.failure().0,
            "handed_on_before": self.0.done.load(Ordering::Relaxed),
            "lag_bytes": self.lag_bytes(end),
            "lag_events": self.lag_records(end),
            "oldest_accepted_at_ms": self.oldest_ms(),
            "parked_deliveries": self.0.parked.load(Ordering::Relaxed),
        })
    }
}

/// The oldest of several times in Unix milliseconds, of which 0 is none.
pub(crate) fn oldest(times: impl Iterator<Item = u64>) -> u64 {
    times.filter(|time| *time != 0).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_in_events_goes_by_the_mean_record() {
        let progress = Progress::new(Road::Egress, Position(100));
        assert_eq!(progress.lag_records(Position(100)), 0);
        assert_eq!(progress.lag_records(Position(101)), 1);
        progress.read(10, 5_000);
        assert_eq!(progress.lag_records(Position(2_100)), 4);
    }

    #[test]
    fn nothing_waiting_is_not_the_oldest() {
        assert_eq!(oldest([0, 7, 3].into_iter()), 3);
        assert_eq!(oldest([0, 0].into_iter()), 0);
    }
}

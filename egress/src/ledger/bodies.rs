//! Where the body of a waiting delivery is: in memory if it just came, else in the journal or,
//! once it left that, in a table.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase};
use zen_journal::Position;

use super::LedgerError;
use super::tables::{FLOATING, KEPT};

/// Bodies that were just accepted and most likely go out at once; a bounded memory of them, from
/// which the oldest go first: those wait longer than expected.
pub(super) struct Bodies {
    fresh: Mutex<Fresh>,
    max_bytes: usize,
}

#[derive(Default)]
struct Fresh {
    bodies: BTreeMap<u64, Bytes>,
    bytes: usize,
}

impl Bodies {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            fresh: Mutex::new(Fresh::default()),
            max_bytes,
        }
    }

    pub(super) fn put(&self, sequence: u64, body: Bytes) {
        let mut fresh = self.fresh.lock();
        fresh.bytes += body.len();
        fresh.bodies.insert(sequence, body);
        while fresh.bytes > self.max_bytes {
            let Some((_, oldest)) = fresh.bodies.pop_first() else {
                break;
            };
            fresh.bytes -= oldest.len();
        }
    }

    pub(super) fn get(&self, sequence: u64) -> Option<Bytes> {
        self.fresh.lock().bodies.get(&sequence).cloned()
    }

    /// Forgets a body: it was settled, or waits for a later attempt.
    pub(super) fn forget(&self, sequence: u64) {
        let mut fresh = self.fresh.lock();
        if let Some(body) = fresh.bodies.remove(&sequence) {
            fresh.bytes -= body.len();
        }
    }
}

/// Where a body that is not in memory is found.
pub(super) enum Place {
    Journal(Position),
    Kept(Bytes),
}

/// Looks up where the body of a waiting delivery is.
pub(super) fn place(database: &Database, sequence: u64) -> Result<Place, LedgerError> {
    let transaction = database.begin_read()?;
    if let Some(position) = transaction.open_table(FLOATING)?.get(sequence)? {
        return Ok(Place::Journal(Position(position.value())));
    }
    let kept = transaction.open_table(KEPT)?.get(sequence)?;
    kept.map(|body| Place::Kept(Bytes::copy_from_slice(body.value())))
        .ok_or(LedgerError::Damaged("a waiting delivery has no body"))
}

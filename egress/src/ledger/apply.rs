//! The changes of the ledger's tables, one function for each thing that can happen to a delivery.
//! Nothing here reads a clock or a file: time and bodies come in, the caller commits.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use redb::ReadableTable;
use zen_chassis::clock::millis;
use zen_journal::Position;
use zen_proto::ids::TargetId;
use zen_proto::limits;
use zen_proto::query::v1::DeliveryStatus;

use super::record::{Fate, Incoming, Keys, Settlement, Stored, target_of};
use super::tables::Tables;
use super::waiting::Waiting;
use super::{LedgerError, Options, Pause, Revival};

/// Rows that retention removes, and bodies that are moved out of the journal, in one transaction.
const HOUSEKEEPING: usize = 512;

/// What is counted along: bytes of body in the two states that are bounded by bytes, and who waits.
pub(super) struct Held {
    pub(super) pending_bytes: u64,
    pub(super) dead_bytes: u64,
    /// Deliveries that wait, by target.
    pub(super) waiting: Arc<Waiting>,
}

impl Held {
    pub(super) const fn new(waiting: Arc<Waiting>) -> Self {
        Self {
            pending_bytes: 0,
            dead_bytes: 0,
            waiting,
        }
    }
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) delivered: usize,
    /// Dead letters whose time was over.
    pub(super) dead_old: usize,
    /// Dead letters that had to go for newer ones.
    pub(super) dead_crowded: usize,
}

impl Removed {
    pub(super) const fn any(self) -> bool {
        self.delivered + self.dead_old + self.dead_crowded > 0
    }
}

impl Tables<'_> {
    /// Whether the ledger holds a delivery of this id, settled or not.
    pub(super) fn knows(&self, incoming: &Incoming) -> Result<bool, LedgerError> {
        Ok(self.ids.get(incoming.delivery.uuid().as_u128())?.is_some())
    }

    /// Enters a new delivery whose body is at `position` of the journal.
    pub(super) fn enter(
        &mut self,
        sequence: u64,
        incoming: &Incoming,
        position: Position,
        now_ms: u64,
        held: &mut Held,
    ) -> Result<(), LedgerError> {
        let target = incoming.target.uuid().as_u128();
        let bytes = incoming.body.len() as u64;
        self.ids
            .insert(incoming.delivery.uuid().as_u128(), sequence)?;
        self.by_target.insert((target, sequence), ())?;
        if incoming.unreadable.is_some() {
            self.kept.insert(sequence, incoming.body.as_ref())?;
            self.dead.insert(sequence, bytes)?;
            held.dead_bytes += bytes;
        } else {
            let flow = incoming.flow.uuid().as_u128();
            self.pending.insert(sequence, bytes)?;
            self.floating.insert(sequence, position.0)?;
            self.due.insert((target, flow, now_ms, sequence), ())?;
            held.pending_bytes += bytes;
            held.waiting.add(target);
        }
        self.store(sequence, &Stored::new(incoming, now_ms))
    }

    /// Settles a waiting delivery; false if it was settled before. `body` is asked for the
    /// encoded delivery when it becomes a dead letter and its body is in the journal only.
    pub(super) fn settle(
        &mut self,
        settlement: &Settlement,
        held: &mut Held,
        body: impl FnOnce(Position) -> Option<Bytes>,
    ) -> Result<bool, LedgerError> {
        let sequence = settlement.sequence;
        let Some(mut stored) = self.load(sequence)?.filter(Stored::is_pending) else {
            return Ok(false);
        };
        let Keys { target, flow, .. } = stored.keys()?;
        self.due
            .remove((target, flow, stored.shown.next_attempt_at_ms, sequence))?;
        if let Some(attempt) = &settlement.attempt {
            stored.note(attempt);
        }
        match &settlement.fate {
            Fate::Retry { due_ms } => {
                stored.shown.next_attempt_at_ms = *due_ms;
                self.due.insert((target, flow, *due_ms, sequence), ())?;
            }
            Fate::Delivered => {
                held.pending_bytes -= stored.shown.body_bytes;
                held.waiting.remove(target);
                self.close(
                    &mut stored,
                    sequence,
                    DeliveryStatus::Delivered,
                    settlement.at_ms,
                )?;
                self.kept.remove(sequence)?;
                self.delivered.insert((settlement.at_ms, sequence), ())?;
            }
            Fate::DeadLetter { code, pause } => {
                let body = self.body_for_keeping(settlement, body)?;
                held.pending_bytes -= stored.shown.body_bytes;
                held.waiting.remove(target);
                self.close(
                    &mut stored,
                    sequence,
                    DeliveryStatus::DeadLetter,
                    settlement.at_ms,
                )?;
                (*code).clone_into(&mut stored.shown.code);
                if let Some(body) = body {
                    self.kept.insert(sequence, body.as_ref())?;
                }
                held.dead_bytes += stored.shown.body_bytes;
                self.dead.insert(sequence, stored.shown.body_bytes)?;
                if let Some(Pause {
                    fingerprint,
                    since_ms,
                }) = pause
                {
                    self.paused.insert(target, (*fingerprint, *since_ms))?;
                }
            }
        }
        self.store(sequence, &stored)?;
        Ok(true)
    }

    /// Lets dead letters wait again: their attempts for the retry policy begin anew, their history
    /// stays, and so does their body where it is. Those that are none any more are left as they
    /// are. Gives the target of each that was.
    pub(super) fn revive(
        &mut self,
        revivals: &[Revival],
        now_ms: u64,
        held: &mut Held,
    ) -> Result<Vec<TargetId>, LedgerError> {
        let mut revived = Vec::with_capacity(revivals.len());
        for Revival { sequence, due_ms } in revivals.iter().copied() {
            let Some(mut stored) = self.load(sequence)?.filter(Stored::is_replayable) else {
                continue;
            };
            if self.kept.get(sequence)?.is_none() {
                continue;
            }
            let Keys { target, flow, .. } = stored.keys()?;
            let bytes = stored.shown.body_bytes;
            self.dead.remove(sequence)?;
            self.pending.insert(sequence, bytes)?;
            self.due.insert((target, flow, due_ms, sequence), ())?;
            held.dead_bytes -= bytes;
            held.pending_bytes += bytes;
            held.waiting.add(target);
            stored.revive(due_ms, now_ms, millis(limits::DELIVERY_RETENTION));
            self.store(sequence, &stored)?;
            revived.push(target_of(target));
        }
        Ok(revived)
    }

    /// The body that must move to the kept ones; none if it is there.
    fn body_for_keeping(
        &self,
        settlement: &Settlement,
        read: impl FnOnce(Position) -> Option<Bytes>,
    ) -> Result<Option<Bytes>, LedgerError> {
        let Some(position) = self.floating.get(settlement.sequence)?.map(|at| at.value()) else {
            return Ok(None);
        };
        Ok(settlement.body.clone().or_else(|| read(Position(position))))
    }

    fn close(
        &mut self,
        stored: &mut Stored,
        sequence: u64,
        status: DeliveryStatus,
        at_ms: u64,
    ) -> Result<(), LedgerError> {
        stored.shown.status = status as i32;
        stored.shown.settled_at_ms = at_ms;
        stored.shown.next_attempt_at_ms = 0;
        self.pending.remove(sequence)?;
        self.floating.remove(sequence)?;
        Ok(())
    }

    /// Moves the bodies of the longest waiting out of the journal while they lie more than
    /// `behind` bytes before its `end`. Gives the number moved.
    pub(super) fn park(
        &mut self,
        end: Position,
        behind: u64,
        mut body: impl FnMut(Position) -> Option<Bytes>,
    ) -> Result<usize, LedgerError> {
        for moved in 0..HOUSEKEEPING {
            let first = self
                .floating
                .first()?
                .map(|(key, at)| (key.value(), at.value()));
            let Some((sequence, position)) = first else {
                return Ok(moved);
            };
            if end.0.saturating_sub(position) <= behind {
                return Ok(moved);
            }
            // A body that cannot be read is found missing, and told so, when its turn comes.
            if let Some(body) = body(Position(position)) {
                self.kept.insert(sequence, body.as_ref())?;
            }
            self.floating.remove(sequence)?;
        }
        Ok(HOUSEKEEPING)
    }

    /// Removes what was kept long enough, or has to make room.
    pub(super) fn retain(
        &mut self,
        options: &Options,
        now_ms: u64,
        held: &mut Held,
    ) -> Result<Removed, LedgerError> {
        let mut removed = Removed::default();
        while removed.delivered < HOUSEKEEPING {
            let first = self.delivered.first()?.map(|(key, _)| key.value());
            let Some((settled_ms, sequence)) = first else {
                break;
            };
            let old = settled_ms.saturating_add(millis(options.delivered_age)) <= now_ms;
            if !old && len(&self.delivered)? <= options.delivered_records {
                break;
            }
            self.delivered.remove((settled_ms, sequence))?;
            self.forget(sequence)?;
            removed.delivered += 1;
        }
        while removed.dead_old + removed.dead_crowded < HOUSEKEEPING {
            let first = self
                .dead
                .first()?
                .map(|(key, bytes)| (key.value(), bytes.value()));
            let Some((sequence, bytes)) = first else {
                break;
            };
            let settled_ms = self
                .load(sequence)?
                .map_or(0, |stored| stored.shown.settled_at_ms);
            let old = settled_ms.saturating_add(millis(options.dead_age)) <= now_ms;
            match (old, held.dead_bytes > options.dead_bytes) {
                (true, _) => removed.dead_old += 1,
                (false, true) => removed.dead_crowded += 1,
                (false, false) => break,
            }
            held.dead_bytes -= bytes;
            self.dead.remove(sequence)?;
            self.forget(sequence)?;
        }
        Ok(removed)
    }

    /// Removes every trace of a settled delivery but its place in the index of its state.
    fn forget(&mut self, sequence: u64) -> Result<(), LedgerError> {
        if let Some(stored) = self.load(sequence)? {
            let keys = stored.keys()?;
            self.ids.remove(keys.delivery)?;
            self.by_target.remove((keys.target, sequence))?;
        }
        self.kept.remove(sequence)?;
        self.deliveries.remove(sequence)?;
        Ok(())
    }

    /// When the oldest waiting delivery was accepted, Unix milliseconds; 0 if none waits.
    pub(super) fn oldest_accepted_ms(&self) -> Result<u64, LedgerError> {
        let Some(sequence) = self.pending.first()?.map(|(key, _)| key.value()) else {
            return Ok(0);
        };
        Ok(self
            .load(sequence)?
            .map_or(0, |stored| stored.shown.accepted_at_ms))
    }

    fn load(&self, sequence: u64) -> Result<Option<Stored>, LedgerError> {
        self.deliveries
            .get(sequence)?
            .map(|bytes| Stored::read(bytes.value()))
            .transpose()
    }

    fn store(&mut self, sequence: u64, stored: &Stored) -> Result<(), LedgerError> {
        self.deliveries
            .insert(sequence, stored.encode_to_vec().as_slice())?;
        Ok(())
    }
}

/// Rows of a table.
pub(super) fn len(table: &impl redb::ReadableTableMetadata) -> Result<u64, LedgerError> {
    Ok(table.len()?)
}

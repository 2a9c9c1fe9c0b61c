//! What the writer takes from its queue and makes durable together: gathered, cleared of known
//! ids, and answered in the end.

use std::collections::HashSet;

use tokio::sync::oneshot;
use zen_journal::AppendError;
use zen_proto::ids::TargetId;

use super::bodies::Bodies;
use super::record::{Incoming, Settlement};
use super::tables::Tables;
use super::writer::Watcher;
use super::{Acceptance, Command, LedgerError, Revival};

/// Commands in one batch at the most.
const BATCH: usize = 1024;
/// Deliveries in one batch, beyond those of its first command.
const BATCH_DELIVERIES: usize = 2048;
/// Bytes of body in one batch, beyond those of its first command.
const BATCH_BYTES: usize = 4 << 20;
/// Commands that are written together.
#[derive(Default)]
pub(super) struct Batch {
    accepts: Vec<Accept>,
    pub(super) settlements: Vec<(Box<Settlement>, oneshot::Sender<()>)>,
    pub(super) replays: Vec<(Vec<Revival>, oneshot::Sender<usize>)>,
    pub(super) resumed: Vec<TargetId>,
    deliveries: usize,
    bytes: usize,
    pub(super) close: bool,
}

struct Accept {
    deliveries: Vec<Incoming>,
    /// For each delivery whether it is new.
    fresh: Vec<bool>,
    done: oneshot::Sender<Result<Vec<Acceptance>, AppendError>>,
}

impl Batch {
    pub(super) fn add(&mut self, command: Command) {
        match command {
            Command::Accept { deliveries, done } => {
                self.deliveries += deliveries.len();
                self.bytes += deliveries
                    .iter()
                    .map(|incoming| incoming.body.len())
                    .sum::<usize>();
                self.accepts.push(Accept {
                    deliveries,
                    fresh: Vec::new(),
                    done,
                });
            }
            Command::Settle { settlement, done } => self.settlements.push((settlement, done)),
            Command::Replay { revivals, done } => {
                self.deliveries += revivals.len();
                self.replays.push((revivals, done));
            }
            Command::Resume { target } => self.resumed.push(target),
            Command::Close => self.close = true,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.close
            && self.accepts.len() + self.settlements.len() < BATCH
            && self.deliveries < BATCH_DELIVERIES
            && self.bytes < BATCH_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.accepts.is_empty()
            && self.settlements.is_empty()
            && self.replays.is_empty()
            && self.resumed.is_empty()
    }

    /// Marks what is new: neither in the ledger nor earlier in this batch.
    pub(super) fn leave_out_known(&mut self, tables: &Tables<'_>) -> Result<(), LedgerError> {
        let mut seen = HashSet::new();
        for accept in &mut self.accepts {
            for incoming in &accept.deliveries {
                let fresh = seen.insert(incoming.delivery) && !tables.knows(incoming)?;
                accept.fresh.push(fresh);
            }
        }
        Ok(())
    }

    /// The new deliveries, in order.
    pub(super) fn fresh(&self) -> impl Iterator<Item = &Incoming> {
        self.accepts.iter().flat_map(|accept| {
            accept
                .deliveries
                .iter()
                .zip(&accept.fresh)
                .filter(|(_, fresh)| **fresh)
                .map(|(i, _)| i)
        })
    }

    /// Refuses all that was to be accepted; settlements go on.
    pub(super) fn refuse(&mut self, error: &AppendError) {
        for accept in self.accepts.drain(..) {
            // Whoever has gone meanwhile will bring its deliveries again.
            let _told = accept.done.send(Err(error.clone()));
        }
    }

    /// After the commit: remembers fresh bodies, wakes lanes, answers everybody.
    /// `revived` are the targets of each replay, one entry a delivery.
    pub(super) fn answer(
        self,
        entered: Vec<u64>,
        revived: Vec<Vec<TargetId>>,
        bodies: &Bodies,
        watcher: &impl Watcher,
    ) {
        for (incoming, sequence) in self.fresh().zip(entered) {
            if incoming.unreadable.is_none() {
                bodies.put(sequence, incoming.body.clone());
            }
        }
        let targets: HashSet<_> = self
            .fresh()
            .filter(|incoming| incoming.unreadable.is_none())
            .map(|incoming| incoming.target)
            .chain(revived.iter().flatten().copied())
            .collect();
        for accept in self.accepts {
            let stored = |fresh| {
                if fresh {
                    Acceptance::Stored
                } else {
                    Acceptance::Duplicate
                }
            };
            // Whoever has gone meanwhile will bring its deliveries again, as duplicates.
            let _told = accept
                .done
                .send(Ok(accept.fresh.into_iter().map(stored).collect()));
        }
        for (settlement, done) in self.settlements {
            bodies.forget(settlement.sequence);
            let _told = done.send(());
        }
        for ((_, done), revived) in self.replays.into_iter().zip(revived) {
            // Whoever has gone meanwhile asks again, and finds them waiting.
            let _told = done.send(revived.len());
        }
        for target in targets {
            watcher.waiting(target);
        }
    }
}

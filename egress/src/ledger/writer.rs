//! The one writer of the ledger. The way of a batch: gather what waits → leave out known ids →
//! append the new bodies (one sync) → change the tables (one transaction, one sync) → answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::{Database, Durability, ReadableTable};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use zen_chassis::Clock;
use zen_journal::{AppendError, Journal, Position};
use zen_proto::ids::TargetId;

use super::apply::{Held, Removed, len};
use super::batch::Batch;
use super::bodies::Bodies;
use super::record::Settlement;
use super::tables::Tables;
use super::waiting::Waiting;
use super::{Command, LedgerError, Options, Summary};

/// Pause between rounds of retention, whether or not anything is written.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(2);

/// What the writer shares with the ledger's other handles.
pub(super) struct Parts {
    pub(super) database: Arc<Database>,
    pub(super) journal: Journal,
    pub(super) bodies: Arc<Bodies>,
    pub(super) waiting: Arc<Waiting>,
}

/// Owns every change of the ledger; runs on a thread of its own.
pub(crate) struct Writer {
    database: Arc<Database>,
    journal: Journal,
    bodies: Arc<Bodies>,
    queue: mpsc::Receiver<Command>,
    summary: watch::Sender<Summary>,
    options: Options,
    clock: Clock,
    held: Held,
    next_sequence: u64,
}

/// Told by the writer about each batch, after it is durable. Must not block.
pub(crate) trait Watcher: Send + 'static {
    /// A target has new deliveries.
    fn waiting(&self, target: TargetId);
    /// A batch was committed, and how long that took.
    fn committed(&self, took: Duration);
    /// Retention dropped dead letters that were not too old yet, to keep the bound on bytes.
    fn crowded_out(&self, dead_letters: usize);
}

impl Writer {
    /// Reads from the tables where to go on.
    pub(super) fn new(
        parts: Parts,
        queue: mpsc::Receiver<Command>,
        summary: watch::Sender<Summary>,
        options: Options,
        clock: Clock,
    ) -> Result<Self, LedgerError> {
        let Parts {
            database,
            journal,
            bodies,
            waiting,
        } = parts;
        let mut writer = Self {
            database,
            journal,
            bodies,
            queue,
            summary,
            options,
            clock,
            held: Held::new(waiting),
            next_sequence: 1,
        };
        let database = writer.database.clone();
        let transaction = database.begin_write()?;
        {
            let tables = Tables::open(&transaction)?;
            for row in tables.pending.iter()? {
                writer.held.pending_bytes += row?.1.value();
            }
            for row in tables.due.iter()? {
                writer.held.waiting.add(row?.0.value().0);
            }
            for row in tables.dead.iter()? {
                writer.held.dead_bytes += row?.1.value();
            }
            if let Some((last, _)) = tables.deliveries.last()? {
                writer.next_sequence = last.value() + 1;
            }
            writer.summary.send_replace(writer.summarize(&tables)?);
        }
        transaction.abort()?;
        Ok(writer)
    }

    /// Writes until the ledger is closed or every handle is gone. Blocks; `runtime` drives the
    /// journal's futures.
    ///
    /// # Errors
    /// When the disk failed: nothing further can be promised then, and nothing is.
    pub(crate) fn run(
        mut self,
        runtime: &Handle,
        watcher: &impl Watcher,
    ) -> Result<(), LedgerError> {
        let mut tidied = Instant::now();
        loop {
            let due = HOUSEKEEPING_EVERY.saturating_sub(tidied.elapsed());
            let first =
                runtime.block_on(async { tokio::time::timeout(due, self.queue.recv()).await });
            let mut batch = Batch::default();
            match first {
                Ok(Some(command)) => batch.add(command),
                // Nobody is left who could ask or be answered.
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
            while batch.has_room() {
                let Ok(command) = self.queue.try_recv() else {
                    break;
                };
                batch.add(command);
            }
            let close = batch.close;
            if !batch.is_empty() {
                self.write(batch, runtime, watcher)?;
            }
            if tidied.elapsed() >= HOUSEKEEPING_EVERY {
                self.tidy(runtime, watcher)?;
                tidied = Instant::now();
            }
            if close {
                return self.finish(runtime);
            }
        }
    }

    /// One batch, from queue to answers.
    fn write(
        &mut self,
        mut batch: Batch,
        runtime: &Handle,
        watcher: &impl Watcher,
    ) -> Result<(), LedgerError> {
        let started = Instant::now();
        let now_ms = self.clock.unix_ms();
        let database = self.database.clone();
        let mut transaction = database.begin_write()?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(redb::Error::from)
            .map_err(boxed)?;
        let mut entered = Vec::new();
        let mut revived = Vec::new();
        let summary;
        {
            let mut tables = Tables::open(&transaction)?;
            batch.leave_out_known(&tables)?;
            match self.append(&batch, runtime) {
                Ok(positions) => {
                    entered = self.enter(&mut tables, &batch, &positions, now_ms)?;
                }
                Err(AppendError::DiskFull) => batch.refuse(&AppendError::DiskFull),
                Err(failure) => return Err(failure.into()),
            }
            for (settlement, _) in &batch.settlements {
                self.settle(&mut tables, settlement, runtime)?;
            }
            for (revivals, _) in &batch.replays {
                revived.push(tables.revive(revivals, now_ms, &mut self.held)?);
            }
            for target in &batch.resumed {
                tables.paused.remove(target.uuid().as_u128())?;
            }
            summary = self.summarize(&tables)?;
        }
        transaction.commit()?;
        self.summary.send_replace(summary);
        watcher.committed(started.elapsed());
        batch.answer(entered, revived, &self.bodies, watcher);
        Ok(())
    }

    /// Appends the bodies of new deliveries; one position each, in order.
    fn append(&self, batch: &Batch, runtime: &Handle) -> Result<Vec<Position>, AppendError> {
        let bodies: Vec<Bytes> = batch
            .fresh()
            .filter(|incoming| incoming.unreadable.is_none())
            .map(|incoming| incoming.body.clone())
            .collect();
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        runtime.block_on(self.journal.append_all(bodies))
    }

    /// Enters the new deliveries; gives their sequences, in order.
    fn enter(
        &mut self,
        tables: &mut Tables<'_>,
        batch: &Batch,
        positions: &[Position],
        now_ms: u64,
    ) -> Result<Vec<u64>, LedgerError> {
        let mut positions = positions.iter().copied();
        let mut entered = Vec::new();
        for incoming in batch.fresh() {
            let position = match &incoming.unreadable {
                Some(_) => Position::default(),
                None => positions
                    .next()
                    .ok_or(LedgerError::Damaged("a body has no position"))?,
            };
            let sequence = self.next_sequence;
            tables.enter(sequence, incoming, position, now_ms, &mut self.held)?;
            self.next_sequence += 1;
            entered.push(sequence);
        }
        Ok(entered)
    }

    fn settle(
        &mut self,
        tables: &mut Tables<'_>,
        settlement: &Settlement,
        runtime: &Handle,
    ) -> Result<(), LedgerError> {
        let Self { held, journal, .. } = self;
        if !tables.settle(settlement, held, |at| read_body(journal, at, runtime))? {
            tracing::warn!(
                sequence = settlement.sequence,
                "settled twice, the first time counts"
            );
        }
        Ok(())
    }

    /// Retention of tables and journal.
    fn tidy(&mut self, runtime: &Handle, watcher: &impl Watcher) -> Result<(), LedgerError> {
        let database = self.database.clone();
        let transaction = database.begin_write()?;
        let (removed, parked, keep_from, summary): (Removed, usize, Position, Summary);
        {
            let mut tables = Tables::open(&transaction)?;
            removed = tables.retain(&self.options, self.clock.unix_ms(), &mut self.held)?;
            let end = self.journal.end();
            parked = tables.park(end, self.options.park_behind, |at| {
                read_body(&self.journal, at, runtime)
            })?;
            let first = tables
                .floating
                .first()?
                .map(|(_, position)| Position(position.value()));
            keep_from = first.unwrap_or(end);
            summary = self.summarize(&tables)?;
        }
        if removed.any() || parked > 0 {
            transaction.commit()?;
            self.summary.send_replace(summary);
            tracing::debug!(?removed, parked, "ledger tidied");
        } else {
            transaction.abort()?;
        }
        if removed.dead_crowded > 0 {
            let dead_letters = removed.dead_crowded;
            tracing::error!(
                dead_letters,
                "dead letters dropped to keep the bound on their bytes"
            );
            watcher.crowded_out(dead_letters);
        }
        // Only now: what the tables point to must be there until they no longer do, durably.
        self.journal.set_keep_from(keep_from);
        if let Err(error) = runtime.block_on(self.journal.trim()) {
            tracing::warn!(code = error.code(), "journal of bodies not trimmed");
        }
        Ok(())
    }

    fn finish(self, runtime: &Handle) -> Result<(), LedgerError> {
        runtime.block_on(self.journal.close());
        Ok(())
    }

    fn summarize(&self, tables: &Tables<'_>) -> Result<Summary, LedgerError> {
        Ok(Summary {
            pending: len(&tables.pending)?,
            pending_bytes: self.held.pending_bytes,
            oldest_accepted_ms: tables.oldest_accepted_ms()?,
            delivered: len(&tables.delivered)?,
            dead_letters: len(&tables.dead)?,
            dead_bytes: self.held.dead_bytes,
        })
    }
}

/// The body at a place of the journal; nothing, with an error in the log, if it is damaged.
fn read_body(journal: &Journal, at: Position, runtime: &Handle) -> Option<Bytes> {
    match runtime.block_on(journal.read(at)) {
        Ok(body) => Some(body),
        Err(error) => {
            tracing::error!(
                position = at.0,
                code = error.code(),
                "a body cannot be read"
            );
            None
        }
    }
}

fn boxed(error: redb::Error) -> LedgerError {
    LedgerError::Tables(Box::new(error))
}

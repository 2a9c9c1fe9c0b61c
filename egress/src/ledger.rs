//! The durable memory of this egress: what was accepted, what is due, what came of it.
//!
//! Bodies are appended to a journal, state and indexes live in redb. One writer (`writer`) takes
//! whatever waits in its bounded queue, appends the new bodies with one sync, changes the tables
//! in one transaction (`apply`) and only then answers: what [`Ledger::accept`] has returned
//! survives a power cut. Reads (`due`, `list`) see the last committed state and never wait for
//! the writer.

mod apply;
mod batch;
mod bodies;
mod due;
mod list;
mod record;
mod replay;
mod tables;
mod waiting;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable};
use tokio::sync::{mpsc, oneshot, watch};
use zen_chassis::{Clock, files};
use zen_journal::{AppendError, Journal, OpenError, ReadError};
use zen_proto::ids::{DeliveryId, TargetId};
use zen_proto::query::v1::{DeliveryPage, DeliveryRecord};

use bodies::Bodies;
use tables::PAUSED;
use waiting::Waiting;

pub(crate) use due::{Due, DueQuery, Mode, Picked};
pub(crate) use list::ListQuery;
pub(crate) use record::{Fate, Incoming, Settlement};
pub(crate) use replay::{DeadQuery, Selected};
use writer::Parts;
pub(crate) use writer::{Watcher, Writer};

/// Commands that may wait for the writer; senders wait beyond.
const QUEUE: usize = 4096;
/// Memory redb may use for pages.
const PAGE_CACHE: usize = 64 << 20;

/// The bounds of a ledger.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Deliveries that may wait at once; accepting waits beyond.
    pub(crate) max_pending: u64,
    /// Bytes of body that may wait at once; accepting waits beyond.
    pub(crate) max_pending_bytes: u64,
    /// How long what was delivered stays listed, and its id known.
    pub(crate) delivered_age: Duration,
    /// How many delivered ones stay at the most.
    pub(crate) delivered_records: u64,
    /// How long a dead letter stays.
    pub(crate) dead_age: Duration,
    /// Bytes of body that dead letters may hold; the oldest go beyond.
    pub(crate) dead_bytes: u64,
    /// A body that lies further back in the journal than this is moved out of it, so that one
    /// delivery that waits does not hold the journal of all.
    pub(crate) park_behind: u64,
    /// Memory for bodies that were just accepted.
    pub(crate) fresh_bytes: usize,
    /// Size of a segment of the journal.
    pub(crate) segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_pending: 1_000_000,
            max_pending_bytes: 8 << 30,
            delivered_age: Duration::from_secs(24 * 60 * 60),
            delivered_records: 100_000,
            dead_age: Duration::from_secs(7 * 24 * 60 * 60),
            dead_bytes: 1 << 30,
            park_behind: 256 << 20,
            fresh_bytes: 64 << 20,
            segment_bytes: 32 << 20,
        }
    }
}

/// Why the ledger could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The tables cannot be read or written.
    #[error("the ledger's tables failed")]
    Tables(#[source] Box<redb::Error>),
    /// The folder cannot be made.
    #[error("the ledger's folder cannot be used")]
    Folder(#[from] files::FileError),
    /// The journal of bodies cannot be opened.
    #[error("the journal of bodies cannot be opened")]
    Journal(#[from] OpenError),
    /// Bodies were not written; nothing was accepted.
    #[error("bodies were not written ({})", .0.code())]
    Append(#[from] AppendError),
    /// A body cannot be read.
    #[error("a body cannot be read ({})", .0.code())]
    Body(#[from] ReadError),
    /// What a table holds makes no sense.
    #[error("the ledger is damaged: {0}")]
    Damaged(&'static str),
    /// The cursor of a list is none of ours.
    #[error("the cursor is not one of an earlier page")]
    Cursor,
    /// The writer has ended.
    #[error("the ledger is closed")]
    Closed,
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for LedgerError {
            fn from(error: $error) -> Self {
                Self::Tables(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

/// How much the ledger holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Deliveries that wait for an attempt or are under way.
    pub(crate) pending: u64,
    /// Their bodies, in bytes.
    pub(crate) pending_bytes: u64,
    /// When the oldest of them was accepted, Unix milliseconds; 0 if there is none.
    pub(crate) oldest_accepted_ms: u64,
    /// Delivered ones still listed.
    pub(crate) delivered: u64,
    /// Dead letters.
    pub(crate) dead_letters: u64,
    /// Their bodies, in bytes.
    pub(crate) dead_bytes: u64,
}

/// What became of one accepted delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It is new, and durable.
    Stored,
    /// Its id was known: nothing was stored again.
    Duplicate,
}

/// A target that asked not to be called any more, as it was configured then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// The configuration that was in force.
    pub(crate) fingerprint: u64,
    /// Unix milliseconds.
    pub(crate) since_ms: u64,
}

/// A dead letter that shall wait again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revival {
    pub(crate) sequence: u64,
    /// When its next attempt is due, Unix milliseconds.
    pub(crate) due_ms: u64,
}

/// What the writer is asked.
enum Command {
    Accept {
        deliveries: Vec<Incoming>,
        done: oneshot::Sender<Result<Vec<Acceptance>, AppendError>>,
    },
    Settle {
        settlement: Box<Settlement>,
        done: oneshot::Sender<()>,
    },
    Replay {
        revivals: Vec<Revival>,
        done: oneshot::Sender<usize>,
    },
    Resume {
        target: TargetId,
    },
    Close,
}

/// The handle that every other part of the egress uses. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    commands: mpsc::Sender<Command>,
    database: Arc<Database>,
    journal: Journal,
    bodies: Arc<Bodies>,
    waiting: Arc<Waiting>,
    summary: watch::Receiver<Summary>,
    max_pending: u64,
    max_pending_bytes: u64,
}

impl Ledger {
    /// Opens or creates the ledger in `folder`. Nothing is written until the [`Writer`] runs.
    ///
    /// # Errors
    /// When a file cannot be opened or makes no sense.
    pub(crate) async fn open(
        folder: &Path,
        options: Options,
        clock: Clock,
    ) -> Result<(Self, Writer), LedgerError> {
        files::make_private_folder(folder)?;
        let path = folder.to_owned();
        let segment_bytes = options.segment_bytes;
        let database = blocking(move || {
            let database = Database::builder()
                .set_cache_size(PAGE_CACHE)
                .create(path.join("ledger.redb"))?;
            tables::create(&database)?;
            Ok(Arc::new(database))
        })
        .await?;
        let journal_options = zen_journal::Options {
            segment_bytes,
            ..zen_journal::Options::default()
        };
        let (journal, recovery) = Journal::open(folder.join("bodies"), journal_options).await?;
        tracing::debug!(?recovery, "journal of bodies opened");
        let (commands, queue) = mpsc::channel(QUEUE);
        let (summary_in, summary) = watch::channel(Summary::default());
        let bodies = Arc::new(Bodies::new(options.fresh_bytes));
        let waiting = Arc::new(Waiting::default());
        let ledger = Self {
            waiting: waiting.clone(),
            commands,
            database: database.clone(),
            journal: journal.clone(),
            bodies: bodies.clone(),
            summary,
            max_pending: options.max_pending,
            max_pending_bytes: options.max_pending_bytes,
        };
        let writer = blocking(move || {
            let parts = Parts {
                database,
                journal,
                bodies,
                waiting,
            };
            Writer::new(parts, queue, summary_in, options, clock)
        })
        .await?;
        Ok((ledger, writer))
    }

    /// Takes deliveries in; returns when all of them are durable, one answer each. Waits while
    /// the ledger is full.
    ///
    /// # Errors
    /// When they could not be written (none of them is accepted then), or the ledger is closed.
    pub(crate) async fn accept(
        &self,
        deliveries: Vec<Incoming>,
    ) -> Result<Vec<Acceptance>, LedgerError> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let has_room = |held: &Summary| {
            held.pending < self.max_pending && held.pending_bytes < self.max_pending_bytes
        };
        self.summary
            .clone()
            .wait_for(has_room)
            .await
            .map_err(|_| LedgerError::Closed)?;
        let (done, answer) = oneshot::channel();
        self.send(Command::Accept { deliveries, done }).await?;
        Ok(answer.await.map_err(|_| LedgerError::Closed)??)
    }

    /// Records what came of an attempt; returns when it is durable.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub(crate) async fn settle(&self, settlement: Settlement) -> Result<(), LedgerError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Settle {
            settlement: Box::new(settlement),
            done,
        })
        .await?;
        answer.await.map_err(|_| LedgerError::Closed)
    }

    /// The dead letters that a replay selects.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub(crate) async fn dead(&self, query: DeadQuery) -> Result<Selected, LedgerError> {
        let database = self.database.clone();
        blocking(move || replay::select(&database, &query)).await
    }

    /// Lets dead letters wait again, all in one transaction; returns when that is durable, with
    /// the number of those that still were dead letters.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub(crate) async fn replay(&self, revivals: Vec<Revival>) -> Result<usize, LedgerError> {
        if revivals.is_empty() {
            return Ok(0);
        }
        let (done, answer) = oneshot::channel();
        self.send(Command::Replay { revivals, done }).await?;
        answer.await.map_err(|_| LedgerError::Closed)
    }

    /// How many more deliveries may wait before accepting does.
    pub(crate) fn room(&self) -> u64 {
        self.max_pending
            .saturating_sub(self.summary.borrow().pending)
    }

    /// How many deliveries wait for the target.
    pub(crate) fn waiting(&self, target: TargetId) -> u64 {
        self.waiting.of(target)
    }

    /// One delivery of the tenant (empty means any), with its whole history.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub(crate) async fn find(
        &self,
        id: DeliveryId,
        tenant_id: String,
    ) -> Result<Option<DeliveryRecord>, LedgerError> {
        let database = self.database.clone();
        blocking(move || replay::find(&database, id, &tenant_id)).await
    }

    /// Forgets that a target is paused.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub(crate) async fn resume(&self, target: TargetId) -> Result<(), LedgerError> {
        self.send(Command::Resume { target }).await
    }

    /// What is due for one target; see [`DueQuery`].
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub(crate) async fn due(&self, query: DueQuery) -> Result<Picked, LedgerError> {
        let database = self.database.clone();
        blocking(move || due::pick(&database, &query)).await
    }

    /// Every target that has deliveries waiting.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub(crate) async fn targets_waiting(&self) -> Result<Vec<TargetId>, LedgerError> {
        let database = self.database.clone();
        blocking(move || due::targets(&database)).await
    }

    /// Every target that is paused.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub(crate) async fn paused(&self) -> Result<HashMap<TargetId, Pause>, LedgerError> {
        let database = self.database.clone();
        blocking(move || {
            let mut paused = HashMap::new();
            for row in database.begin_read()?.open_table(PAUSED)?.iter()? {
                let (target, pause) = row?;
                let (fingerprint, since_ms) = pause.value();
                paused.insert(
                    record::target_of(target.value()),
                    Pause {
                        fingerprint,
                        since_ms,
                    },
                );
            }
            Ok(paused)
        })
        .await
    }

    /// The encoded delivery of a waiting one.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub(crate) async fn body(&self, sequence: u64) -> Result<Bytes, LedgerError> {
        if let Some(body) = self.bodies.get(sequence) {
            return Ok(body);
        }
        let database = self.database.clone();
        match blocking(move || bodies::place(&database, sequence)).await? {
            bodies::Place::Journal(position) => Ok(self.journal.read(position).await?),
            bodies::Place::Kept(body) => Ok(body),
        }
    }

    /// One page of deliveries, newest first.
    ///
    /// # Errors
    /// When the tables cannot be read or the cursor is malformed.
    pub(crate) async fn list(&self, query: ListQuery) -> Result<DeliveryPage, LedgerError> {
        let database = self.database.clone();
        blocking(move || list::page(&database, &query)).await
    }

    /// How much the ledger holds, as of the last commit.
    pub(crate) fn summary(&self) -> watch::Receiver<Summary> {
        self.summary.clone()
    }

    /// Asks the writer to end after what was sent before.
    pub(crate) async fn close(&self) {
        // A writer that has already ended is what was asked for.
        let _sent = self.commands.send(Command::Close).await;
    }

    async fn send(&self, command: Command) -> Result<(), LedgerError> {
        self.commands
            .send(command)
            .await
            .map_err(|_| LedgerError::Closed)
    }
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(LedgerError::Closed))
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
mod tests;

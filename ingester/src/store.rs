//! The journal of accepted events: opened with what it remembers of the sources' ids, asked for room, kept
//! from growing. Nothing that was accepted is ever dropped for size: a full journal takes nothing more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use prost::Message;
use tokio::sync::Notify;
use zen_chassis::chain::Chain;
use zen_chassis::clock::{Clock, millis};
use zen_chassis::ready::Condition;
use zen_chassis::{CancellationToken, Stage};
use zen_journal::{AppendError, Cursor, Journal, Options, Position, ReadError, Stats, Sync};
use zen_proto::ids::EventId;

use crate::config::{Durability, JournalSettings};
use crate::dedupe::{Claimed, Dedupe, KNOWN_FOR, MOST_KEYS};

/// Pause between two looks at what can go.
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// The same once the journal is full.
const TRIM_FULL: Duration = Duration::from_millis(250);
/// Bytes at the end of the journal that are kept for the sources' ids in them.
const REMEMBERED: u64 = 256 << 20;
/// Records and bytes read at once at the start.
const READ_RECORDS: usize = 1024;
const READ_BYTES: usize = 1 << 20;

/// The journal and what is known of its events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    journal: Journal,
    dedupe: Dedupe,
    max_bytes: u64,
    full: Notify,
    sound: Condition,
    /// The last append failed.
    failing: AtomicBool,
}

/// Why the journal takes nothing at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// As large as it may be: what is in it has not been handed on.
    #[error("the journal has its full size and waits for events to be handed on")]
    Full,
    /// The disk is slower than the sources.
    #[error("the journal's disk does not keep up")]
    Slow,
}

/// What of an event is needed to know it again, read without the rest.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(string, tag = "2")]
    pub(crate) event_id: String,
    #[prost(string, tag = "4")]
    pub(crate) endpoint_id: String,
    #[prost(uint64, tag = "5")]
    pub(crate) accepted_at_ms: u64,
    #[prost(string, tag = "11")]
    pub(crate) source_key: String,
}

impl Store {
    /// Opens the journal in `folder`, and reads from its end the sources' ids of the last day.
    pub(crate) async fn open(
        folder: &Path,
        settings: &JournalSettings,
        stage: &Stage,
    ) -> anyhow::Result<(Self, Keeper)> {
        let sync = match settings.durability {
            Durability::Fsync => Sync::Fdatasync,
            Durability::Memory => {
                tracing::warn!(
                    "journal.durability is memory: events answered with 2xx are LOST in a power cut; \
                     for benchmarks only"
                );
                Sync::None
            }
        };
        let options = Options {
            segment_bytes: settings.segment_size.0,
            sync,
            ..Options::default()
        };
        let (journal, _recovery) = Journal::open(folder, options)
            .await
            .context("cannot open the journal")?;
        Self::over(journal, settings.max_size.0, stage).await
    }

    /// The store over an open journal that may grow to `max_bytes`.
    pub(crate) async fn over(
        journal: Journal,
        max_bytes: u64,
        stage: &Stage,
    ) -> anyhow::Result<(Self, Keeper)> {
        let mark = journal
            .cursor("dedupe")
            .await
            .context("cannot open the journal")?;
        let sound = stage.ready.condition("journal", "not opened yet");
        sound.ready();
        let store = Self(Arc::new(Inner {
            journal,
            dedupe: Dedupe::new(MOST_KEYS),
            max_bytes,
            full: Notify::new(),
            sound,
            failing: AtomicBool::new(false),
        }));
        store
            .remember_from(mark.position(), stage.clock.unix_ms())
            .await;
        let previous_end = mark.position();
        let keeper = Keeper {
            store: store.clone(),
            mark,
            previous_end,
            clock: stage.clock.clone(),
        };
        Ok((store, keeper))
    }

    /// The journal, for those who follow it.
    pub(crate) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// The sources' ids.
    pub(crate) fn dedupe(&self) -> &Dedupe {
        &self.0.dedupe
    }

    /// The journal's figures.
    pub(crate) fn stats(&self) -> Stats {
        self.0.journal.stats()
    }

    /// The size at which the journal takes nothing more.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    /// Whether an event may come in now.
    pub(crate) fn check_room(&self) -> Result<(), NoRoom> {
        if self.is_full() {
            self.0.full.notify_one();
            return Err(NoRoom::Full);
        }
        // A journal that stopped has no room either; its own error says more.
        let journal = &self.0.journal;
        if journal.try_has_room() || journal.stats().poisoned {
            Ok(())
        } else {
            Err(NoRoom::Slow)
        }
    }

    fn is_full(&self) -> bool {
        let journal = &self.0.journal;
        journal.end().0.saturating_sub(journal.start().0) >= self.0.max_bytes
    }

    /// Appends an event; it is durable when this returns. From then on its source's id is known.
    pub(crate) async fn append(
        &self,
        event: Bytes,
        id: EventId,
        accepted_at_ms: u64,
        claimed: Option<Claimed>,
    ) -> Result<(), AppendError> {
        match self.0.journal.append(event).await {
            Ok(position) => {
                if self.0.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("events are stored again");
                }
                if let Some(claimed) = claimed {
                    claimed.settle(id, accepted_at_ms, position);
                }
                Ok(())
            }
            Err(error) => {
                if matches!(error, AppendError::Poisoned | AppendError::Io(_)) {
                    self.0.sound.not_ready(format!(
                        "{}: nothing more is accepted; mend the disk and restart the ingester",
                        error.code()
                    ));
                }
                // Once, not for each of the thousands of events that meet the same disk.
                if !self.0.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(code = error.code(), error = %Chain(&error), "events not stored");
                }
                Err(error)
            }
        }
    }

    async fn remember_from(&self, from: Position, now_ms: u64) {
        let journal = &self.0.journal;
        let since = now_ms.saturating_sub(millis(KNOWN_FOR));
        let mut reader = journal.reader(from);
        while reader.position() < journal.end() {
            let records = match reader.next_batch(READ_RECORDS, READ_BYTES).await {
                Ok(records) => records,
                Err(ReadError::Corrupt {
                    next: Some(next), ..
                }) => {
                    reader.skip_to(next);
                    continue;
                }
                Err(ReadError::Trimmed { oldest }) => {
                    reader.skip_to(oldest);
                    continue;
                }
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "older repeats will not be recognised");
                    return;
                }
            };
            for record in records {
                let Ok(known) = Envelope::decode(record.payload) else {
                    continue;
                };
                let Ok(id) = known.event_id.parse() else {
                    continue;
                };
                if known.accepted_at_ms >= since && !known.source_key.is_empty() {
                    let (endpoint, key) = (&known.endpoint_id, &known.source_key);
                    self.0.dedupe.remember(
                        endpoint,
                        key,
                        id,
                        known.accepted_at_ms,
                        record.position,
                    );
                }
            }
        }
    }
}

/// Lets go of what nobody needs any more.
pub(crate) struct Keeper {
    store: Store,
    /// From where the sources' ids are read at the next start.
    mark: Cursor,
    /// The journal's end at the last look: what stands before it has been settled since.
    previous_end: Position,
    clock: Clock,
}

impl Keeper {
    /// Trims now and then, and soon when the journal is full, until shutdown.
    pub(crate) async fn keep(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut pause = TRIM_EVERY;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.store.0.full.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.trim().await;
            pause = if self.store.is_full() {
                TRIM_FULL
            } else {
                TRIM_EVERY
            };
            // A source that knocks at a full journal asks for a look each time.
            tokio::time::sleep(TRIM_FULL).await;
        }
    }

    async fn trim(&mut self) {
        let journal = &self.store.0.journal;
        let end = journal.end();
        let remembered = REMEMBERED.min(self.store.0.max_bytes / 4);
        let floor = Position(end.0.saturating_sub(remembered));
        let oldest = self.store.0.dedupe.forget(self.clock.unix_ms(), floor);
        let mark = oldest.unwrap_or(self.previous_end);
        self.previous_end = end;
        if mark > self.mark.position()
            && let Err(error) = self.mark.commit(mark).await
        {
            tracing::warn!(error = %Chain(&error), "journal not trimmed");
            return;
        }
        match journal.trim().await {
            Ok(trimmed) if trimmed.segments > 0 => {
                tracing::debug!(
                    segments = trimmed.segments,
                    bytes = trimmed.bytes,
                    "journal trimmed"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %Chain(&error), "journal not trimmed"),
        }
    }
}

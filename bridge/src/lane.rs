//! The store of one destination plane: a journal, the durable cursor of what is settled, and the
//! keeper task that hands parcels to whoever is attached.

mod attachment;
mod book;
mod committer;
mod keeper;
pub(crate) mod record;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zen_chassis::chain::Chain;
use zen_chassis::{Clock, clock};
use zen_journal::{AppendError, CursorError, Journal, OpenError, Options, Position};
use zen_proto::ids::PlaneId;

use crate::config::LaneSettings;
use crate::metrics::Metrics;
use committer::Committer;
use keeper::Keeper;

pub(crate) use attachment::{Attached, Attachment, Inlet};

/// The cursor before which everything is settled.
const CURSOR: &str = "egress";
/// After this long without a parcel a lane gives its writer thread back.
const IDLE_WRITER: Duration = Duration::from_secs(30);
/// What attachments may have sent to the keeper and it has not read.
const COMMANDS: usize = 256;

/// What every lane of a bridge is made with.
pub(crate) struct LaneSetup {
    pub(crate) settings: LaneSettings,
    pub(crate) max_in_flight: usize,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    /// Ends all lanes, also those that are still being opened.
    pub(crate) closing: CancellationToken,
}

/// A lane cannot be used. The next use tries to open it again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    /// Its journal does not open.
    #[error("cannot open the lane")]
    Open(#[from] OpenError),
    /// Its cursor does not open.
    #[error("cannot open the lane's cursor")]
    Cursor(#[from] CursorError),
    /// It is ending: the bridge stops, or its disk failed.
    #[error("the lane is closing")]
    Closing,
}

impl LaneError {
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Open(error) => error.code(),
            Self::Cursor(error) => error.code(),
            Self::Closing => "LANE_CLOSING",
        }
    }
}

/// Why parcels were not stored. Each is worth another try.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStored {
    /// The lane holds as much as it may.
    #[error("the lane is full")]
    Full,
    /// The journal did not take them.
    #[error("the lane's journal did not take the parcels")]
    Journal(#[from] AppendError),
}

/// An open lane. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Shared>);

struct Shared {
    plane: PlaneId,
    journal: Journal,
    commands: mpsc::Sender<keeper::Command>,
    figures: Figures,
    setup: Arc<LaneSetup>,
    closing: CancellationToken,
    ended: CancellationToken,
}

/// What the keeper and those who publish let others see.
#[derive(Default)]
struct Figures {
    settled: AtomicU64,
    /// Bytes that are being appended.
    appending: AtomicU64,
    /// Parcels that wait or are in flight; those found at the start are counted in the background.
    backlog: AtomicI64,
    /// Whether those found at the start are all counted.
    counted: AtomicBool,
    /// Unix milliseconds, 0 if nothing waits.
    oldest_ms: AtomicU64,
    attached: AtomicUsize,
}

/// A lane's figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneFigures {
    /// Parcels that wait or are in flight.
    pub(crate) backlog: u64,
    /// When the oldest of them was published, Unix milliseconds; 0 if there is none.
    pub(crate) oldest_ms: u64,
    /// Bytes that are not settled.
    pub(crate) bytes: u64,
    /// Egresses attached.
    pub(crate) attached: usize,
}

impl Lane {
    /// Opens the lane in `folder`. The answer's second part is the lane's work, to be run as a task:
    /// it ends when `setup.closing` is cancelled, or when the lane's disk fails.
    ///
    /// # Errors
    /// [`LaneError`] if journal or cursor do not open.
    pub(crate) async fn open(
        plane: PlaneId,
        folder: &Path,
        setup: Arc<LaneSetup>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), LaneError> {
        let options = Options {
            preallocate: false,
            idle_writer_exit: Some(IDLE_WRITER),
            segment_bytes: setup.settings.segment_size.as_u64(),
            max_bytes: None,
            ..Options::default()
        };
        let (journal, recovery) = Journal::open(folder, options).await?;
        tracing::debug!(%plane, ?recovery, "lane opened");
        let cursor = journal.cursor(CURSOR).await?;
        // What is found here is counted later; what is appended from now on is counted then.
        let (settled, end) = (cursor.position(), journal.end());
        let closing = setup.closing.child_token();
        let (commands, orders) = mpsc::channel(COMMANDS);
        let figures = Figures::default();
        figures.settled.store(settled.0, Ordering::Release);
        let lane = Self(Arc::new(Shared {
            plane,
            journal,
            commands,
            figures,
            setup,
            closing,
            ended: CancellationToken::new(),
        }));
        let (committer, progress) = Committer::new(lane.clone(), cursor);
        let keeper = Keeper::new(lane.clone(), settled, orders, progress);
        Ok((lane.clone(), lane.work(keeper, committer, settled..end)))
    }

    /// Stores records and returns when they are durable.
    ///
    /// # Errors
    /// [`NotStored`]; then nothing was promised. After a failed write the lane ends.
    pub(crate) async fn append(&self, records: Vec<Bytes>) -> Result<(), NotStored> {
        let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        let figures = &self.0.figures;
        let _appending = Appending::reserve(&figures.appending, bytes);
        // Unsettled bytes and all that is under way, this included. An empty lane takes anything.
        let held = self.figures().bytes + figures.appending.load(Ordering::Acquire);
        if held > self.0.setup.settings.max_size.as_u64() && held > bytes {
            return Err(NotStored::Full);
        }
        match self.0.journal.append_all(records).await {
            Ok(_positions) => {
                figures.backlog.fetch_add(count, Ordering::AcqRel);
                Ok(())
            }
            Err(AppendError::Closed) => Err(AppendError::Closed.into()),
            Err(error) => {
                tracing::error!(
                    plane = %self.0.plane, code = error.code(), error = %Chain(&error),
                    "parcels not stored"
                );
                if matches!(error, AppendError::Poisoned | AppendError::Io(_)) {
                    self.0.closing.cancel();
                }
                Err(error.into())
            }
        }
    }

    /// Attaches an egress. Dropping the attachment detaches it: what it has not acknowledged is
    /// sent to others, or again.
    ///
    /// # Errors
    /// [`LaneError::Closing`].
    pub(crate) async fn attach(&self) -> Result<Attached, LaneError> {
        let (batches_in, batches) = mpsc::channel(1);
        let (answer, id) = oneshot::channel();
        let command = keeper::Command::Attach {
            batches: batches_in,
            answer,
        };
        self.0
            .commands
            .send(command)
            .await
            .map_err(|_| LaneError::Closing)?;
        let id = id.await.map_err(|_| LaneError::Closing)?;
        Ok(Attached {
            attachment: Attachment::new(id, self.0.commands.clone(), batches),
            resume: self.settled(),
            backlog: self.figures().backlog,
        })
    }

    /// The lane's figures.
    pub(crate) fn figures(&self) -> LaneFigures {
        let figures = &self.0.figures;
        LaneFigures {
            backlog: u64::try_from(figures.backlog.load(Ordering::Acquire)).unwrap_or(0),
            oldest_ms: figures.oldest_ms.load(Ordering::Acquire),
            bytes: self.0.journal.end().0.saturating_sub(self.settled().0),
            attached: figures.attached.load(Ordering::Acquire),
        }
    }

    /// Resolves once the lane has ended: its attachments are let go, its cursor is committed, its
    /// journal closed.
    pub(crate) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Whether the lane has been told to end.
    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.is_cancelled()
    }

    fn settled(&self) -> Position {
        Position(self.0.figures.settled.load(Ordering::Acquire))
    }

    /// When a parcel published then, with its own expiry, is not sent any more.
    fn deadline_ms(&self, accepted_at_ms: u64, expires_at_ms: u64) -> u64 {
        let retention = clock::millis(self.0.setup.settings.retention);
        expires_at_ms.min(accepted_at_ms.saturating_add(retention))
    }

    /// The whole life of an open lane.
    async fn work(self, keeper: Keeper, committer: Committer, found: Range<Position>) {
        self.0.setup.metrics.lanes.add(1, &[]);
        let counting = async {
            tokio::select! {
                () = self.count_backlog(found) => {
                    self.0.figures.counted.store(true, Ordering::Release);
                }
                () = self.0.closing.cancelled() => {}
            }
        };
        // The keeper's end drops its half of the progress, which ends the committer after a last
        // commit.
        tokio::join!(keeper.run(), committer.run(), counting);
        self.0.journal.close().await;
        self.0.setup.metrics.lanes.add(-1, &[]);
        self.0.ended.cancel();
        tracing::debug!(plane = %self.0.plane, "lane closed");
    }

    /// Counts what an earlier process left behind; nobody waits for it.
    async fn count_backlog(&self, found: Range<Position>) {
        let mut reader = self.0.journal.reader(found.start);
        while reader.position() < found.end {
            match reader.next_batch(1024, 4 << 20).await {
                Ok(records) => {
                    let old = records
                        .iter()
                        .filter(|record| record.position < found.end)
                        .count();
                    let old = i64::try_from(old).unwrap_or(i64::MAX);
                    self.0.figures.backlog.fetch_add(old, Ordering::AcqRel);
                }
                Err(error) => match keeper::way_past(&error) {
                    Some(next) => reader.skip_to(next),
                    None => return,
                },
            }
        }
    }
}

impl Figures {
    /// Whether no count is about to change but by settling.
    fn is_quiet(&self) -> bool {
        self.counted.load(Ordering::Acquire) && self.appending.load(Ordering::Acquire) == 0
    }
}

/// Bytes on their way into the journal, taken back when the append is over or given up.
struct Appending<'a>(&'a AtomicU64, u64);

impl<'a> Appending<'a> {
    fn reserve(all: &'a AtomicU64, bytes: u64) -> Self {
        all.fetch_add(bytes, Ordering::AcqRel);
        Self(all, bytes)
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

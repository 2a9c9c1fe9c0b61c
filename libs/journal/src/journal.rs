//! The handle everybody holds.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::disk::{Disk, RealDisk};
use crate::queue::{Entry, Pushed, Work};
use crate::shared::Shared;
use crate::{
    AppendError, Cursor, CursorError, OpenError, Options, Position, ReadError, Reader, Recovery,
    Stats, TrimError, Trimmed, cursor, reader, recovery, retention, writer,
};

/// An open journal; clones are handles to the same one.
///
/// When the last handle (readers and cursors count) is dropped, what is queued is still written and the directory
/// is given up soon after. [`Journal::close`] waits for that without blocking the thread.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

/// Closes when the last holder goes.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shared.queue.close() {
            self.shared.finish();
        }
    }
}

impl Journal {
    /// Opens the journal in `dir` on the machine's disk, making it if need be, and recovers it.
    ///
    /// # Errors
    /// See [`OpenError`]; never because of a torn tail or of damaged records, which [`Recovery`] names.
    pub async fn open(
        dir: impl Into<PathBuf>,
        options: Options,
    ) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(RealDisk), dir, options).await
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub async fn open_on(
        disk: Arc<dyn Disk>,
        dir: impl Into<PathBuf>,
        options: Options,
    ) -> Result<(Self, Recovery), OpenError> {
        let path = dir.into();
        let opening = path.clone();
        let opened =
            tokio::task::spawn_blocking(move || recovery::open(disk, opening, options.bounded()));
        let (shared, recovery) = opened.await.map_err(|error| OpenError::Io {
            action: "open",
            path,
            source: io::Error::other(error),
        })??;
        Ok((
            Self {
                handle: Arc::new(Handle {
                    shared: Arc::new(shared),
                }),
            },
            recovery,
        ))
    }

    /// Appends one record; returns after it is durable. Waits while the queue is full.
    ///
    /// Cancelled before it is queued, nothing is appended; cancelled later, it is appended all the same.
    ///
    /// # Errors
    /// After any error nothing was promised: the record is not served before a reopen, and after one it may be found
    /// on the disk if the error was [`AppendError::Io`].
    pub async fn append(&self, payload: impl Into<Bytes>) -> Result<Position, AppendError> {
        let (waiting, answer) = oneshot::channel();
        let entry = Entry::new(Work::One(payload.into(), waiting))?;
        self.pushed(self.shared().queue.push(entry).await?);
        self.answer(answer).await
    }

    /// Like [`Journal::append`], but fails with [`AppendError::Full`] rather than wait for room.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn try_append(&self, payload: impl Into<Bytes>) -> Result<Position, AppendError> {
        let (waiting, answer) = oneshot::channel();
        let entry = Entry::new(Work::One(payload.into(), waiting))?;
        self.pushed(self.shared().queue.try_push(entry)?);
        self.answer(answer).await
    }

    /// Appends records next to each other with one sync and one answer. After a crash before the answer, any number
    /// of the first of them may be found.
    ///
    /// # Errors
    /// As [`Journal::append`]; then none of them was promised.
    pub async fn append_all(&self, payloads: Vec<Bytes>) -> Result<Vec<Position>, AppendError> {
        if payloads.is_empty() {
            return Ok(Vec::new());
        }
        let (waiting, answer) = oneshot::channel();
        let entry = Entry::new(Work::Many(payloads, waiting))?;
        self.pushed(self.shared().queue.push(entry).await?);
        self.answer(answer).await
    }

    /// Whether a small append would be queued at once: false is the moment to push back.
    pub fn try_has_room(&self) -> bool {
        self.shared().queue.has_room()
    }

    /// A reader of everything from `from` on, which must be [`Journal::start`], [`Journal::end`], a cursor's position
    /// or a record's `position` or `next`.
    pub fn reader(&self, from: Position) -> Reader {
        Reader::new(self.clone(), from)
    }

    /// Reads the one record at `at`.
    ///
    /// # Errors
    /// `Corrupt` also where no record starts at `at`; `BeyondEnd` where nothing is durable yet.
    pub async fn read(&self, at: Position) -> Result<Bytes, ReadError> {
        reader::read_one(self.shared(), at).await
    }

    /// Opens the durable cursor of a consumer; a new one starts at the oldest record kept. From then on retention
    /// waits for it, whether or not it is in use.
    ///
    /// # Errors
    /// See [`CursorError`].
    pub async fn cursor(&self, name: &str) -> Result<Cursor, CursorError> {
        cursor::open(self.clone(), name).await
    }

    /// Removes a cursor that nobody uses, so that retention no longer waits for it; false if there is none.
    ///
    /// # Errors
    /// `InUse` while a [`Cursor`] of that name exists.
    pub async fn remove_cursor(&self, name: &str) -> Result<bool, CursorError> {
        cursor::remove(self, name).await
    }

    /// The durable end: where the next record will stand.
    pub fn end(&self) -> Position {
        self.shared().end_position()
    }

    /// The oldest position kept.
    pub fn start(&self) -> Position {
        Position(self.shared().start())
    }

    /// For owners who decide on retention themselves: segments wholly before `position` may go, as far as
    /// cursors allow. Not durable.
    pub fn set_keep_from(&self, position: Position) {
        self.shared().set_keep_from(position.0);
    }

    /// Runs retention now: drops whole segments that every cursor and `set_keep_from` have passed, and the oldest
    /// beyond `max_bytes` even if unread. Call it now and then.
    ///
    /// # Errors
    /// See [`TrimError`].
    pub async fn trim(&self) -> Result<Trimmed, TrimError> {
        self.drop_before(Position(0)).await
    }

    /// Runs retention now as [`Journal::trim`] does, and also drops whole segments before `position` even if unread:
    /// for owners who expire records by their age.
    ///
    /// # Errors
    /// See [`TrimError`].
    pub async fn drop_before(&self, position: Position) -> Result<Trimmed, TrimError> {
        let shared = Arc::clone(self.shared());
        tokio::task::spawn_blocking(move || retention::trim(&shared, position))
            .await
            .map_err(io::Error::other)?
    }

    /// Takes no more, writes what is queued, stops the writer and gives the directory up. All handles are closed then.
    pub async fn close(&self) {
        let shared = Arc::clone(self.shared());
        let mut progress = shared.watch();
        if shared.queue.close() {
            // It may wait for the thread that prepares a segment. Lost only with the whole runtime.
            _ = tokio::task::spawn_blocking(move || shared.finish()).await;
        }
        // The sender lives in `shared`, which `self` holds.
        _ = progress.wait_for(|progress| progress.closed).await;
    }

    /// The figures of this moment.
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    fn pushed(&self, pushed: Pushed) {
        if pushed == Pushed::WriterNeeded {
            writer::start(self.shared());
        }
    }

    async fn answer<T>(
        &self,
        answer: oneshot::Receiver<Result<T, AppendError>>,
    ) -> Result<T, AppendError> {
        // Without an answer the writer has died, which poisons.
        answer
            .await
            .unwrap_or_else(|_lost| Err(self.shared().queue.refusal()))
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (start, end) = (self.start(), self.end());
        f.debug_struct("Journal")
            .field("start", &start)
            .field("end", &end)
            .finish_non_exhaustive()
    }
}

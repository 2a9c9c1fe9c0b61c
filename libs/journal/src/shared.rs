//! What the handles, readers and the writer thread of one journal share.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::cursor::Registry;
use crate::disk::{Disk, DiskFile, DiskLock};
use crate::prepare::Preparer;
use crate::queue::Queue;
use crate::segment::Segment;
use crate::stats::Counters;
use crate::tail::Tail;
use crate::{Options, Position, Stats};

/// Open files kept for reading.
const OPEN_FILES: usize = 4;
/// `keep_from` when the owner has not set one.
const UNSET: u64 = u64::MAX;

/// Where the log ends, as seen by those who wait for more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The durable end.
    pub(crate) end: u64,
    /// Whether the journal is closed and its directory given up.
    pub(crate) closed: bool,
}

/// The state of an open journal.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) salt: u32,
    pub(crate) queue: Queue,
    pub(crate) cursors: Registry,
    pub(crate) counters: Counters,
    pub(crate) preparer: Preparer,
    pub(crate) tail: Mutex<Tail>,
    /// One trim at a time.
    pub(crate) trimming: Mutex<()>,
    segments: RwLock<BTreeMap<u64, Segment>>,
    files: Mutex<VecDeque<(u64, Arc<dyn DiskFile>)>>,
    progress: watch::Sender<Progress>,
    keep_from: AtomicU64,
    lock: RwLock<Option<Box<dyn DiskLock>>>,
}

/// A stretch of one file to read: its segment, and the position up to which frames are durable there.
pub(crate) struct Extent {
    pub(crate) segment: Segment,
    pub(crate) limit: u64,
}

/// What recovery hands over.
pub(crate) struct Recovered {
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) end: u64,
    pub(crate) salt: u32,
    pub(crate) cursors: Registry,
    pub(crate) lock: Box<dyn DiskLock>,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: Options,
        from: Recovered,
    ) -> Self {
        Self {
            queue: Queue::new(options.queue),
            preparer: Preparer::default(),
            disk,
            dir,
            options,
            salt: from.salt,
            cursors: from.cursors,
            counters: Counters::default(),
            tail: Mutex::default(),
            trimming: Mutex::default(),
            segments: RwLock::new(from.segments),
            files: Mutex::default(),
            progress: watch::Sender::new(Progress {
                end: from.end,
                closed: false,
            }),
            keep_from: AtomicU64::new(UNSET),
            lock: RwLock::new(Some(from.lock)),
        }
    }

    /// The durable end.
    pub(crate) fn end(&self) -> u64 {
        self.progress.borrow().end
    }

    /// Whether the journal is closed.
    pub(crate) fn closed(&self) -> bool {
        self.progress.borrow().closed
    }

    /// To wait for more.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The oldest position kept.
    pub(crate) fn start(&self) -> u64 {
        self.segments
            .read()
            .first_key_value()
            .map_or(0, |(base, _)| *base)
    }

    /// Makes synced frames visible: first to be found, then to be asked for.
    pub(crate) fn publish(&self, start: u64, frames: Bytes) {
        let end = start + frames.len() as u64;
        self.tail.lock().push(start, frames);
        self.progress.send_modify(|progress| progress.end = end);
    }

    /// The segment being written.
    pub(crate) fn active(&self) -> Option<Segment> {
        self.segments
            .read()
            .last_key_value()
            .map(|(_, segment)| segment.clone())
    }

    /// A copy of all segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.segments.read().values().cloned().collect()
    }

    /// Adds a segment after the last.
    pub(crate) fn add_segment(&self, segment: Segment) {
        self.segments.write().insert(segment.base, segment);
    }

    /// Forgets a segment: from here on its records are trimmed.
    pub(crate) fn forget_segment(&self, base: u64) {
        self.segments.write().remove(&base);
        self.files.lock().retain(|(open, _)| *open != base);
    }

    /// Which file holds the durable position `at`; nothing if retention dropped it.
    pub(crate) fn locate(&self, at: u64) -> Option<Extent> {
        // The end first: a segment begun in between only makes the extent shorter.
        let end = self.end();
        let segments = self.segments.read();
        let (_, segment) = segments.range(..=at).next_back()?;
        let next = segments
            .range(at.saturating_add(1)..)
            .next()
            .map_or(end, |(base, _)| *base);
        Some(Extent {
            segment: segment.clone(),
            limit: next.min(end),
        })
    }

    /// The file of a segment, opened if need be.
    pub(crate) fn file(&self, segment: &Segment) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        if let Some((_, file)) = files.iter().find(|(base, _)| *base == segment.base) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment.path)?;
        files.truncate(OPEN_FILES - 1);
        files.push_front((segment.base, Arc::clone(&file)));
        Ok(file)
    }

    /// Gives back what only speeds things up.
    pub(crate) fn rest(&self) {
        self.tail.lock().clear();
        self.files.lock().clear();
    }

    /// The owner's retention floor, if set.
    pub(crate) fn keep_from(&self) -> Option<u64> {
        Some(self.keep_from.load(Ordering::Acquire)).filter(|floor| *floor != UNSET)
    }

    /// Sets the owner's retention floor.
    pub(crate) fn set_keep_from(&self, floor: u64) {
        self.keep_from.store(floor, Ordering::Release);
    }

    /// Runs `change` while the directory is certainly ours; nothing if it was given up.
    pub(crate) fn while_held<T>(&self, change: impl FnOnce() -> T) -> Option<T> {
        let lock = self.lock.read();
        lock.is_some().then(change)
    }

    /// The last step of closing: nothing writes any more, the directory is given up.
    pub(crate) fn finish(&self) {
        self.preparer.stop(&*self.disk);
        self.rest();
        *self.lock.write() = None;
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// The figures of this moment.
    pub(crate) fn stats(&self) -> Stats {
        let nanos = self.counters.last_sync_nanos.load(Ordering::Relaxed);
        Stats {
            bytes: self.end().saturating_sub(self.start()),
            segments: self.segments.read().len(),
            appended: self.counters.appended.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            queued: self.queue.depth(),
            last_sync: std::time::Duration::from_nanos(nanos),
            poisoned: self.queue.stop() == Some(crate::queue::Stop::Poisoned),
            corruptions: self.counters.corruptions(),
            dropped_unread: self.counters.dropped_unread.load(Ordering::Relaxed),
        }
    }

    /// Notes damage that was met, once per place.
    pub(crate) fn note_damage(&self, segment: &Segment, position: u64, next: u64) {
        if self.counters.damaged(position) {
            let segment = segment.path.display();
            tracing::error!(%segment, position, next, "damaged records in the journal");
        }
    }

    /// The durable end as a position.
    pub(crate) fn end_position(&self) -> Position {
        Position(self.end())
    }
}

//! The writer thread: takes what is queued, writes it as one batch, syncs once, acknowledges all.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::disk::{DiskFile, is_full};
use crate::frame::{HEADER_LEN, Header, VERSION, encode};
use crate::prepare::Prepared;
use crate::queue::Entry;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::{AppendError, Sync};

/// A segment that fills faster than this gains nothing from a prepared one: large batches hide the cost,
/// and zeroing would take half of the disk's bandwidth.
const PREPARE_AFTER: Duration = Duration::from_secs(1);

/// A batch up to this size is followed by zeros when it would make the file grow.
const SMALL_BATCH: usize = 128 << 10;
/// How many zeros.
const AHEAD: usize = 1 << 20;
static ZEROS: [u8; AHEAD] = [0; AHEAD];

/// Starts the writer thread, which ends by itself when the queue is stopped or idle.
pub(crate) fn start(shared: &Arc<Shared>) {
    let ours = Arc::clone(shared);
    let spawned = thread::Builder::new()
        .name("journal-writer".into())
        .spawn(move || run(&ours));
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start the journal's writer");
        shared.queue.poison();
        if shared.queue.writer_ended() {
            shared.finish();
        }
    }
}

fn run(shared: &Arc<Shared>) {
    let end = OnEnd(shared);
    match Writer::resume(shared) {
        Ok(mut writer) => writer.serve(),
        Err(error) => {
            tracing::error!(%error, "cannot open the journal's segment, no further record is taken");
            shared.queue.poison();
        }
    }
    drop(end);
}

/// Whatever ends the thread, those who wait hear of it.
struct OnEnd<'a>(&'a Shared);

impl Drop for OnEnd<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.queue.poison();
        }
        if self.0.queue.writer_ended() {
            self.0.finish();
        } else if self.0.queue.stop().is_none() {
            self.0.rest();
        }
    }
}

/// Why a batch was not made durable.
enum Failure {
    /// No room; the log is as it was before.
    Full,
    /// What the disk holds is unknown.
    Unknown(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unknown(error)
    }
}

/// The one who writes. Between batches everything before `end` is durable and nothing lies after it.
struct Writer<'a> {
    shared: &'a Arc<Shared>,
    file: Arc<dyn DiskFile>,
    segment: Segment,
    end: u64,
    /// The file's length as far as is known: bytes before it exist.
    length: u64,
    /// When this segment was begun, or this thread started.
    since: Instant,
}

impl<'a> Writer<'a> {
    fn resume(shared: &'a Arc<Shared>) -> io::Result<Self> {
        let segment = shared.active().ok_or(io::ErrorKind::NotFound)?;
        let file = shared.disk.open(&segment.path)?;
        let (end, length) = (shared.end(), file.len()?);
        Ok(Self {
            shared,
            file,
            segment,
            end,
            length,
            since: Instant::now(),
        })
    }

    /// Batch after batch, until the queue ends the thread.
    fn serve(&mut self) {
        let mut pending = VecDeque::new();
        while self
            .shared
            .queue
            .take(&mut pending, self.shared.options.idle_writer_exit)
        {
            while !pending.is_empty() {
                let batch = next_batch(&mut pending, self.shared.options.batch_bytes as u64);
                self.shared.queue.release(&batch);
                match self.commit(&batch) {
                    Ok(start) => acknowledge(batch, start),
                    Err(Failure::Full) => refuse(batch, &AppendError::DiskFull),
                    Err(Failure::Unknown(error)) => {
                        tracing::error!(%error, "a write failed, the journal takes no further record");
                        self.shared.queue.poison();
                        refuse(batch, &AppendError::Io(Arc::new(error)));
                        refuse(pending.drain(..), &AppendError::Poisoned);
                    }
                }
            }
        }
    }

    /// Makes a batch durable and visible; where its first frame stands.
    fn commit(&mut self, batch: &[Entry]) -> Result<u64, Failure> {
        let bytes: u64 = batch.iter().map(|entry| entry.bytes).sum();
        self.make_room(bytes)?;
        let start = self.end;
        let frames = self.frames(batch, bytes);
        self.write(&frames)?;
        self.zero_ahead(frames.len())?;
        let began = Instant::now();
        if self.shared.options.sync == Sync::Fdatasync {
            self.file.sync_data()?;
        }
        let records = batch
            .iter()
            .map(|entry| entry.work.payloads().len() as u64)
            .sum();
        self.shared.counters.synced(records, began.elapsed());
        self.end += frames.len() as u64;
        self.shared.publish(start, frames);
        self.prepare_next();
        Ok(start)
    }

    /// The batch as it stands on the disk. All frames name the same durable end: where the batch begins.
    fn frames(&self, batch: &[Entry], bytes: u64) -> Bytes {
        let mut frames = Vec::with_capacity(bytes as usize);
        for payload in batch.iter().flat_map(|entry| entry.work.payloads()) {
            let position = self.end + frames.len() as u64;
            encode(&mut frames, payload, position, self.end, self.segment.salt);
        }
        frames.into()
    }

    /// Writes at the end. When the disk is full, what was written of it is cut off again, durably.
    fn write(&mut self, frames: &[u8]) -> Result<(), Failure> {
        let offset = self.segment.offset(self.end);
        match self.file.write_all_at(frames, offset) {
            Err(error) if is_full(&error) => {
                self.file.set_len(offset)?;
                self.file.sync_all()?;
                self.length = offset;
                tracing::warn!(bytes = frames.len(), "no space left for the journal");
                Err(Failure::Full)
            }
            other => Ok(other?),
        }
    }

    /// Grows the file now and then by many bytes rather than with every batch, so that most syncs need not commit
    /// a new length. A large batch hides that cost.
    fn zero_ahead(&mut self, written: usize) -> io::Result<()> {
        let offset = self.segment.offset(self.end) + written as u64;
        if offset <= self.length {
            return Ok(());
        }
        self.length = offset;
        let options = &self.shared.options;
        let left = (HEADER_LEN + options.segment_bytes).saturating_sub(offset);
        let ahead = usize::try_from(left).map_or(AHEAD, |left| left.min(AHEAD));
        if !options.preallocate || written > SMALL_BATCH || ahead == 0 {
            return Ok(());
        }
        match self.file.write_all_at(&ZEROS[..ahead], offset) {
            Ok(()) => self.length += ahead as u64,
            // The batch itself had room; zeros more or fewer change nothing.
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Begins the next segment if `bytes` do not fit into this one. A batch never spans two.
    fn make_room(&mut self, bytes: u64) -> Result<(), Failure> {
        let used = self.end - self.segment.base;
        if used == 0 || used + bytes <= self.shared.options.segment_bytes {
            return Ok(());
        }
        let shared = self.shared;
        let prepared = match shared.preparer.take() {
            Some(prepared) => prepared,
            None => self.unless_full(Prepared::empty(
                &*shared.disk,
                &shared.dir,
                shared.preparer.number(),
            ))?,
        };
        let header = Header {
            version: VERSION,
            salt: shared.salt,
            base: self.end,
        };
        if let Err(error) = prepared.file.write_all_at(&header.encode(), 0) {
            // Nothing of the log was touched yet; a leftover is removed by the next open.
            _ = shared.disk.remove(&prepared.path);
            return self.unless_full(Err(error));
        }
        self.segment = install(shared, &prepared, self.end)?;
        self.length = prepared.file.len()?;
        self.file = prepared.file;
        self.since = Instant::now();
        shared.add_segment(self.segment.clone());
        Ok(())
    }

    fn unless_full<T>(&self, result: io::Result<T>) -> Result<T, Failure> {
        result.map_err(|error| {
            if is_full(&error) {
                Failure::Full
            } else {
                Failure::Unknown(error)
            }
        })
    }

    fn prepare_next(&self) {
        let options = &self.shared.options;
        if options.preallocate && self.since.elapsed() >= PREPARE_AFTER {
            self.shared
                .preparer
                .begin(&self.shared.disk, &self.shared.dir, options.segment_bytes);
        }
    }
}

/// Gives a prepared segment its name. Its header is durable before the name is, so that a segment without a
/// header is always damage.
fn install(shared: &Shared, prepared: &Prepared, base: u64) -> io::Result<Segment> {
    prepared.file.sync_all()?;
    let path = Segment::path(&shared.dir, base);
    shared.disk.rename(&prepared.path, &path)?;
    shared.disk.sync_dir(&shared.dir)?;
    Ok(Segment {
        base,
        salt: shared.salt,
        path,
    })
}

/// As much of the pending work as goes into one batch, at least one entry.
fn next_batch(pending: &mut VecDeque<Entry>, most: u64) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.bytes;
        bytes <= most
    };
    let count = pending.iter().take_while(fits).count().max(1);
    pending.drain(..count.min(pending.len())).collect()
}

fn acknowledge(batch: Vec<Entry>, start: u64) {
    batch
        .into_iter()
        .fold(start, |at, entry| entry.work.acknowledge(at));
}

fn refuse(batch: impl IntoIterator<Item = Entry>, error: &AppendError) {
    for entry in batch {
        entry.work.refuse(error.clone());
    }
}

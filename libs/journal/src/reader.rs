//! Reading: from memory at the tail, from the disk in large pieces elsewhere.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::disk::{DiskFile, read_full};
use crate::frame::{ALIGN, FRAME_HEAD, Head};
use crate::journal::Journal;
use crate::segment::{Segment, Window};
use crate::shared::{Extent, Progress, Shared};
use crate::{Position, ReadError, Record};

/// Least and most bytes asked of the disk at once, larger records apart.
const LEAST_READ: usize = 64 << 10;
const MOST_READ: usize = 1 << 20;
/// What a single random read guesses the record to take.
const GUESS: usize = 8 << 10;

/// Follows the log from a position, in order. Keeps the journal open.
pub struct Reader {
    journal: Journal,
    progress: watch::Receiver<Progress>,
    at: Position,
    /// Read from the disk and not yet handed out; starts at `at`.
    ahead: VecDeque<Record>,
}

impl Reader {
    pub(crate) fn new(journal: Journal, from: Position) -> Self {
        let progress = journal.shared().watch();
        Self {
            journal,
            progress,
            at: from,
            ahead: VecDeque::new(),
        }
    }

    /// The next durable records: at least one, at most `max_records`, and no more than `max_bytes` of payload
    /// unless the first alone is larger. Waits at the end of the log. Cancelling loses nothing.
    ///
    /// # Errors
    /// `Corrupt` names damage; `Trimmed` says that retention was faster. The reader stays where it is, go on with
    /// [`Reader::skip_to`]. `Closed` once the journal is.
    pub async fn next_batch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        if self.ahead.is_empty() {
            self.something().await?;
            let shared = self.journal.shared();
            let records = shared
                .tail
                .lock()
                .records(self.at.0, max_records, max_bytes);
            if let Some(last) = records.last() {
                self.at = last.next;
                return Ok(records);
            }
            let (shared, at) = (Arc::clone(shared), self.at.0);
            let want = max_bytes.clamp(LEAST_READ, MOST_READ);
            let read = tokio::task::spawn_blocking(move || read_from(&shared, at, want));
            self.ahead = read.await.map_err(io::Error::other)??.into();
        }
        Ok(self.hand_out(max_records, max_bytes))
    }

    /// Where the next record is expected.
    pub fn position(&self) -> Position {
        self.at
    }

    /// Goes on at another place, where a record stands or will stand.
    pub fn skip_to(&mut self, position: Position) {
        self.at = position;
        self.ahead.clear();
    }

    /// Waits until there is something durable at or after this position.
    async fn something(&mut self) -> Result<(), ReadError> {
        let at = self.at.0;
        let progress = self
            .progress
            .wait_for(|progress| progress.closed || progress.end > at);
        match progress.await {
            Ok(progress) if !progress.closed => {}
            _ => return Err(ReadError::Closed),
        }
        kept(self.journal.shared(), self.at)
    }

    fn hand_out(&mut self, max_records: usize, max_bytes: usize) -> Vec<Record> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some(record) = self.ahead.front() {
            bytes += record.payload.len();
            let full = records.len() >= max_records || bytes > max_bytes;
            if full && !records.is_empty() {
                break;
            }
            self.at = record.next;
            records.extend(self.ahead.pop_front());
        }
        records
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Refuses what retention has dropped, even if memory still held it: an answer shall not depend on that.
fn kept(shared: &Shared, at: Position) -> Result<(), ReadError> {
    let oldest = Position(shared.start());
    if at < oldest {
        Err(ReadError::Trimmed { oldest })
    } else {
        Ok(())
    }
}

/// Reads the one record at `at`.
pub(crate) async fn read_one(shared: &Arc<Shared>, at: Position) -> Result<Bytes, ReadError> {
    if shared.closed() {
        return Err(ReadError::Closed);
    }
    let end = shared.end_position();
    if at >= end {
        return Err(ReadError::BeyondEnd { end });
    }
    kept(shared, at)?;
    let mut records = shared.tail.lock().records(at.0, 1, usize::MAX);
    if records.is_empty() {
        let shared = Arc::clone(shared);
        let read = tokio::task::spawn_blocking(move || read_from(&shared, at.0, GUESS));
        records = read.await.map_err(io::Error::other)??;
    }
    // Both ways give at least one record or an error.
    records
        .into_iter()
        .next()
        .map(|record| record.payload)
        .ok_or(ReadError::BeyondEnd { end })
}

/// Blocking: the records from `at` on within about `want` bytes, at least one. Where the first is damaged, says so
/// and looks for the next.
fn read_from(shared: &Shared, at: u64, want: usize) -> Result<Vec<Record>, ReadError> {
    let Some(extent) = shared.locate(at) else {
        return Err(ReadError::Trimmed {
            oldest: Position(shared.start()),
        });
    };
    let file = match shared.file(&extent.segment) {
        // Retention may have been here in between.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            kept(shared, Position(at))?;
            return Err(error.into());
        }
        other => other?,
    };
    let records = decode(&*file, &extent, at, want)?;
    if !records.is_empty() {
        return Ok(records);
    }
    let Extent { segment, limit } = extent;
    let from = at
        .saturating_add(ALIGN as u64)
        .next_multiple_of(ALIGN as u64);
    let next = Window::new(&*file, &segment, limit)
        .resync(from)?
        .unwrap_or(limit);
    shared.note_damage(&segment, at, next);
    Err(ReadError::Corrupt {
        segment: segment.path,
        position: Position(at),
        next: Some(Position(next)),
    })
}

/// The intact records from `at` on that lie in about `want` bytes; none if the first is damaged.
fn decode(file: &dyn DiskFile, extent: &Extent, at: u64, want: usize) -> io::Result<Vec<Record>> {
    let Extent { segment, limit } = extent;
    let mut piece = read_piece(file, segment, at, *limit, want)?;
    if let Some(head) = Head::parse(&piece)
        && head.plausible(at, *limit)
        && head.frame_len() > piece.len() as u64
    {
        // Larger than guessed; a plausible head claims at most MAX_RECORD.
        piece = read_piece(file, segment, at, *limit, head.frame_len() as usize)?;
    }
    let piece = Bytes::from(piece);
    let (mut records, mut offset) = (Vec::new(), 0);
    while let Some(head) = Head::parse(&piece[offset..]) {
        let place = at + offset as u64;
        let total = head.frame_len() as usize;
        if !head.plausible(place, *limit) || total > piece.len() - offset {
            break;
        }
        if !head.matches(&piece[offset..offset + total], segment.salt) {
            break;
        }
        let start = offset + FRAME_HEAD;
        records.push(Record {
            position: Position(place),
            next: Position(place + total as u64),
            payload: piece.slice(start..start + head.payload_len),
        });
        offset += total;
    }
    Ok(records)
}

fn read_piece(
    file: &dyn DiskFile,
    segment: &Segment,
    at: u64,
    limit: u64,
    want: usize,
) -> io::Result<Vec<u8>> {
    let room = usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut piece = vec![0; want.min(room)];
    let read = read_full(file, &mut piece, segment.offset(at))?;
    piece.truncate(read);
    Ok(piece)
}

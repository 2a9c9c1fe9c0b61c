//! The last batches, kept in memory so that reading what was just appended needs no disk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::{FRAME_HEAD, Head};
use crate::{Position, Record};

/// Most bytes of frames kept.
const CAPACITY: usize = 4 << 20;

/// A contiguous run of durable frames that ends where the log ends.
#[derive(Default)]
pub(crate) struct Tail {
    batches: VecDeque<Batch>,
    bytes: usize,
}

struct Batch {
    start: u64,
    frames: Bytes,
}

impl Tail {
    /// Adds a synced batch, which follows directly on the last, and lets old ones go.
    pub(crate) fn push(&mut self, start: u64, frames: Bytes) {
        self.bytes += frames.len();
        self.batches.push_back(Batch { start, frames });
        while self.bytes > CAPACITY {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            self.bytes -= oldest.frames.len();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Records from `from` on within the bounds, at least one; nothing if `from` is no longer here.
    pub(crate) fn records(&self, from: u64, max_records: usize, max_bytes: usize) -> Vec<Record> {
        let first = self
            .batches
            .partition_point(|batch| batch.start <= from)
            .saturating_sub(1);
        let (mut records, mut bytes, mut at) = (Vec::new(), 0, from);
        for batch in self.batches.iter().skip(first) {
            while let Some(record) = batch.record(at) {
                bytes += record.payload.len();
                let full = records.len() >= max_records || bytes > max_bytes;
                if full && !records.is_empty() {
                    return records;
                }
                at = record.next.0;
                records.push(record);
            }
        }
        records
    }
}

impl Batch {
    /// The record at `at`. The bytes were framed by this process, so only the place needs checking.
    fn record(&self, at: u64) -> Option<Record> {
        let offset = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let head = Head::parse(self.frames.get(offset..)?)?;
        let limit = self.start + self.frames.len() as u64;
        head.plausible(at, limit).then(|| Record {
            position: Position(at),
            next: Position(at + head.frame_len()),
            payload: self
                .frames
                .slice(offset + FRAME_HEAD..offset + FRAME_HEAD + head.payload_len),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{encode, frame_len};

    #[test]
    fn old_batches_leave_and_the_newest_are_served_in_order() {
        let mut tail = Tail::default();
        let payload = vec![7; 1 << 20];
        let step = frame_len(payload.len());
        for index in 0..6 {
            let mut frames = Vec::new();
            encode(&mut frames, &payload, index * step, 0, 1);
            tail.push(index * step, frames.into());
        }
        assert!(tail.bytes <= CAPACITY);
        assert!(tail.records(0, 10, usize::MAX).is_empty());
        let kept = tail.records(4 * step, 10, usize::MAX);
        assert_eq!(
            kept.iter()
                .map(|record| record.position.0)
                .collect::<Vec<_>>(),
            [4 * step, 5 * step]
        );
        assert_eq!(tail.records(4 * step, 10, 1).len(), 1);
        assert!(tail.records(4 * step + 8, 10, usize::MAX).is_empty());
        assert!(tail.records(6 * step, 10, usize::MAX).is_empty());
    }
}

//! One segment: its name, where its frames lie in the file, and a window to walk over them.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{DiskFile, read_full};
use crate::frame::{ALIGN, FRAME_HEAD, HEADER_LEN, Head, u64_at};

/// How much of a file is looked at in one go.
const CHUNK: usize = 256 << 10;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A segment as the journal knows it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// The logical position of its first frame.
    pub(crate) base: u64,
    /// Where its checksums start from.
    pub(crate) salt: u32,
    /// The file.
    pub(crate) path: PathBuf,
}

impl Segment {
    /// The path of the segment that starts at `base`.
    pub(crate) fn path(dir: &Path, base: u64) -> PathBuf {
        dir.join(format!("{base:020}.log"))
    }

    /// The base a file name stands for, if it is a segment's.
    pub(crate) fn base_of(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(".log")?;
        let whole = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| digits.parse().ok())?
    }

    /// Where in the file the frame at `position` lies.
    pub(crate) const fn offset(&self, position: u64) -> u64 {
        HEADER_LEN + (position - self.base)
    }

    /// The logical position just after the last byte of a file of `len` bytes.
    pub(crate) const fn position_at_len(&self, len: u64) -> u64 {
        self.base + len.saturating_sub(HEADER_LEN)
    }
}

/// An intact frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// What was durable when it was written.
    pub(crate) durable: u64,
    /// Where the next frame stands.
    pub(crate) next: u64,
}

/// Looks at the frames of a segment up to `limit`, holding only a chunk of it in memory.
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    segment: &'a Segment,
    limit: u64,
    start: u64,
    buf: Vec<u8>,
}

impl<'a> Window<'a> {
    /// A window on the frames before the logical position `limit`.
    pub(crate) fn new(file: &'a dyn DiskFile, segment: &'a Segment, limit: u64) -> Self {
        Self {
            file,
            segment,
            limit,
            start: segment.base,
            buf: Vec::new(),
        }
    }

    /// The frame at `at`, if an intact one stands there.
    pub(crate) fn frame_at(&mut self, at: u64) -> io::Result<Option<Found>> {
        let (limit, salt) = (self.limit, self.segment.salt);
        let Some(head) = Head::parse(self.bytes(at, FRAME_HEAD)?) else {
            return Ok(None);
        };
        if !head.plausible(at, limit) {
            return Ok(None);
        }
        // Plausible heads claim at most MAX_RECORD.
        let total = head.frame_len() as usize;
        let frame = self.bytes(at, total)?;
        let intact = frame.len() >= total && head.matches(&frame[..total], salt);
        Ok(intact.then_some(Found {
            durable: head.durable,
            next: at + total as u64,
        }))
    }

    /// The first intact frame at or after `from`: tries every place a frame may stand.
    pub(crate) fn resync(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        loop {
            let chunk = self.bytes(at, CHUNK)?;
            if chunk.len() < FRAME_HEAD {
                return Ok(None);
            }
            let chunk = &chunk[..chunk.len().min(CHUNK)];
            // A frame's position stands eight bytes behind its start; compare that first, it is cheap.
            let candidate = if ZEROS.starts_with(chunk) {
                None
            } else {
                (0..chunk.len() - 15)
                    .step_by(ALIGN)
                    .find(|&offset| u64_at(chunk, offset + 8) == Some(at + offset as u64))
            };
            match candidate {
                Some(offset) => {
                    let place = at + offset as u64;
                    if self.frame_at(place)?.is_some() {
                        return Ok(Some(place));
                    }
                    at = place + ALIGN as u64;
                }
                // The last eight bytes may be the start of a frame whose position is in the next chunk.
                None => at += (chunk.len().next_multiple_of(ALIGN) - ALIGN) as u64,
            }
        }
    }

    /// The offset in the file just after the last byte that is not zero, at or after `from`.
    pub(crate) fn last_content(&mut self, from: u64) -> io::Result<Option<u64>> {
        let (mut at, mut last) = (from, None);
        loop {
            let chunk = self.bytes(at, CHUNK)?;
            if chunk.is_empty() {
                return Ok(last);
            }
            if let Some(index) = chunk.iter().rposition(|byte| *byte != 0) {
                last = Some(at + index as u64 + 1);
            }
            at += chunk.len() as u64;
        }
    }

    /// At least `len` bytes from `at` on; fewer where the file or the limit ends.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let held = at
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok());
        let room = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        if let Some(skip) = held
            && skip < self.buf.len()
            && self.buf.len() - skip >= len.min(room)
        {
            return Ok(&self.buf[skip..]);
        }
        self.buf.clear();
        self.buf.resize(len.max(CHUNK).min(room), 0);
        let read = read_full(self.file, &mut self.buf, self.segment.offset(at))?;
        self.buf.truncate(read);
        self.start = at;
        Ok(&self.buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_sort_like_their_bases_and_nothing_else_is_one() {
        let path = Segment::path(Path::new("j"), 4096);
        assert_eq!(path, Path::new("j/00000000000000004096.log"));
        assert_eq!(Segment::base_of("00000000000000004096.log"), Some(4096));
        assert_eq!(Segment::base_of("4096.log"), None);
        assert_eq!(Segment::base_of("0000000000000000409x.log"), None);
        assert_eq!(Segment::base_of("00000000000000004096.tmp"), None);
    }
}

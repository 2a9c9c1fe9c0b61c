//! Retention: which segments may go, and dropping them oldest first.

use std::io;
use std::sync::atomic::Ordering;

use crate::segment::Segment;
use crate::shared::Shared;
use crate::{Position, TrimError};

/// What retention dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Segments dropped.
    pub segments: usize,
    /// Bytes of records and their frames dropped.
    pub bytes: u64,
    /// Of these, bytes dropped by the size cap or by force that the slowest cursor (or `set_keep_from`) had not passed.
    pub unread_bytes: u64,
    /// The oldest position kept now.
    pub oldest: Position,
}

/// Drops whole segments, never the one being written: those everybody has passed, and those beyond the size
/// cap or wholly before `forced`. With neither a cursor nor a `keep_from`, only the last two drop anything.
pub(crate) fn trim(shared: &Shared, forced: Position) -> Result<Trimmed, TrimError> {
    let _alone = shared.trimming.lock();
    shared
        .while_held(|| drop_segments(shared, forced.0))
        .ok_or(TrimError::Closed)?
        .map_err(TrimError::from)
}

fn drop_segments(shared: &Shared, forced: u64) -> io::Result<Trimmed> {
    let floor = shared
        .cursors
        .slowest()
        .into_iter()
        .chain(shared.keep_from())
        .min();
    let segments = shared.segments();
    let end = shared.end();
    let mut trimmed = Trimmed::default();
    for pair in segments.windows(2) {
        let [segment, next] = pair else { break };
        let passed = floor.is_some_and(|floor| next.base <= floor);
        let over = shared
            .options
            .max_bytes
            .is_some_and(|most| end - segment.base > most);
        if !passed && !over && next.base > forced {
            break;
        }
        remove(shared, segment)?;
        let unread = next.base - floor.unwrap_or(0).clamp(segment.base, next.base);
        shared
            .counters
            .dropped_unread
            .fetch_add(unread, Ordering::Relaxed);
        trimmed.segments += 1;
        trimmed.bytes += next.base - segment.base;
        trimmed.unread_bytes += unread;
    }
    trimmed.oldest = Position(shared.start());
    if trimmed.unread_bytes > 0 {
        tracing::warn!(
            bytes = trimmed.unread_bytes,
            "retention dropped unread records"
        );
    }
    Ok(trimmed)
}

/// Synced one by one: were a later removal durable without an earlier one, the log would have a hole.
fn remove(shared: &Shared, segment: &Segment) -> io::Result<()> {
    shared.forget_segment(segment.base);
    match shared.disk.remove(&segment.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    shared.disk.sync_dir(&shared.dir)
}

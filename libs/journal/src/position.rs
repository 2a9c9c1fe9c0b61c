//! Where a record stands in the log, and the record itself.

use std::fmt;

use bytes::Bytes;

/// The logical byte offset of a record's frame: strictly rising, also across segments.
///
/// `Position(0)` is the very start of the log. Positions of one log may be compared; the distance
/// of two positions is the number of bytes between them, headers and padding of frames included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One durable record as a reader hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where the record stands.
    pub position: Position,
    /// Where the next one stands: what a cursor commits once this record is dealt with.
    pub next: Position,
    /// The bytes as they were appended.
    pub payload: Bytes,
}

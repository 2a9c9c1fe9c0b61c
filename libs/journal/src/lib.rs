//! The durable event log: segments, group commit, cursors, recovery.
//!
//! An append resolves after its bytes have been synced to the disk, and not before: what the product
//! answers with a 2xx is what this crate has promised. One datum is followed like this: [`Journal::append`]
//! puts it into the bounded `queue`, the `writer` thread frames a whole batch (`frame`), writes it, syncs it
//! once, publishes it to the `tail` and acknowledges it; a [`Reader`] hands it out; a [`Cursor`] remembers that it
//! was dealt with; `retention` drops its segment. After a crash `recovery` decides what the disk still holds.
//!
//! # Format
//!
//! A journal is a directory of segment files, named by the logical position of their first frame in twenty
//! decimal digits and `.log`. A segment starts with its header, written twice (32 bytes each): magic, version, salt,
//! base position, CRC32C. Frames follow, each padded with zeros to eight bytes:
//!
//! ```text
//! length u32 | crc32c u32 | position u64 | durable u64 | payload | padding
//! ```
//!
//! All integers are little endian. The checksum covers the whole frame but itself and starts from the journal's random
//! salt, so that a payload cannot smuggle in a frame. `position` is the frame's own place, so that stale or misplaced
//! bytes never pass. `durable` is what was known to be synced when the frame was written: a damaged
//! frame before a later frame's `durable` had been acknowledged, any other at the end is a torn tail.
//!
//! Beside the segments lie `<name>.cursor` files, `lock`, and `*.tmp` files that the next open removes.

mod cursor;
pub mod disk;
mod error;
mod frame;
mod journal;
mod options;
mod position;
mod prepare;
mod queue;
mod reader;
mod recovery;
mod retention;
mod segment;
mod shared;
pub mod sim;
mod stats;
mod survey;
mod tail;
mod writer;

pub use cursor::Cursor;
pub use disk::{Disk, DiskFile, DiskLock, RealDisk};
pub use error::{AppendError, CursorError, OpenError, ReadError, TrimError};
pub use frame::{MAX_APPEND_ALL, MAX_RECORD};
pub use journal::Journal;
pub use options::{Options, Sync};
pub use position::{Position, Record};
pub use reader::Reader;
pub use recovery::{Corruption, Recovery};
pub use retention::Trimmed;
pub use stats::Stats;

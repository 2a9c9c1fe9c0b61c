//! Every way a call on a journal can fail, each with a stable code.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Position;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle in this one, has the directory open.
    #[error("the journal in {} is already open elsewhere", dir.display())]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// The only segment's header is damaged, so that nothing in it can be told from noise.
    #[error("the header of {} is damaged and no other segment can stand in for it", segment.display())]
    Unreadable {
        /// The file in question.
        segment: PathBuf,
    },
    /// The directory was written by a later version of this crate.
    #[error("{} has format version {version}, this build reads {}", segment.display(), crate::frame::VERSION)]
    Version {
        /// The file in question.
        segment: PathBuf,
        /// The version it names.
        version: u32,
    },
    /// The disk failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "JOURNAL_LOCKED",
            Self::Unreadable { .. } => "JOURNAL_UNREADABLE",
            Self::Version { .. } => "JOURNAL_VERSION_UNKNOWN",
            Self::Io { .. } => "JOURNAL_IO",
        }
    }
}

/// Why a record was not accepted. After any of these nothing was promised.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The queue is full (only `try_append`; the others wait).
    #[error("the journal's queue is full")]
    Full,
    /// No space is left on the disk; the log is intact and takes records again once there is.
    #[error("no space is left for the journal")]
    DiskFull,
    /// The record exceeds [`crate::MAX_RECORD`], or the records together [`crate::MAX_APPEND_ALL`].
    #[error("{bytes} bytes are more than the journal takes at once")]
    TooLarge {
        /// The size that was refused.
        bytes: usize,
    },
    /// A write or sync failed earlier: what the disk holds is unknown until the journal is opened again.
    #[error("the journal stopped after a failed write and must be opened again")]
    Poisoned,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// This very write or sync failed; the log is poisoned from here on.
    #[error("the journal could not be written")]
    Io(#[source] Arc<io::Error>),
}

impl AppendError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full => "JOURNAL_FULL",
            Self::DiskFull => "JOURNAL_DISK_FULL",
            Self::TooLarge { .. } => "JOURNAL_RECORD_TOO_LARGE",
            Self::Poisoned => "JOURNAL_POISONED",
            Self::Closed => "JOURNAL_CLOSED",
            Self::Io(_) => "JOURNAL_IO",
        }
    }
}

/// Why a record could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The frame at `position` is damaged. Nothing of it is served; reading can go on at `next`.
    #[error("damaged record at {position} in {}", segment.display())]
    Corrupt {
        /// The file that holds it.
        segment: PathBuf,
        /// Where the damage begins.
        position: Position,
        /// The next place where a record stands or will stand.
        next: Option<Position>,
    },
    /// Retention has dropped the record.
    #[error("the record was dropped by retention, the oldest kept is at {oldest}")]
    Trimmed {
        /// The oldest position still kept.
        oldest: Position,
    },
    /// There is no durable record at that place yet (only `Journal::read`; a reader waits).
    #[error("no record stands there, the log ends at {end}")]
    BeyondEnd {
        /// The durable end.
        end: Position,
    },
    /// The disk failed.
    #[error("the journal could not be read")]
    Io(#[source] Arc<io::Error>),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl ReadError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "JOURNAL_CORRUPT",
            Self::Trimmed { .. } => "JOURNAL_TRIMMED",
            Self::BeyondEnd { .. } => "JOURNAL_BEYOND_END",
            Self::Io(_) => "JOURNAL_IO",
            Self::Closed => "JOURNAL_CLOSED",
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Why a cursor could not be opened or moved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CursorError {
    /// A name is 1 to 64 of `a-z`, `0-9` and `-`.
    #[error("a cursor's name is 1 to 64 of a-z, 0-9 and -")]
    InvalidName,
    /// Another `Cursor` of that name exists.
    #[error("the cursor is in use")]
    InUse,
    /// A cursor never moves back.
    #[error("the cursor stands at {at} and cannot go back to {asked}")]
    Backwards {
        /// Where it stands.
        at: Position,
        /// Where it was asked to go.
        asked: Position,
    },
    /// A cursor never passes the durable end.
    #[error("the log ends at {end}, the cursor cannot go to {asked}")]
    BeyondEnd {
        /// The durable end.
        end: Position,
        /// Where it was asked to go.
        asked: Position,
    },
    /// The disk failed; the position stands where it stood, and the commit may be repeated.
    #[error("the cursor could not be written")]
    Io(#[source] Arc<io::Error>),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl CursorError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidName => "CURSOR_NAME_INVALID",
            Self::InUse => "CURSOR_IN_USE",
            Self::Backwards { .. } => "CURSOR_BACKWARDS",
            Self::BeyondEnd { .. } => "CURSOR_BEYOND_END",
            Self::Io(_) => "CURSOR_IO",
            Self::Closed => "JOURNAL_CLOSED",
        }
    }
}

impl From<io::Error> for CursorError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Why retention stopped early. Segments dropped before the failure stay dropped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrimError {
    /// The disk failed.
    #[error("old segments could not be dropped")]
    Io(#[source] Arc<io::Error>),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl TrimError {
    /// The stable code of this error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "JOURNAL_IO",
            Self::Closed => "JOURNAL_CLOSED",
        }
    }
}

impl From<io::Error> for TrimError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

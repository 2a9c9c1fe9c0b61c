//! What the owner of a journal chooses.

use std::time::Duration;

/// Whether an append waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Every batch is synced before it is acknowledged.
    #[default]
    Fdatasync,
    /// Nothing is synced ("memory speed"): for benchmarks only, a power cut loses acknowledged records.
    None,
}

/// How a journal behaves. Start from [`Options::default`] and change what matters.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size at which a segment is closed and the next begun, in bytes (64 MiB; at least 4 KiB).
    /// A single batch larger than this makes a longer segment.
    pub segment_bytes: u64,
    /// Whether bytes are zeroed before they are used, so that a sync need not commit a new file size (true): the
    /// next segment in the background, unless segments fill in less than a second, and otherwise 1 MiB at a time.
    pub preallocate: bool,
    /// How many appends may wait for the writer (8192). Each counts once per begun 8 KiB, so that this bounds
    /// memory too. When the queue is full, appending waits.
    pub queue: usize,
    /// Most bytes written with one sync (4 MiB), as long as they are more than one append.
    pub batch_bytes: usize,
    /// Size cap for retention in bytes: `trim` drops the oldest segments beyond it, even unread (none).
    pub max_bytes: Option<u64>,
    /// After this long without work the writer thread ends and gives back its memory and file; it is started again
    /// on demand (never). For owners of thousands of journals.
    pub idle_writer_exit: Option<Duration>,
    /// Whether an append waits for the disk (yes).
    pub sync: Sync,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            preallocate: true,
            queue: 8192,
            batch_bytes: 4 << 20,
            max_bytes: None,
            idle_writer_exit: None,
            sync: Sync::Fdatasync,
        }
    }
}

impl Options {
    /// The same with every value inside its bounds.
    pub(crate) fn bounded(mut self) -> Self {
        self.segment_bytes = self.segment_bytes.max(4 << 10);
        self.queue = self.queue.clamp(1, 1 << 20);
        // Small segments want small batches, or each batch would end its segment.
        let quarter = usize::try_from(self.segment_bytes / 4).unwrap_or(usize::MAX);
        self.batch_bytes = self.batch_bytes.clamp(1, quarter);
        self
    }
}

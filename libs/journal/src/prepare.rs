//! The next segment, filled with zeros in the background before it is needed.
//!
//! Writing into bytes that exist spares each sync the commit of a new file size.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};
use crate::frame::HEADER_LEN;

/// How much is zeroed between two looks at whether to stop.
const CHUNK: usize = 1 << 20;

/// An unnamed segment: no header yet, a temporary name.
pub(crate) struct Prepared {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Prepared {
    /// An empty one, for when none is ready.
    pub(crate) fn empty(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(format!("segment-{number}.tmp"));
        Ok(Self {
            file: disk.create(&path)?,
            path,
        })
    }
}

/// Owns the preparing thread and what it made.
#[derive(Default)]
pub(crate) struct Preparer {
    slot: Mutex<Slot>,
    stop: Arc<AtomicBool>,
    made: AtomicU64,
}

#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Running(JoinHandle<Option<Prepared>>),
}

impl Preparer {
    /// Begins to prepare a segment of `bytes`, unless one is ready or under way. A failure costs speed only.
    pub(crate) fn begin(&self, disk: &Arc<dyn Disk>, dir: &Path, bytes: u64) {
        let mut slot = self.slot.lock();
        if matches!(*slot, Slot::Running(_)) || self.stop.load(Ordering::Relaxed) {
            return;
        }
        let (disk, dir, stop) = (Arc::clone(disk), dir.to_owned(), Arc::clone(&self.stop));
        let number = self.number();
        let run = move || prepare(&*disk, &dir, number, bytes, &stop);
        match thread::Builder::new()
            .name("journal-prepare".into())
            .spawn(run)
        {
            Ok(thread) => *slot = Slot::Running(thread),
            Err(error) => tracing::debug!(%error, "no thread to prepare a journal segment"),
        }
    }

    /// The prepared segment if it is finished. Never waits.
    pub(crate) fn take(&self) -> Option<Prepared> {
        let mut slot = self.slot.lock();
        match &*slot {
            Slot::Running(thread) if thread.is_finished() => {}
            _ => return None,
        }
        let Slot::Running(thread) = std::mem::take(&mut *slot) else {
            return None;
        };
        // A panic there would be a defect of ours; the log itself can do without.
        thread.join().ok().flatten()
    }

    /// A number no other temporary file of this journal has.
    pub(crate) fn number(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// Stops, waits for the thread and removes what was not used.
    pub(crate) fn stop(&self, disk: &dyn Disk) {
        self.stop.store(true, Ordering::Relaxed);
        let Slot::Running(thread) = std::mem::take(&mut *self.slot.lock()) else {
            return;
        };
        if let Ok(Some(prepared)) = thread.join() {
            // What stays behind is removed by the next open.
            _ = disk.remove(&prepared.path);
        }
    }
}

fn prepare(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    bytes: u64,
    stop: &AtomicBool,
) -> Option<Prepared> {
    let prepared = Prepared::empty(disk, dir, number)
        .inspect_err(|error| tracing::warn!(%error, "cannot prepare a journal segment"))
        .ok()?;
    match fill(&*prepared.file, bytes, stop) {
        Ok(true) => return Some(prepared),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "cannot prepare a journal segment"),
    }
    // Half a segment would only hold space; what stays behind is removed by the next open.
    _ = disk.remove(&prepared.path);
    None
}

/// Writes zeros and syncs them; false when told to stop before.
fn fill(file: &dyn DiskFile, bytes: u64, stop: &AtomicBool) -> io::Result<bool> {
    let zeros = vec![0; CHUNK];
    let (mut at, end) = (0, HEADER_LEN + bytes);
    while at < end {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let len = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        file.write_all_at(&zeros[..len], at)?;
        at += len as u64;
    }
    file.sync_all()?;
    Ok(true)
}

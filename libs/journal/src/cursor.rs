//! Cursors: how far a named consumer has come, durably.
//!
//! A cursor is a file of two slots, one per 4 KiB page: magic, CRC32C, sequence, position. A commit overwrites
//! the older slot and syncs, so that a torn commit leaves the one before it. After a failed commit the same slot is
//! written again, never the good one.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, read_full};
use crate::frame::{u32_at, u64_at};
use crate::journal::Journal;
use crate::shared::Shared;
use crate::{CursorError, Position, Sync};

const SUFFIX: &str = ".cursor";
const MAGIC: u32 = u32::from_le_bytes(*b"ZCUR");
const SLOT_STRIDE: u64 = 4096;
const SLOT_LEN: usize = 24;

/// The durable position of one consumer. One handle per name at a time; dropping it frees the name and
/// keeps the position.
pub struct Cursor {
    journal: Journal,
    live: Arc<Live>,
}

impl Cursor {
    /// Up to where the consumer has dealt with everything: where its reader starts.
    pub fn position(&self) -> Position {
        Position(self.live.slot.position.load(Ordering::Acquire))
    }

    /// Moves the cursor; durable when this returns. Committing the present position again is free.
    ///
    /// When cancelled, the commit may or may not happen; `position` tells.
    ///
    /// # Errors
    /// Refuses to go back or beyond the durable end, and fails with the disk; the position stands then.
    pub async fn commit(&mut self, to: Position) -> Result<(), CursorError> {
        let (at, end) = (self.position(), self.journal.end());
        if to < at {
            return Err(CursorError::Backwards { at, asked: to });
        }
        if to > end {
            return Err(CursorError::BeyondEnd { end, asked: to });
        }
        if to == at {
            return Ok(());
        }
        let (shared, live) = (Arc::clone(self.journal.shared()), Arc::clone(&self.live));
        tokio::task::spawn_blocking(move || {
            let sync = shared.options.sync;
            shared
                .while_held(|| live.write(to.0, sync))
                .ok_or(CursorError::Closed)
        })
        .await
        .map_err(io::Error::other)??
        .map_err(CursorError::from)
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// What is known of a cursor, in use or not.
#[derive(Debug, Default)]
struct Slot {
    position: AtomicU64,
    sequence: AtomicU64,
    in_use: AtomicBool,
}

/// A cursor in use. Outlives its handle while a cancelled commit is still being written.
struct Live {
    slot: Arc<Slot>,
    file: Mutex<Arc<dyn DiskFile>>,
}

impl Live {
    fn write(&self, to: u64, sync: Sync) -> io::Result<()> {
        let file = self.file.lock();
        // A cancelled commit may have come further meanwhile.
        if to <= self.slot.position.load(Ordering::Acquire) {
            return Ok(());
        }
        let sequence = self.slot.sequence.load(Ordering::Relaxed) + 1;
        file.write_all_at(&encode(sequence, to), slot_offset(sequence))?;
        if sync == Sync::Fdatasync {
            file.sync_data()?;
        }
        self.slot.sequence.store(sequence, Ordering::Relaxed);
        self.slot.position.store(to, Ordering::Release);
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.slot.in_use.store(false, Ordering::Release);
    }
}

/// All cursors of a journal, whether or not somebody uses them.
#[derive(Default)]
pub(crate) struct Registry {
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
}

impl Registry {
    /// Reads the cursor files among `names`. Also returns the names of those that are damaged in both slots.
    pub(crate) fn load(
        disk: &dyn Disk,
        dir: &Path,
        names: &[String],
    ) -> io::Result<(Self, Vec<String>)> {
        let (mut slots, mut damaged) = (BTreeMap::new(), Vec::new());
        for name in names.iter().filter_map(|file| file.strip_suffix(SUFFIX)) {
            let file = disk.open(&path(dir, name))?;
            let slot = Slot::default();
            match decode(&*file)? {
                Some((sequence, position)) => {
                    slot.sequence.store(sequence, Ordering::Relaxed);
                    slot.position.store(position, Ordering::Relaxed);
                }
                // It starts again at the oldest record: twice is better than never.
                None => damaged.push(name.to_owned()),
            }
            slots.insert(name.to_owned(), Arc::new(slot));
        }
        Ok((
            Self {
                slots: Mutex::new(slots),
            },
            damaged,
        ))
    }

    /// The position of the consumer that is furthest behind.
    pub(crate) fn slowest(&self) -> Option<u64> {
        self.slots
            .lock()
            .values()
            .map(|slot| slot.position.load(Ordering::Acquire))
            .min()
    }

    /// The position of the consumer that has come furthest.
    pub(crate) fn fastest(&self) -> Option<u64> {
        self.slots
            .lock()
            .values()
            .map(|slot| slot.position.load(Ordering::Acquire))
            .max()
    }
}

/// Opens the cursor, making it at the oldest record if it is new.
pub(crate) async fn open(journal: Journal, name: &str) -> Result<Cursor, CursorError> {
    check_name(name)?;
    let (shared, name) = (Arc::clone(journal.shared()), name.to_owned());
    let live = tokio::task::spawn_blocking(move || {
        shared
            .while_held(|| open_live(&shared, &name))
            .ok_or(CursorError::Closed)
    })
    .await
    .map_err(io::Error::other)???;
    Ok(Cursor {
        journal,
        live: Arc::new(live),
    })
}

fn open_live(shared: &Shared, name: &str) -> Result<Live, CursorError> {
    // Held throughout, so that two first uses of a name do not both make the file.
    let mut slots = shared.cursors.slots.lock();
    let path = path(&shared.dir, name);
    let slot = match slots.get(name) {
        Some(slot) => Arc::clone(slot),
        None => {
            let start = shared.start();
            make(shared, &path, start)?;
            let slot = Arc::new(Slot {
                position: AtomicU64::new(start),
                ..Slot::default()
            });
            slots.insert(name.to_owned(), Arc::clone(&slot));
            slot
        }
    };
    if slot.in_use.swap(true, Ordering::AcqRel) {
        return Err(CursorError::InUse);
    }
    match shared.disk.open(&path) {
        Ok(file) => Ok(Live {
            slot,
            file: Mutex::new(file),
        }),
        Err(error) => {
            slot.in_use.store(false, Ordering::Release);
            Err(error.into())
        }
    }
}

/// Makes a cursor file: whole and durable before it has its name.
fn make(shared: &Shared, path: &Path, position: u64) -> io::Result<()> {
    let temporary = shared
        .dir
        .join(format!("cursor-{}.tmp", shared.preparer.number()));
    let file = shared.disk.create(&temporary)?;
    let mut content = vec![0; 2 * SLOT_STRIDE as usize];
    content[..SLOT_LEN].copy_from_slice(&encode(0, position));
    file.write_all_at(&content, 0)?;
    file.sync_all()?;
    shared.disk.rename(&temporary, path)?;
    shared.disk.sync_dir(&shared.dir)
}

/// Removes a cursor for good; false if there is none.
pub(crate) async fn remove(journal: &Journal, name: &str) -> Result<bool, CursorError> {
    check_name(name)?;
    let (shared, name) = (Arc::clone(journal.shared()), name.to_owned());
    tokio::task::spawn_blocking(move || {
        shared
            .while_held(|| remove_file(&shared, &name))
            .ok_or(CursorError::Closed)
    })
    .await
    .map_err(io::Error::other)??
}

fn remove_file(shared: &Shared, name: &str) -> Result<bool, CursorError> {
    let mut slots = shared.cursors.slots.lock();
    let Some(slot) = slots.get(name) else {
        return Ok(false);
    };
    if slot.in_use.load(Ordering::Acquire) {
        return Err(CursorError::InUse);
    }
    shared.disk.remove(&path(&shared.dir, name))?;
    shared.disk.sync_dir(&shared.dir)?;
    slots.remove(name);
    Ok(true)
}

fn check_name(name: &str) -> Result<(), CursorError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = (1..=64).contains(&name.len()) && name.bytes().all(allowed);
    if valid {
        Ok(())
    } else {
        Err(CursorError::InvalidName)
    }
}

fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{SUFFIX}"))
}

const fn slot_offset(sequence: u64) -> u64 {
    (sequence % 2) * SLOT_STRIDE
}

fn encode(sequence: u64, position: u64) -> [u8; SLOT_LEN] {
    let mut slot = [0; SLOT_LEN];
    slot[..4].copy_from_slice(&MAGIC.to_le_bytes());
    slot[8..16].copy_from_slice(&sequence.to_le_bytes());
    slot[16..].copy_from_slice(&position.to_le_bytes());
    let crc = crc32c::crc32c(&slot[8..]);
    slot[4..8].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// The newest intact slot: its sequence and position.
fn decode(file: &dyn DiskFile) -> io::Result<Option<(u64, u64)>> {
    let mut newest = None;
    for index in 0..2 {
        let mut slot = [0; SLOT_LEN];
        let read = read_full(file, &mut slot, slot_offset(index))?;
        let intact = read == SLOT_LEN
            && u32_at(&slot, 0) == Some(MAGIC)
            && u32_at(&slot, 4) == Some(crc32c::crc32c(&slot[8..]));
        if intact {
            newest = newest.max(u64_at(&slot, 8).zip(u64_at(&slot, 16)));
        }
    }
    Ok(newest)
}

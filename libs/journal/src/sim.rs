//! A disk in memory that can lose its power: for tests of this crate and of those that build on it.
//!
//! What was not synced when the power goes is kept, dropped or torn, write by write; a name that was not
//! synced with its directory may be there or not. Beside that, single operations can be made to fail.

mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, DiskLock};
use state::State;

/// Where a write may be torn apart by a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// At any byte: harsher than disks are.
    Byte,
    /// At multiples of 512 bytes of the file.
    Sector,
}

/// The simulated disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    seed: u64,
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk. The seed decides everything that is left to chance.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            state: Arc::new(Mutex::new(State::new(seed))),
        }
    }

    /// The seed this disk began with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Cuts the power at the `n`-th operation from now that changes or syncs something (the first is 0): that one
    /// and all after it fail.
    pub fn cut_after(&self, operations: u64) {
        self.state.lock().cut_after(operations);
    }

    /// Whether the power is still on.
    pub fn is_on(&self) -> bool {
        self.state.lock().is_on()
    }

    /// Operations that changed or synced something so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations()
    }

    /// Cuts the power if it is on, and gives back the disk as it is found afterwards. The old one stays dead.
    pub fn restart(&self, seed: u64, tear: Tear) -> Self {
        let after = self.state.lock().after_power_cut(seed, tear);
        Self {
            seed,
            state: Arc::new(Mutex::new(after)),
        }
    }

    /// Makes the next sync of a file fail; as with real systems, the bytes then count as clean without being durable.
    pub fn fail_next_sync(&self) {
        self.state.lock().fail_next_sync = true;
    }

    /// Makes the next write fail after half of its bytes.
    pub fn fail_next_write(&self) {
        self.state.lock().fail_next_write = true;
    }

    /// Lets files grow by so many bytes from now on, in total; `None` lifts the limit.
    pub fn limit_growth(&self, bytes: Option<u64>) {
        self.state.lock().room = bytes;
    }

    /// Makes every read fail, or work again.
    pub fn fail_reads(&self, fail: bool) {
        self.state.lock().fail_reads = fail;
    }

    /// Flips all bits of `mask` in one byte of a file, durably: what a decaying disk does.
    pub fn damage(&self, path: &Path, offset: u64, mask: u8) {
        self.state.lock().damage(path, offset, mask);
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        // Directories need no making here; their names do not get lost.
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.state.lock().lock(path)?;
        Ok(Box::new(SimLock {
            state: Arc::clone(&self.state),
            path: path.to_owned(),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.state.lock().list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.state.lock().create(path)?;
        Ok(Arc::new(SimFile {
            state: Arc::clone(&self.state),
            inode,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.state.lock().open(path)?;
        Ok(Arc::new(SimFile {
            state: Arc::clone(&self.state),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state.lock().sync_dir(dir)
    }

    fn salt(&self) -> u32 {
        self.state.lock().random() as u32
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    inode: u64,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.state.lock().len(self.inode)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state.lock().read_at(self.inode, buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.state.lock().write_at(self.inode, buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().set_len(self.inode, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state.lock().sync(self.inode)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.state.lock().sync(self.inode)
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.state.lock().unlock(&self.path);
    }
}

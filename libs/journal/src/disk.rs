//! What a journal asks of a disk: the few operations whose durability matters, behind a trait.

mod real;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;

/// A file system as the journal uses it. All calls block; a name is durable only after [`Disk::sync_dir`].
pub trait Disk: Send + Sync + 'static {
    /// Makes a directory and those above it, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on `path`, creating the file; `WouldBlock` when another holds it.
    /// The lock ends when the returned value is dropped or its process dies.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// The names of the files in a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a new file for reading and writing; `AlreadyExists` when there is one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name in the same directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; open handles stay usable.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes every change of names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// A number nobody can guess, for the journal's checksums.
    fn salt(&self) -> u32;
}

/// An open file; offsets and lengths in bytes.
pub trait DiskFile: Send + Sync {
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads some bytes; 0 at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf`, growing the file where needed. After an error any part may have been written.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts or grows (with zeros) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes content, and as much as is needed to read it back, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes content and all else about the file durable.
    fn sync_all(&self) -> io::Result<()>;
}

/// Holds a directory's lock until dropped.
pub trait DiskLock: Send + Sync {}

/// Reads until `buf` is full or the file ends, and says how much there was.
pub(crate) fn read_full(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether an error says that there is no room left, rather than that the disk is unwell.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

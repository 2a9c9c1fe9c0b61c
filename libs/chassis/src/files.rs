//! Small files that must survive a crash: written whole beside the old one, synced, renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file operation that failed, with the file's name.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {path}")]
pub struct FileError {
    /// What was tried.
    pub act: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl FileError {
    fn new(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { act, path, source }
    }

    /// Whether the file was simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Replaces `path` by `content`, so that after a crash either the old or the new content is
/// there, whole. `mode` is the Unix mode of the new file (0o600 for anything secret).
///
/// # Errors
/// The step that failed; the old content is untouched then.
pub fn write_durable(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .map_err(FileError::new("create", &temporary))?;
    file.write_all(content)
        .map_err(FileError::new("write", &temporary))?;
    file.sync_all()
        .map_err(FileError::new("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(FileError::new("replace", path))?;
    sync_folder(folder)
}

/// Removes `path` durably; a file that is not there is fine.
///
/// # Errors
/// The step that failed.
pub fn remove_durable(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or_else(|| Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::new("remove", path)(error)),
    }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// When it cannot be read or is longer.
pub fn read_capped(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut content))
        .map_err(FileError::new("read", path))?;
    if content.len() > limit {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("over {limit} bytes"));
        return Err(FileError::new("read", path)(error));
    }
    Ok(content)
}

/// Reads a file of at most `limit` bytes, or nothing if there is no such file.
///
/// # Errors
/// When it is there but cannot be read or is longer.
pub fn read_if_there(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    match read_capped(path, limit) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a folder and those above it, readable by the owner only.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_folder(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::new("create folder", path))
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(FileError::new("sync folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_durable(&path, b"old", 0o600).unwrap();
        write_durable(&path, b"new", 0o600).unwrap();
        assert_eq!(read_capped(&path, 10).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_longer_file_is_refused_and_a_missing_one_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        write_durable(&path, &[0; 11], 0o644).unwrap();
        assert!(read_capped(&path, 10).is_err());
        assert!(
            read_if_there(&folder.path().join("none"), 10)
                .unwrap()
                .is_none()
        );
    }
}

//! Files with sealed secrets in them, as named on a command line: files, and folders searched to
//! their bottom.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use time::OffsetDateTime;
use time::macros::format_description;

/// Files at the most; more are surely not meant.
const FILES: usize = 100_000;
/// Largest file that is looked into.
pub(super) const LARGEST: usize = 16 * 1024 * 1024;

/// Every file under the paths, sorted. In folders, `.age`, `.yaml` and `.yml`; hidden ones are passed over.
pub(super) fn all(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        if kind.is_dir() {
            folders.push(path.clone());
        } else {
            files.push(path.clone());
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && may_hold_secrets(&path) {
                files.push(path);
            }
        }
        ensure!(files.len() <= FILES, "more than {FILES} files");
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn may_hold_secrets(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("age" | "yaml" | "yml"))
}

/// A moment for people, UTC, from Unix milliseconds.
pub(super) fn day(unix_ms: u64) -> anyhow::Result<String> {
    let seconds = i64::try_from(unix_ms / 1000)?;
    let moment = OffsetDateTime::from_unix_timestamp(seconds)?;
    let form = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    Ok(moment.format(form)?)
}

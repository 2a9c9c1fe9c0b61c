//! Who opened what, when, with which key, and how it ended: one JSON line each, chained by hashes
//! (each line carries the SHA-256 of the one before), in a file beside the log. Never content.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Longest text of one field; what is longer is cut.
const FIELD: usize = 512;
/// What stands before the first line.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// A SPIFFE id, `uid:…` on a Unix socket, or `system:serviceaccount:…` with a pod's UID.
    pub who: String,
    /// The secret, as its scope is written.
    pub what: String,
    /// A purpose, `pod` or `bundle`.
    pub purpose: String,
    /// The key that opened it; empty if none did.
    pub key_id: String,
    /// The secret's version; empty if it did not open.
    pub version: String,
    /// `opened`, or the code of the refusal.
    pub outcome: String,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// From 1, without gaps.
    seq: u64,
    /// SHA-256 of the line before, hexadecimal.
    prev: String,
    #[serde(flatten)]
    opening: Opening,
}

/// Why a chain does not hold.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read or written.
    #[error("the audit log cannot be used")]
    File(#[from] io::Error),
    /// A line is not what was written.
    #[error("line {line} of the audit log was changed, removed or moved")]
    Broken {
        /// Counted from 1.
        line: u64,
    },
}

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Audit(Arc<Mutex<Log>>);

struct Log {
    path: PathBuf,
    file: File,
    seq: u64,
    prev: String,
    bytes: u64,
    /// At which the file is put aside and the chain goes on in a new one.
    max_bytes: u64,
}

impl Audit {
    /// Goes on where the file ends; an unfinished last line, left by a crash, is cut. The whole
    /// chain is checked.
    ///
    /// # Errors
    /// When the file cannot be used, or its chain does not hold.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Self, AuditError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut end = check(&mut file)?;
        if end.seq == 0 {
            // Put aside and killed before the first line of the new one: its chain goes on here.
            end = End {
                bytes: 0,
                ..end_of_older(path)?
            };
        }
        file.set_len(end.bytes)?;
        file.seek(SeekFrom::Start(end.bytes))?;
        Ok(Self(Arc::new(Mutex::new(Log {
            path: path.to_owned(),
            file,
            seq: end.seq,
            prev: end.prev,
            bytes: end.bytes,
            max_bytes,
        }))))
    }

    /// Writes what happened. A value may be handed out only after this.
    ///
    /// # Errors
    /// When it cannot be written: nothing is to be handed out then.
    pub(crate) fn note(&self, opening: Opening) -> Result<(), AuditError> {
        let opening = cut(opening);
        tracing::info!(
            target: "zen_lock::audit",
            who = opening.who, what = opening.what, purpose = opening.purpose,
            key_id = opening.key_id, version = opening.version, outcome = opening.outcome,
            "secret asked for"
        );
        let mut log = self.0.lock();
        if log.bytes >= log.max_bytes {
            log.put_aside()?;
        }
        let line = Line {
            seq: log.seq + 1,
            prev: log.prev.clone(),
            opening,
        };
        let mut text = serde_json::to_string(&line).map_err(io::Error::from)?;
        let hash = hash(&text);
        text.push('\n');
        if let Err(error) = log.file.write_all(text.as_bytes()) {
            // Half a line, left by a full disk, must not stand in front of the next one.
            let end = log.bytes;
            log.file.set_len(end)?;
            log.file.seek(SeekFrom::Start(end))?;
            return Err(error.into());
        }
        log.seq += 1;
        log.prev = hash;
        log.bytes += text.len() as u64;
        Ok(())
    }
}

impl Log {
    /// One older file is kept; the new one goes on with the chain.
    fn put_aside(&mut self) -> Result<(), AuditError> {
        self.file.sync_all()?;
        match std::fs::rename(&self.path, older(&self.path)) {
            // Put aside already, by a try that failed after that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

/// The file that was put aside.
fn older(path: &Path) -> PathBuf {
    let mut older = path.to_owned().into_os_string();
    older.push(".1");
    older.into()
}

/// Where the chain of the file that was put aside ends; the beginning if there is none.
fn end_of_older(path: &Path) -> Result<End, AuditError> {
    match File::open(older(path)) {
        Ok(mut file) => check(&mut file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(End::nothing()),
        Err(error) => Err(error.into()),
    }
}

/// Where a chain ends.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// Of its last line; 0 without any.
    pub seq: u64,
    /// SHA-256 of its last line, hexadecimal.
    pub prev: String,
    /// Bytes of whole lines.
    pub bytes: u64,
}

impl End {
    fn nothing() -> Self {
        Self {
            seq: 0,
            prev: GENESIS.to_owned(),
            bytes: 0,
        }
    }
}

/// Checks a file's chain from its first line; a file that goes on from an older one begins with
/// whatever that one ended with.
///
/// # Errors
/// [`AuditError::Broken`] with the first line that does not follow from the one before.
pub fn check(file: &mut File) -> Result<End, AuditError> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let mut end = End::nothing();
    let mut text = String::new();
    let mut number = 0;
    loop {
        text.clear();
        let read = reader.read_line(&mut text)?;
        let Some(whole) = text.strip_suffix('\n').filter(|_| read > 0) else {
            return Ok(end);
        };
        number += 1;
        let broken = AuditError::Broken { line: number };
        let Ok(line) = serde_json::from_str::<Line>(whole) else {
            return Err(broken);
        };
        let first = number == 1;
        let follows = line.seq == end.seq + 1 && line.prev == end.prev;
        if !(follows || first && line.seq > 1) {
            return Err(broken);
        }
        end = End {
            seq: line.seq,
            prev: hash(whole),
            bytes: end.bytes + read as u64,
        };
    }
}

fn cut(mut opening: Opening) -> Opening {
    for text in [
        &mut opening.who,
        &mut opening.what,
        &mut opening.purpose,
        &mut opening.version,
    ] {
        if text.len() > FIELD {
            let at = (0..=FIELD).rev().find(|&at| text.is_char_boundary(at));
            text.truncate(at.unwrap_or(0));
        }
    }
    opening
}

fn hash(line: &str) -> String {
    hex::encode(digest(&SHA256, line.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(what: &str) -> Opening {
        Opening {
            at_ms: 1,
            what: what.to_owned(),
            outcome: "opened".to_owned(),
            ..Opening::default()
        }
    }

    fn checked(path: &Path) -> Result<End, AuditError> {
        check(&mut File::open(path).unwrap())
    }

    #[test]
    fn a_line_changed_removed_or_moved_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path, u64::MAX).unwrap();
        for what in ["a", "b", "c", "d"] {
            audit.note(opening(what)).unwrap();
        }
        assert_eq!(checked(&path).unwrap().seq, 4);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let removed = [lines[0], lines[2], lines[3]].join("\n") + "\n";
        let moved = [lines[0], lines[2], lines[1], lines[3]].join("\n") + "\n";
        let changed = text.replacen("\"b\"", "\"x\"", 1);
        for (other, at) in [(removed, 2), (moved, 2), (changed, 3)] {
            std::fs::write(&path, other).unwrap();
            let found = checked(&path).err().unwrap();
            assert!(
                matches!(found, AuditError::Broken { line } if line == at),
                "{found}"
            );
            assert!(Audit::open(&path, u64::MAX).is_err());
        }
    }

    #[test]
    fn a_restart_goes_on_with_the_chain_and_cuts_what_a_crash_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        Audit::open(&path, u64::MAX)
            .unwrap()
            .note(opening("a"))
            .unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"seq\":2,").unwrap();
        Audit::open(&path, u64::MAX)
            .unwrap()
            .note(opening("b"))
            .unwrap();
        assert_eq!(checked(&path).unwrap().seq, 2);
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_chain_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path, 1).unwrap();
        for what in ["a", "b", "c"] {
            audit.note(opening(what)).unwrap();
        }
        assert_eq!(checked(&path).unwrap().seq, 3);
        let older = checked(&folder.path().join("audit.jsonl.1")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&older.prev));
    }

    #[test]
    fn a_restart_between_putting_aside_and_the_next_line_goes_on_with_the_chain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path, u64::MAX).unwrap();
        for what in ["a", "b"] {
            audit.note(opening(what)).unwrap();
        }
        drop(audit);
        let aside = folder.path().join("audit.jsonl.1");
        std::fs::rename(&path, &aside).unwrap();
        for unfinished in ["", "{\"seq\":3,"] {
            std::fs::write(&path, unfinished).unwrap();
            let audit = Audit::open(&path, u64::MAX).unwrap();
            audit.note(opening("c")).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&checked(&aside).unwrap().prev));
            assert_eq!(checked(&path).unwrap().seq, 3);
        }
    }
}

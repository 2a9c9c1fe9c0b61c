//! Opening: what the disk still holds, what of it counts, and putting the end in order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cursor::Registry;
use crate::disk::{Disk, DiskFile, DiskLock, read_full};
use crate::frame::{HEADER_LEN, Header, VERSION};
use crate::prepare::Prepared;
use crate::segment::{Segment, Window};
use crate::shared::{Recovered, Shared};
use crate::survey::Survey;
use crate::{OpenError, Options, Position};

/// How much is copied at once when the end is written anew.
const CHUNK: u64 = 1 << 20;

/// What opening found. Segments before the last are not scanned; readers check every frame.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Intact records in the last segment.
    pub records: u64,
    /// Bytes of frames scanned for them.
    pub bytes: u64,
    /// Bytes of a write that was cut short, removed from the end. None of it was ever acknowledged.
    pub truncated_bytes: u64,
    /// Acknowledged data that is lost. What follows it is kept.
    pub corruptions: Vec<Corruption>,
    /// Cursors whose file was damaged; they start again at the oldest record.
    pub damaged_cursors: Vec<String>,
    /// How long opening took.
    pub duration: Duration,
}

/// A damaged stretch. `position` and `next` are the same where only a segment's header is damaged and its
/// records are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub segment: PathBuf,
    /// Where the damage begins.
    pub position: Position,
    /// Where records go on.
    pub next: Position,
}

/// Opens a journal's directory, making it if need be. Blocking.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
) -> Result<(Shared, Recovery), OpenError> {
    let began = Instant::now();
    let lock = claim(&*disk, &dir)?;
    let names = tidy(&*disk, &dir)?;
    let mut recovery = Recovery::default();
    let (cursors, damaged) =
        Registry::load(&*disk, &dir, &names).map_err(failed("read cursors in", &dir))?;
    recovery.damaged_cursors = damaged;
    let known = cursors.fastest().unwrap_or(0);
    let (mut segments, salt) = headers(&*disk, &dir, &names, &mut recovery)?;
    let last = segments
        .last_key_value()
        .map(|(_, segment)| segment.clone());
    let end = match last {
        Some(last) => {
            let (end, usable) = settle(&*disk, &last, known, &mut recovery)
                .map_err(failed("recover", &last.path))?;
            if !usable {
                let segment =
                    begin(&*disk, &dir, end, salt).map_err(failed("begin a segment in", &dir))?;
                segments.insert(end, segment);
            }
            end
        }
        None => {
            let segment =
                begin(&*disk, &dir, known, salt).map_err(failed("begin a segment in", &dir))?;
            segments.insert(known, segment);
            known
        }
    };
    recovery.duration = began.elapsed();
    let shared = Shared::new(
        disk,
        dir,
        options,
        Recovered {
            segments,
            end,
            salt,
            cursors,
            lock,
        },
    );
    report(&shared, &recovery);
    Ok((shared, recovery))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        action,
        path,
        source,
    }
}

fn claim(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, OpenError> {
    disk.create_dir_all(dir).map_err(failed("make", dir))?;
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked {
            dir: dir.to_owned(),
        },
        _ => failed("lock", &path)(error),
    })
}

/// Removes temporary files and makes sure that the names seen are the names on the disk.
fn tidy(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, OpenError> {
    let mut names = disk.list(dir).map_err(failed("list", dir))?;
    for name in names.extract_if(.., |name| name.ends_with(".tmp")) {
        let path = dir.join(name);
        disk.remove(&path).map_err(failed("remove", &path))?;
    }
    disk.sync_dir(dir).map_err(failed("sync", dir))?;
    Ok(names)
}

/// Reads all headers; also the salt for what is written from now on. A segment with a damaged header is read with the
/// salt of the others.
fn headers(
    disk: &dyn Disk,
    dir: &Path,
    names: &[String],
    recovery: &mut Recovery,
) -> Result<(BTreeMap<u64, Segment>, u32), OpenError> {
    let (mut segments, mut salt, mut damaged) = (BTreeMap::new(), None, Vec::new());
    let mut bases: Vec<u64> = names
        .iter()
        .filter_map(|name| Segment::base_of(name))
        .collect();
    bases.sort_unstable();
    for base in bases {
        let path = Segment::path(dir, base);
        let header = header(disk, &path).map_err(failed("read", &path))?;
        match header.filter(|header| header.base == base) {
            Some(Header { version, .. }) if version != VERSION => {
                return Err(OpenError::Version {
                    segment: path,
                    version,
                });
            }
            Some(header) => {
                salt = Some(header.salt);
                segments.insert(
                    base,
                    Segment {
                        base,
                        salt: header.salt,
                        path,
                    },
                );
            }
            None => damaged.push((base, path)),
        }
    }
    for (base, path) in damaged {
        let Some(salt) = salt else {
            return Err(OpenError::Unreadable { segment: path });
        };
        let position = Position(base);
        recovery.corruptions.push(Corruption {
            segment: path.clone(),
            position,
            next: position,
        });
        segments.insert(base, Segment { base, salt, path });
    }
    Ok((segments, salt.unwrap_or_else(|| disk.salt())))
}

fn header(disk: &dyn Disk, path: &Path) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_LEN as usize];
    let read = read_full(&*disk.open(path)?, &mut bytes, 0)?;
    Ok(Header::decode(&bytes[..read]))
}

/// Finds the end of the log in its last segment, cuts a torn tail and makes the rest durable. Also whether
/// the segment can be written on: not if the log goes on behind lost bytes.
fn settle(
    disk: &dyn Disk,
    last: &Segment,
    known: u64,
    recovery: &mut Recovery,
) -> io::Result<(u64, bool)> {
    let file = disk.open(&last.path)?;
    let limit = last.position_at_len(file.len()?);
    let mut window = Window::new(&*file, last, limit);
    let survey = Survey::of(&mut window, last.base, limit)?;
    let verdict = survey.judge(known);
    recovery.records = survey.records;
    recovery.bytes = survey.last_end - last.base;
    for (position, next) in verdict.damaged {
        recovery.corruptions.push(Corruption {
            segment: last.path.clone(),
            position: Position(position),
            next: Position(next),
        });
    }
    if verdict.end > survey.last_end {
        return Ok((verdict.end, false));
    }
    if let Some(content) = window.last_content(verdict.end)? {
        recovery.truncated_bytes = content - verdict.end;
        // Old bytes must not come back to life behind new frames.
        file.set_len(last.offset(verdict.end))?;
    }
    rewrite(
        &*file,
        last.offset(survey.durable),
        last.offset(verdict.end),
    )?;
    file.sync_all()?;
    Ok((verdict.end, true))
}

/// Writes bytes over themselves, so that the next sync says something about them: after a failed sync they may be in
/// the system's cache only, where they count as clean.
fn rewrite(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let mut bytes = vec![0; (to - at).min(CHUNK) as usize];
        let read = read_full(file, &mut bytes, at)?;
        if read < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&bytes, at)?;
        at += read as u64;
    }
    Ok(())
}

/// Makes an empty segment, durably.
fn begin(disk: &dyn Disk, dir: &Path, base: u64, salt: u32) -> io::Result<Segment> {
    let prepared = Prepared::empty(disk, dir, 0)?;
    prepared.file.write_all_at(
        &Header {
            version: VERSION,
            salt,
            base,
        }
        .encode(),
        0,
    )?;
    prepared.file.sync_all()?;
    let path = Segment::path(dir, base);
    disk.rename(&prepared.path, &path)?;
    disk.sync_dir(dir)?;
    Ok(Segment { base, salt, path })
}

fn report(shared: &Shared, recovery: &Recovery) {
    for corruption in &recovery.corruptions {
        let Corruption {
            segment,
            position,
            next,
        } = corruption;
        if shared.counters.damaged(position.0) {
            let segment = segment.display();
            tracing::error!(%segment, %position, %next, "damaged records in the journal");
        }
    }
    for name in &recovery.damaged_cursors {
        tracing::error!(
            name,
            "damaged cursor, its consumer starts again at the oldest record"
        );
    }
    let Recovery {
        records,
        truncated_bytes,
        ..
    } = recovery;
    tracing::debug!(dir = %shared.dir.display(), records, truncated_bytes, "opened the journal");
}

//! The simulated disk's state: what programs see, what is durable, and what lies between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Tear;

const SECTOR: usize = 512;

/// Everything on the disk and everything that shall go wrong with it.
pub(super) struct State {
    random: u64,
    files: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
    operations: u64,
    cut_at: Option<u64>,
    off: bool,
    pub(super) fail_next_sync: bool,
    pub(super) fail_next_write: bool,
    pub(super) fail_reads: bool,
    pub(super) room: Option<u64>,
}

#[derive(Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    fn within(&self, dir: &Path) -> bool {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Rename(path, _, _)) = self;
        path.parent() == Some(dir)
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link(path, inode) => _ = names.insert(path, inode),
            Self::Unlink(path) => _ = names.remove(&path),
            Self::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: seed,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            locks: BTreeSet::new(),
            next_inode: 0,
            operations: 0,
            cut_at: None,
            off: false,
            fail_next_sync: false,
            fail_next_write: false,
            fail_reads: false,
            room: None,
        }
    }

    /// The next number of a splitmix64 sequence.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn cut_after(&mut self, operations: u64) {
        self.cut_at = Some(self.operations + operations);
    }

    pub(super) fn is_on(&self) -> bool {
        !self.off
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    /// Counts an operation; whether the power goes with it.
    fn goes_off(&mut self) -> io::Result<bool> {
        self.powered()?;
        self.off = self.cut_at == Some(self.operations);
        self.operations += 1;
        Ok(self.off)
    }

    fn powered(&self) -> io::Result<()> {
        if self.off {
            Err(io::Error::other("the power is off"))
        } else {
            Ok(())
        }
    }

    /// For changes: the one during which the power goes has begun and may be found partly done.
    fn after_change(&self) -> io::Result<()> {
        self.powered()
    }

    // --- names

    pub(super) fn lock(&mut self, path: &Path) -> io::Result<()> {
        self.powered()?;
        if self.locks.insert(path.to_owned()) {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    pub(super) fn unlock(&mut self, path: &Path) {
        self.locks.remove(path);
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.powered()?;
        let inside = self.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        self.goes_off()?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, Inode::default());
        self.change_name(NameChange::Link(path.to_owned(), inode))?;
        Ok(inode)
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<u64> {
        self.powered()?;
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.goes_off()?;
        let inode = *self.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), inode))
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.goes_off()?;
        if !self.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_name(NameChange::Unlink(path.to_owned()))
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        self.pending_names.push(change.clone());
        change.apply(&mut self.names);
        self.after_change()
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        if self.goes_off()? {
            return self.powered();
        }
        for change in self
            .pending_names
            .extract_if(.., |change| change.within(dir))
        {
            change.apply(&mut self.durable_names);
        }
        Ok(())
    }

    // --- content

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.files
            .get_mut(&inode)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn len(&mut self, inode: u64) -> io::Result<u64> {
        self.powered()?;
        Ok(self.inode(inode)?.content.len() as u64)
    }

    pub(super) fn read_at(&mut self, inode: u64, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.powered()?;
        if self.fail_reads {
            return Err(io::Error::other("the sector cannot be read"));
        }
        let content = &self.inode(inode)?.content;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    pub(super) fn write_at(&mut self, inode: u64, buf: &[u8], offset: u64) -> io::Result<()> {
        self.goes_off()?;
        let offset = offset as usize;
        let len = self.inode(inode)?.content.len();
        let growth = (offset + buf.len()).saturating_sub(len) as u64;
        let (mut written, mut failure) = (buf, None);
        if std::mem::take(&mut self.fail_next_write) {
            written = &buf[..buf.len() / 2];
            failure = Some(io::Error::other("the write failed"));
        } else if let Some(room) = &mut self.room {
            let fits = growth.min(*room);
            *room -= fits;
            if fits < growth {
                written = &buf[..(len + fits as usize).saturating_sub(offset).min(buf.len())];
                failure = Some(io::ErrorKind::StorageFull.into());
            }
        }
        let change = Change::Write {
            offset,
            bytes: written.to_vec(),
        };
        let file = self.inode(inode)?;
        apply(&mut file.content, &change);
        file.pending.push(change);
        failure.map_or_else(|| self.after_change(), Err)
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) -> io::Result<()> {
        self.goes_off()?;
        let file = self.inode(inode)?;
        let change = Change::SetLen(len as usize);
        let freed = file.content.len() as u64 - len.min(file.content.len() as u64);
        apply(&mut file.content, &change);
        file.pending.push(change);
        self.room = self.room.map(|room| room + freed);
        self.after_change()
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        if self.goes_off()? {
            return self.powered();
        }
        if std::mem::take(&mut self.fail_next_sync) {
            // The bytes stay visible, are no longer dirty, and never reach the disk.
            self.inode(inode)?.pending.clear();
            return Err(io::Error::other("the sync failed"));
        }
        let file = self.inode(inode)?;
        for change in std::mem::take(&mut file.pending) {
            apply(&mut file.durable, &change);
        }
        Ok(())
    }

    pub(super) fn damage(&mut self, path: &Path, offset: u64, mask: u8) {
        let Some(file) = self
            .names
            .get(path)
            .and_then(|inode| self.files.get_mut(inode))
        else {
            return;
        };
        for content in [&mut file.content, &mut file.durable] {
            if let Some(byte) = content.get_mut(offset as usize) {
                *byte ^= mask;
            }
        }
    }

    // --- the power cut

    /// What is found when the power is back. This state is dead from here on.
    pub(super) fn after_power_cut(&mut self, seed: u64, tear: Tear) -> Self {
        self.off = true;
        let mut after = Self::new(seed);
        after.next_inode = self.next_inode;
        after.durable_names = self.durable_names.clone();
        for change in &self.pending_names {
            if after.random().is_multiple_of(2) {
                change.clone().apply(&mut after.durable_names);
            }
        }
        after.names = after.durable_names.clone();
        for (inode, file) in &self.files {
            let mut content = file.durable.clone();
            for change in &file.pending {
                after.survive(&mut content, change, tear);
            }
            let durable = content.clone();
            after.files.insert(
                *inode,
                Inode {
                    content,
                    durable,
                    pending: Vec::new(),
                },
            );
        }
        after
    }

    /// Keeps, drops or tears one change.
    fn survive(&mut self, content: &mut Vec<u8>, change: &Change, tear: Tear) {
        match (self.random() % 3, change) {
            (0, _) | (2, Change::SetLen(_)) => {}
            (2, Change::Write { offset, bytes }) => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = self.piece_end(*offset, from, bytes.len(), tear);
                    if self.random().is_multiple_of(2) {
                        let bytes = bytes[from..to].to_vec();
                        apply(
                            content,
                            &Change::Write {
                                offset: offset + from,
                                bytes,
                            },
                        );
                    }
                    from = to;
                }
            }
            (_, change) => apply(content, change),
        }
    }

    /// Where the piece of a torn write that begins at `from` ends.
    fn piece_end(&mut self, offset: usize, from: usize, len: usize, tear: Tear) -> usize {
        let end = match tear {
            Tear::Byte => from + 1 + self.random() as usize % len,
            Tear::Sector => (offset + from + 1).next_multiple_of(SECTOR) - offset,
        };
        end.min(len)
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            if content.len() < offset + bytes.len() {
                content.resize(offset + bytes.len(), 0);
            }
            content[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Change::SetLen(len) => content.resize(*len, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(sync_file: bool, sync_dir: bool, seed: u64) -> Option<Vec<u8>> {
        let (mut state, path) = (State::new(1), Path::new("d/f"));
        let inode = state.create(path).unwrap();
        state.write_at(inode, &[7; 2000], 0).unwrap();
        if sync_file {
            state.sync(inode).unwrap();
        }
        if sync_dir {
            state.sync_dir(Path::new("d")).unwrap();
        }
        let after = state.after_power_cut(seed, Tear::Sector);
        let inode = after.open(path).ok()?;
        Some(after.files[&inode].content.clone())
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_be_kept_dropped_or_torn() {
        let outcomes: BTreeSet<_> = (0..200).map(|seed| after(false, true, seed)).collect();
        assert!(outcomes.contains(&Some(vec![])));
        assert!(outcomes.contains(&Some(vec![7; 2000])));
        assert!(outcomes.len() > 4, "some are torn");
        assert!((0..50).all(|seed| after(true, true, seed) == Some(vec![7; 2000])));
        assert!(
            (0..50).any(|seed| after(true, false, seed).is_none()),
            "the name was lost"
        );
    }

    #[test]
    fn nothing_works_without_power() {
        let mut state = State::new(1);
        state.cut_after(1);
        let inode = state.create(Path::new("d/f")).unwrap();
        assert!(state.write_at(inode, b"x", 0).is_err());
        assert!(state.sync(inode).is_err());
        assert!(state.open(Path::new("d/f")).is_err());
    }
}

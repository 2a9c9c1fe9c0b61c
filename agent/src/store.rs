//! Where the agent keeps what must outlive it: three operations over a handful of entries, so that
//! another back end (Kubernetes Secrets) can take the place of the directory.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Mutex;
use zen_chassis::files::{self, FileError};
use zen_proto::ids::PlaneId;
use zen_proto::limits;
use zeroize::Zeroizing;

/// One thing that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The sealed bundle that an operator put there.
    Bundle,
    /// The age identity that opens it.
    BundleIdentity,
    /// Key pairs the control plane was, or is about to be, asked to certify.
    Pending,
    /// The plane's identity.
    Identity,
    /// The last good snapshot.
    Snapshot,
}

impl Entry {
    /// Every entry.
    pub const ALL: [Self; 5] = [
        Self::Bundle,
        Self::BundleIdentity,
        Self::Pending,
        Self::Identity,
        Self::Snapshot,
    ];

    /// Largest content that is read, bytes.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            // One byte more than a bundle may have, so that a larger one is named unreadable.
            Self::Bundle => limits::BUNDLE + 1,
            Self::BundleIdentity => 64 * 1024,
            Self::Pending | Self::Identity => 1024 * 1024,
            Self::Snapshot => limits::SNAPSHOT + 64 * 1024,
        }
    }
}

/// Content of an entry, wiped when dropped: most of them are secret.
pub type Content = Zeroizing<Vec<u8>>;

/// The store failed.
#[derive(Debug, thiserror::Error)]
#[error("the agent's store failed")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps entries. Each operation is atomic and, when it answers, durable; operations started one
/// after the other take effect in that order, even if the caller no longer waits for the first.
pub trait Store: Send + Sync + 'static {
    /// The entry's content, or nothing if it is not there.
    fn read(&self, entry: Entry) -> BoxFuture<'_, Result<Option<Content>, StoreError>>;
    /// Replaces the entry.
    fn write(&self, entry: Entry, content: Content) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Removes the entry; one that is not there is fine.
    fn remove(&self, entry: Entry) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The plane was retired: what the store keeps of it beside its entries goes.
    fn retire(&self, _plane: PlaneId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Entries as files of mode 0600.
pub struct Directory {
    state_dir: PathBuf,
    bundle_file: PathBuf,
    identity_file: PathBuf,
    /// Held by the operation under way, also when nobody waits for it any more.
    turn: Arc<Mutex<()>>,
}

impl Directory {
    /// Makes `state_dir` (0700) if it is not there; bundle and its identity are where an operator
    /// puts them.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(
        state_dir: PathBuf,
        bundle_file: PathBuf,
        identity_file: PathBuf,
    ) -> Result<Self, FileError> {
        files::make_private_folder(&state_dir)?;
        // A place for the operator to put the bundle, if it is ours to make.
        if let Some(folder) = bundle_file
            .parent()
            .filter(|folder| folder.starts_with(&state_dir))
        {
            files::make_private_folder(folder)?;
        }
        Ok(Self {
            state_dir,
            bundle_file,
            identity_file,
            turn: Arc::default(),
        })
    }

    fn path(&self, entry: Entry) -> PathBuf {
        match entry {
            Entry::Bundle => self.bundle_file.clone(),
            Entry::BundleIdentity => self.identity_file.clone(),
            Entry::Pending => self.state_dir.join("pending.json"),
            Entry::Identity => self.state_dir.join("identity.json"),
            Entry::Snapshot => self.state_dir.join("snapshot.bin"),
        }
    }

    /// Runs a file operation after all those before it, and to its end.
    fn in_turn<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> Result<T, FileError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        Box::pin(async move {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let done = tokio::task::spawn_blocking(move || {
                let outcome = operation();
                drop(turn);
                outcome
            });
            match done.await {
                Ok(outcome) => outcome.map_err(|error| StoreError(Box::new(error))),
                Err(error) => Err(StoreError(Box::new(error))),
            }
        })
    }
}

impl Store for Directory {
    fn read(&self, entry: Entry) -> BoxFuture<'_, Result<Option<Content>, StoreError>> {
        let path = self.path(entry);
        self.in_turn(move || Ok(files::read_if_there(&path, entry.limit())?.map(Zeroizing::new)))
    }

    fn write(&self, entry: Entry, content: Content) -> BoxFuture<'_, Result<(), StoreError>> {
        let path = self.path(entry);
        self.in_turn(move || files::write_durable(&path, &content, 0o600))
    }

    fn remove(&self, entry: Entry) -> BoxFuture<'_, Result<(), StoreError>> {
        let path = self.path(entry);
        self.in_turn(move || files::remove_durable(&path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn entries_are_private_files_that_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let store = Directory::open(
            state.clone(),
            state.join("enrollment/bundle.age"),
            state.join("enrollment/identity.txt"),
        )
        .unwrap();
        assert_eq!(
            std::fs::metadata(&state).unwrap().permissions().mode() & 0o777,
            0o700
        );
        for entry in Entry::ALL {
            assert!(store.read(entry).await.unwrap().is_none());
            store
                .write(entry, Zeroizing::new(b"content".to_vec()))
                .await
                .unwrap();
            assert_eq!(&**store.read(entry).await.unwrap().unwrap(), b"content");
            let mode = std::fs::metadata(store.path(entry))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{entry:?}");
            store.remove(entry).await.unwrap();
            store.remove(entry).await.unwrap();
            assert!(store.read(entry).await.unwrap().is_none());
        }
    }
}

//! The identities zen-lock opens with: files of a folder, read again and again, so that a key is
//! added or retired without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use zen_chassis::CancellationToken;
use zen_chassis::chain::Chain;
use zen_seal::{Identity, Recipient};

/// Pause between looks into the folder. A Secret's volume changes once a minute or so.
const LOOK: Duration = Duration::from_secs(1);
/// Identities at the most: each one that does not fit costs an opening one X25519.
const MOST: usize = 16;

/// The identities in force, the active one first. No Debug, no Display.
#[derive(Clone, Default)]
pub(crate) struct Identities(Vec<Identity>);

impl Identities {
    /// Reads every file of the folder. The active one is that of the given file name, or else the
    /// last by name; names that begin with a dot are not files of keys (`..data` of a volume).
    ///
    /// # Errors
    /// When the folder or a file cannot be read, a file is no identity, there are too many, or the
    /// active one is not there.
    pub(crate) fn read(folder: &Path, active: Option<&str>) -> anyhow::Result<Self> {
        let mut names = Vec::new();
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("identities_dir: {}", folder.display()))?;
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_str().context("identities_dir: a name is no text")?;
            if !name.starts_with('.') {
                names.push(name.to_owned());
            }
        }
        anyhow::ensure!(
            names.len() <= MOST,
            "identities_dir: more than {MOST} files"
        );
        // Newest first.
        names.sort_by(|a, b| b.cmp(a));
        if let Some(active) = active {
            let place = names.iter().position(|name| name == active);
            let place = place.with_context(|| format!("active_identity: no file {active:?}"))?;
            let name = names.remove(place);
            names.insert(0, name);
        }
        let identity = |name: String| {
            Identity::from_file(&folder.join(&name)).with_context(|| format!("identity {name:?}"))
        };
        let all: anyhow::Result<Vec<_>> = names.into_iter().map(identity).collect();
        Ok(Self(all?))
    }

    /// All of them, to open with.
    pub(crate) fn all(&self) -> &[Identity] {
        &self.0
    }

    /// Their public halves, the active one first.
    pub(crate) fn recipients(&self) -> Vec<Recipient> {
        self.0.iter().map(Identity::recipient).collect()
    }

    /// What new seals are for.
    pub(crate) fn active(&self) -> Option<Recipient> {
        self.0.first().map(Identity::recipient)
    }
}

/// The identities as they change. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keyring {
    identities: watch::Receiver<Arc<Identities>>,
}

/// Keeps a [`Keyring`] as the folder is.
pub(crate) struct KeyringKeeper {
    folder: PathBuf,
    active: Option<String>,
    identities: watch::Sender<Arc<Identities>>,
}

impl Keyring {
    /// The identities as they are now; none yet if the folder cannot be read, which is no reason
    /// not to start: the keeper looks again.
    pub(crate) fn open(folder: PathBuf, active: Option<String>) -> (Self, KeyringKeeper) {
        let now = Identities::read(&folder, active.as_deref());
        if let Err(error) = &now {
            tracing::error!(error = %Chain(error.as_ref()), "no identities");
        }
        let (sender, identities) = watch::channel(Arc::new(now.unwrap_or_default()));
        let keeper = KeyringKeeper {
            folder,
            active,
            identities: sender,
        };
        (Self { identities }, keeper)
    }

    /// The identities in force.
    pub(crate) fn now(&self) -> Arc<Identities> {
        self.identities.borrow().clone()
    }

    /// To wait for changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Identities>> {
        self.identities.clone()
    }
}

impl KeyringKeeper {
    /// Reads again and again until shutdown. A folder that cannot be read, or that lost all its
    /// files, changes nothing: what is in force stays.
    pub(crate) async fn keep(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut said = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
            let (folder, active) = (self.folder.clone(), self.active.clone());
            let read = move || Identities::read(&folder, active.as_deref());
            let problem = match tokio::task::spawn_blocking(read).await? {
                Ok(new) if new.0.is_empty() => Some("the folder holds no identity".to_owned()),
                Ok(new) => {
                    self.take(new);
                    None
                }
                Err(error) => Some(Chain(error.as_ref()).to_string()),
            };
            if problem != said {
                if let Some(problem) = &problem {
                    tracing::error!(%problem, "identities stay as they were");
                }
                said = problem;
            }
        }
    }

    fn take(&self, new: Identities) {
        let recipients = new.recipients();
        if recipients == self.identities.borrow().recipients() {
            return;
        }
        let key_ids: Vec<_> = recipients.iter().map(Recipient::key_id).collect();
        tracing::info!(?key_ids, "identities changed, the first is for new seals");
        self.identities.send_replace(Arc::new(new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str) -> Recipient {
        let identity = Identity::generate();
        std::fs::write(folder.join(name), identity.to_secret_text().as_bytes()).unwrap();
        identity.recipient()
    }

    #[test]
    fn the_last_by_name_is_active_unless_another_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let old = put(folder.path(), "2026-01.txt");
        let new = put(folder.path(), "2026-02.txt");
        std::fs::create_dir(folder.path().join("..data")).unwrap();
        let read = Identities::read(folder.path(), None).unwrap();
        assert_eq!(read.recipients(), [new.clone(), old.clone()]);
        let read = Identities::read(folder.path(), Some("2026-01.txt")).unwrap();
        assert_eq!(read.recipients(), [old, new]);
        assert!(Identities::read(folder.path(), Some("2026-03.txt")).is_err());
    }

    #[tokio::test]
    async fn a_key_is_added_and_retired_live_and_a_broken_folder_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let old = put(folder.path(), "1");
        let (keyring, keeper) = Keyring::open(folder.path().to_owned(), None);
        let shutdown = CancellationToken::new();
        let keeping = tokio::spawn(keeper.keep(shutdown.clone()));
        let mut changes = keyring.watch();
        let new = put(folder.path(), "2");
        changes.wait_for(|all| all.0.len() == 2).await.unwrap();
        assert_eq!(keyring.now().recipients(), [new.clone(), old]);
        std::fs::write(folder.path().join("3"), "no key").unwrap();
        std::fs::remove_file(folder.path().join("1")).unwrap();
        let before = Identities::read(folder.path(), None).err().unwrap();
        assert!(format!("{before:#}").contains("\"3\""));
        std::fs::remove_file(folder.path().join("3")).unwrap();
        changes.wait_for(|all| all.0.len() == 1).await.unwrap();
        assert_eq!(keyring.now().active(), Some(new));
        shutdown.cancel();
        keeping.await.unwrap().unwrap();
    }
}

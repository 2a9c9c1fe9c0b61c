//! Where the plane's own secrets come from: a folder that the operator keeps, then the agent's
//! slice, which is the control plane's. Ciphertext only; each look sees what is there now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use zen_chassis::chain::Chain;
use zen_chassis::files;
use zen_chassis::neighbour::Neighbour;
use zen_proto::agent::v1::Slice;
use zen_proto::codes::SecretCode;
use zen_proto::limits;

/// How a secret's file in the folder ends.
const ENDING: &str = ".age";
/// Files of the folder that are listed at the most.
const FILES: usize = 10_000;

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file of `sealed_dir`.
    Folder,
    /// The control plane's, of this id and stored version.
    Slice {
        /// `sec_…`
        id: String,
        /// Grows with each version that was stored.
        version: u64,
    },
}

impl Place {
    /// One word for it.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Folder => "sealed_dir",
            Self::Slice { .. } => "control plane",
        }
    }
}

/// A secret as it was found.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) place: Place,
    /// Its ciphertext, or why it cannot be read.
    pub(crate) sealed: Result<Arc<str>, SecretCode>,
    /// Whether another place has a secret of this name, too.
    pub(crate) shadows: bool,
}

/// The places. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    folder: Option<Arc<PathBuf>>,
    slice: Option<watch::Receiver<Option<Arc<Slice>>>>,
}

impl Sources {
    pub(crate) fn new(
        folder: Option<PathBuf>,
        slice: Option<watch::Receiver<Option<Arc<Slice>>>>,
    ) -> Self {
        Self {
            folder: folder.map(Arc::new),
            slice,
        }
    }

    /// The secret of this name, which must be a name: a file of it is read. Blocking.
    ///
    /// # Errors
    /// [`SecretCode::Unknown`], or why its file cannot be a secret;
    /// [`SecretCode::LockUnreachable`] as long as it is not known which secrets there are.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<str>, SecretCode> {
        if let Some(sealed) = self.of_folder(name) {
            return sealed;
        }
        let slice = self.slice();
        if slice.is_none() && self.slice.is_some() {
            return Err(SecretCode::LockUnreachable);
        }
        let stored = Neighbour::snapshot(&slice).into_iter();
        let mut stored = stored.flat_map(|snapshot| &snapshot.secrets);
        let secret = stored.find(|secret| secret.name == name);
        secret
            .map(|secret| secret.sealed.as_str().into())
            .ok_or(SecretCode::Unknown)
    }

    /// Every secret there is, by name. Blocking.
    pub(crate) fn all(&self) -> BTreeMap<String, Found> {
        let mut all = BTreeMap::new();
        let slice = self.slice();
        for secret in Neighbour::snapshot(&slice)
            .into_iter()
            .flat_map(|snapshot| &snapshot.secrets)
        {
            let found = Found {
                place: Place::Slice {
                    id: secret.id.clone(),
                    version: secret.version,
                },
                sealed: Ok(secret.sealed.as_str().into()),
                shadows: false,
            };
            all.insert(secret.name.clone(), found);
        }
        for name in self.names_of_folder() {
            let Some(sealed) = self.of_folder(&name) else {
                continue;
            };
            let found = Found {
                place: Place::Folder,
                sealed,
                shadows: all.contains_key(&name),
            };
            all.insert(name, found);
        }
        all
    }

    /// To wait for another slice.
    pub(crate) fn slices(&self) -> Option<watch::Receiver<Option<Arc<Slice>>>> {
        self.slice.clone()
    }

    fn slice(&self) -> Option<Arc<Slice>> {
        self.slice.as_ref()?.borrow().clone()
    }

    /// Nothing if there is no such file.
    fn of_folder(&self, name: &str) -> Option<Result<Arc<str>, SecretCode>> {
        let path = self.folder.as_ref()?.join(format!("{name}{ENDING}"));
        let read = files::read_if_there(&path, limits::SECRET_SEALED);
        let sealed = match read.transpose()? {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_binary| SecretCode::NotAge),
            Err(error) if error.source.kind() == std::io::ErrorKind::FileTooLarge => {
                Err(SecretCode::TooLarge)
            }
            Err(error) => {
                // Never the other place's in its stead: what is in force must not depend on it.
                tracing::error!(name, error = %Chain(&error), "a secret's file cannot be read");
                Err(SecretCode::LockUnreachable)
            }
        };
        Some(sealed.map(Into::into))
    }

    fn names_of_folder(&self) -> Vec<String> {
        let Some(folder) = &self.folder else {
            return Vec::new();
        };
        let entries = match std::fs::read_dir(folder.as_path()) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "sealed_dir cannot be read");
                return Vec::new();
            }
        };
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let file = entry.ok()?.file_name();
            let name = file.to_str()?.strip_suffix(ENDING)?;
            (!name.is_empty() && !name.starts_with('.')).then(|| name.to_owned())
        };
        entries.filter_map(name).take(FILES).collect()
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::snapshot::v1::{Secret, Snapshot};

    use super::*;

    fn slice(secrets: &[(&str, &str)]) -> watch::Receiver<Option<Arc<Slice>>> {
        let secrets = secrets.iter().map(|(name, sealed)| Secret {
            id: format!("sec_{name}"),
            name: (*name).to_owned(),
            sealed: (*sealed).to_owned(),
            version: 3,
        });
        let snapshot = Snapshot {
            secrets: secrets.collect(),
            ..Snapshot::default()
        };
        let slice = Slice {
            snapshot: Some(snapshot),
            ..Slice::default()
        };
        watch::channel(Some(Arc::new(slice))).1
    }

    #[test]
    fn a_name_in_both_places_is_taken_from_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("both.age"), "from the folder").unwrap();
        std::fs::write(folder.path().join("note.txt"), "no secret").unwrap();
        let slice = slice(&[("both", "from the slice"), ("one", "too")]);
        let sources = Sources::new(Some(folder.path().to_owned()), Some(slice));
        assert_eq!(&*sources.find("both").unwrap(), "from the folder");
        assert_eq!(&*sources.find("one").unwrap(), "too");
        assert_eq!(sources.find("none"), Err(SecretCode::Unknown));
        let all = sources.all();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["both", "one"]);
        assert!(all["both"].shadows && all["both"].place == Place::Folder);
        assert!(!all["one"].shadows);
    }

    #[test]
    fn a_file_that_is_no_secret_is_not_replaced_by_another_place() {
        let folder = tempfile::tempdir().unwrap();
        let big = vec![b'x'; limits::SECRET_SEALED + 1];
        std::fs::write(folder.path().join("big.age"), big).unwrap();
        std::fs::write(folder.path().join("binary.age"), [0xff, 0xfe]).unwrap();
        std::fs::create_dir(folder.path().join("folder.age")).unwrap();
        let slice = slice(&[("big", "x"), ("binary", "x"), ("folder", "x")]);
        let sources = Sources::new(Some(folder.path().to_owned()), Some(slice));
        assert_eq!(sources.find("big"), Err(SecretCode::TooLarge));
        assert_eq!(sources.find("binary"), Err(SecretCode::NotAge));
        assert_eq!(sources.find("folder"), Err(SecretCode::LockUnreachable));
    }

    #[test]
    fn before_a_configuration_no_secret_is_called_unknown() {
        let (sender, slice) = watch::channel(None);
        let sources = Sources::new(None, Some(slice));
        assert_eq!(sources.find("a"), Err(SecretCode::LockUnreachable));
        sender.send_replace(Some(Arc::default()));
        assert_eq!(sources.find("a"), Err(SecretCode::Unknown));
    }
}

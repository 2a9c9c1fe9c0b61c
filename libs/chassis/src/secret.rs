//! Secrets by reference: configuration names `file:<name>`, a file in the component's secrets
//! directory, or `lock:<name>`, which zen-lock opens; the value never travels with it.

mod client;
mod opened;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use zen_proto::codes::SecretCode;
use zen_proto::purpose::Purpose;
use zeroize::Zeroizing;

use crate::files::{self, FileError};

pub use client::LockClient;
pub use opened::{Opened, Wanted};

const LARGEST_SECRET: usize = 64 * 1024;
/// Longest name of a secret, and of one of its values.
const LONGEST_NAME: usize = 253;

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// A file of this name in the component's secrets directory.
    File(String),
    /// A secret that zen-lock opens.
    Lock {
        /// Its name.
        name: String,
        /// Which of its values; none: the only one, or that named `value`.
        key: Option<String>,
    },
}

/// The text is no reference to a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is named `file:<name>`, `lock:<name>` or `lock:<name>/<key>`, name and key made of \
     letters, digits, `.`, `_`, `-` and not starting with a dot"
)]
pub struct SecretRefError;

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name = |text: &str| {
            let fits = (1..=LONGEST_NAME).contains(&text.len());
            match fits && !text.starts_with('.') && text.chars().all(plain) {
                true => Ok(text.to_owned()),
                false => Err(SecretRefError),
            }
        };
        match text.split_once(':').ok_or(SecretRefError)? {
            ("file", file) => Ok(Self::File(name(file)?)),
            ("lock", secret) => {
                let (secret, key) = match secret.split_once('/') {
                    Some((secret, key)) => (secret, Some(name(key)?)),
                    None => (secret, None),
                };
                let name = name(secret)?;
                Ok(Self::Lock { name, key })
            }
            _ => Err(SecretRefError),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file:{name}"),
            Self::Lock { name, key: None } => write!(f, "lock:{name}"),
            Self::Lock {
                name,
                key: Some(key),
            } => write!(f, "lock:{name}/{key}"),
        }
    }
}

/// A secret's bytes, wiped when the last holder lets go of them. No Debug, no Display; the one way
/// to them is [`Secret::expose`].
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// The bytes, for the moment they are used.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The reference is malformed.
    #[error("not a reference to a secret: {0:?}")]
    Reference(String, #[source] SecretRefError),
    /// The file is missing or unreadable.
    #[error("secret {0} cannot be read")]
    Unreadable(SecretRef, #[source] FileError),
    /// The file holds nothing.
    #[error("secret {0} is empty")]
    Empty(SecretRef),
    /// There is no zen-lock to ask.
    #[error("secret {0} needs zen-lock, which this component is not told of (setting `lock`)")]
    NoLock(SecretRef),
    /// zen-lock did not open it.
    #[error("secret {0} is not open, {1}: {remedy}", remedy = .1.remedy())]
    Lock(SecretRef, SecretCode),
}

impl SecretError {
    /// Stable code for people.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Reference(..) => "SECRET_REFERENCE_INVALID",
            Self::Unreadable(..) => "SECRET_UNREADABLE",
            Self::Empty(_) => "SECRET_EMPTY",
            Self::NoLock(_) => "SECRET_NEEDS_LOCK",
            Self::Lock(_, code) => code.code(),
        }
    }
}

/// The secrets a component may use.
#[derive(Clone)]
pub struct SecretStore {
    folder: PathBuf,
    opened: Option<Opened>,
}

impl SecretStore {
    /// Secrets that are files in `folder`, and none of zen-lock.
    #[must_use]
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self {
            folder,
            opened: None,
        }
    }

    /// The same, and those that zen-lock opened, if there is one.
    #[must_use]
    pub fn with_opened(mut self, opened: Option<Opened>) -> Self {
        self.opened = opened;
        self
    }

    /// Reads a secret now, for this purpose; one line end at the end of a file is not part of it.
    /// What zen-lock opens is looked up, not asked for: a [`LockClient`] keeps it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn read(&self, reference: &str, purpose: Purpose) -> Result<Secret, SecretError> {
        let parsed: SecretRef = reference
            .parse()
            .map_err(|e| SecretError::Reference(reference.to_owned(), e))?;
        match parsed {
            SecretRef::File(name) => self.read_file(name),
            SecretRef::Lock { .. } => match &self.opened {
                None => Err(SecretError::NoLock(parsed)),
                Some(opened) => match opened.get(&Wanted::of(&parsed, purpose)) {
                    Ok(secret) if secret.expose().is_empty() => Err(SecretError::Empty(parsed)),
                    Ok(secret) => Ok(secret),
                    Err(code) => Err(SecretError::Lock(parsed, code)),
                },
            },
        }
    }

    /// Whether zen-lock has not said anything yet of this secret: it is away or not set up, and
    /// nothing is held from before.
    #[must_use]
    pub fn is_awaited(&self, reference: &str, purpose: Purpose) -> bool {
        let Err(SecretError::Lock(_, code)) = self.read(reference, purpose) else {
            return false;
        };
        matches!(
            code,
            SecretCode::LockUnreachable | SecretCode::NoIdentity | SecretCode::CallerUnknown
        )
    }

    fn read_file(&self, name: String) -> Result<Secret, SecretError> {
        let read = files::read_capped(&self.folder.join(&name), LARGEST_SECRET);
        let parsed = SecretRef::File(name);
        let mut bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return Err(SecretError::Unreadable(parsed, error)),
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err(SecretError::Empty(parsed));
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_never_leaves_its_folder() {
        for text in [
            "file:../x",
            "file:a/b",
            "file:.x",
            "file:",
            "x",
            "env:HOME",
            "file:a\0",
            "file:a/b",
            "lock:",
            "lock:a/",
            "lock:/b",
            "lock:a/b/c",
            "lock:a/.b",
        ] {
            assert!(text.parse::<SecretRef>().is_err(), "{text:?} was taken");
        }
        assert_eq!(
            "file:github-1.key".parse(),
            Ok(SecretRef::File("github-1.key".to_owned()))
        );
    }

    #[test]
    fn a_reference_to_zen_lock_may_name_one_of_several_values() {
        for text in ["lock:db", "lock:db/password"] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
        let named = SecretRef::Lock {
            name: "db".to_owned(),
            key: Some("password".to_owned()),
        };
        assert_eq!("lock:db/password".parse(), Ok(named));
    }

    #[test]
    fn one_line_end_is_not_part_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), "value\n").unwrap();
        std::fs::write(folder.path().join("none"), "\n").unwrap();
        let store = SecretStore::in_folder(folder.path().to_owned());
        assert_eq!(
            store
                .read("file:one", Purpose::TargetAuth)
                .unwrap()
                .expose(),
            b"value"
        );
        assert!(matches!(
            store.read("file:none", Purpose::TargetAuth),
            Err(SecretError::Empty(_))
        ));
        assert!(matches!(
            store.read("file:absent", Purpose::TargetAuth),
            Err(SecretError::Unreadable(..))
        ));
        assert!(matches!(
            store.read("lock:one", Purpose::TargetAuth),
            Err(SecretError::NoLock(_))
        ));
    }
}

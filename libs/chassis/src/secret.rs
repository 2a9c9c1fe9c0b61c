//! Secrets by reference: configuration names `file:<name>`, the value is a file in the
//! component's secrets directory and never travels.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::files::{self, FileError};

const LARGEST_SECRET: usize = 64 * 1024;

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// A file of this name in the component's secrets directory.
    File(String),
    /// A secret that zen-lock opens.
    Lock(String),
}

/// The text is no reference to a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is named `file:<name>` or `lock:<name>`, the name made of letters, digits, `.`, `_`, \
     `-` and not starting with a dot"
)]
pub struct SecretRefError;

impl FromStr for SecretRef {
    type Err = SecretRefError;

    fn from_str(text: &str) -> Result<Self, SecretRefError> {
        let (kind, name) = text.split_once(':').ok_or(SecretRefError)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 253 || name.starts_with('.') || !name.chars().all(plain)
        {
            return Err(SecretRefError);
        }
        match kind {
            "file" => Ok(Self::File(name.to_owned())),
            "lock" => Ok(Self::Lock(name.to_owned())),
            _ => Err(SecretRefError),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file:{name}"),
            Self::Lock(name) => write!(f, "lock:{name}"),
        }
    }
}

/// A secret's bytes. No Debug, no Display; the one way to them is [`Secret::expose`].
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// The bytes, for the moment they are used.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
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
    #[error("secret {0} needs zen-lock, which this plane does not run")]
    NoLock(SecretRef),
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
        }
    }
}

/// The secrets a component may use.
#[derive(Clone, Debug)]
pub struct SecretStore {
    folder: PathBuf,
}

impl SecretStore {
    /// Secrets that are files in `folder`.
    #[must_use]
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Reads a secret now; one line end at its end is not part of it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn read(&self, reference: &str) -> Result<Secret, SecretError> {
        let parsed: SecretRef = reference
            .parse()
            .map_err(|e| SecretError::Reference(reference.to_owned(), e))?;
        let SecretRef::File(name) = &parsed else {
            return Err(SecretError::NoLock(parsed));
        };
        let mut bytes = match files::read_capped(&self.folder.join(name), LARGEST_SECRET) {
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
        ] {
            assert!(text.parse::<SecretRef>().is_err(), "{text:?} was taken");
        }
        assert_eq!(
            "file:github-1.key".parse(),
            Ok(SecretRef::File("github-1.key".to_owned()))
        );
    }

    #[test]
    fn one_line_end_is_not_part_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), "value\n").unwrap();
        std::fs::write(folder.path().join("none"), "\n").unwrap();
        let store = SecretStore::in_folder(folder.path().to_owned());
        assert_eq!(store.read("file:one").unwrap().expose(), b"value");
        assert!(matches!(
            store.read("file:none"),
            Err(SecretError::Empty(_))
        ));
        assert!(matches!(
            store.read("file:absent"),
            Err(SecretError::Unreadable(..))
        ));
        assert!(matches!(
            store.read("lock:one"),
            Err(SecretError::NoLock(_))
        ));
    }
}

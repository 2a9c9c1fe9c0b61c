//! The two halves of an age X25519 key pair.
//! An [`Identity`] opens and never shows itself; a [`Recipient`] closes and is public.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

/// Largest identity file that is read; one key with comments takes some 200 bytes.
const IDENTITY_FILE: u64 = 64 * 1024;

/// Why a text or file is no key. No variant quotes what was read: it may be half a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No line of the text is an age identity.
    #[error("there is no age identity (AGE-SECRET-KEY-1…) in the text")]
    NoIdentity,
    /// Several lines are age identities; which one is meant would be a guess.
    #[error("there are several age identities in the text, exactly one is wanted")]
    SeveralIdentities,
    /// A line is neither a comment nor an age X25519 identity.
    #[error("line {line} is not an age identity (AGE-SECRET-KEY-1…)")]
    Identity {
        /// The line, counted from 1.
        line: usize,
    },
    /// The text is no age X25519 recipient.
    #[error("{0:?} is not an age recipient (age1…)")]
    Recipient(String),
    /// The file could not be read as text.
    #[error("the identity file cannot be read")]
    File(#[source] io::Error),
}

/// An age X25519 secret key: opens what was closed for its [`Recipient`].
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

impl Identity {
    /// A fresh key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Reads one identity: the bare key, or what `age-keygen` writes (comments and blank lines
    /// around it).
    ///
    /// # Errors
    /// [`KeyError`] if there is no key, more than one, or a line that is something else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut found = None;
        for (place, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = line
                .parse()
                .map_err(|_| KeyError::Identity { line: place + 1 })?;
            if found.replace(Self(key)).is_some() {
                return Err(KeyError::SeveralIdentities);
            }
        }
        found.ok_or(KeyError::NoIdentity)
    }

    /// Reads the identity in the file, as [`Identity::parse`] does.
    ///
    /// # Errors
    /// [`KeyError`] if the file cannot be read, is larger than 64 KiB, or holds not exactly one
    /// key.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let mut file = File::open(path).map_err(KeyError::File)?;
        // The whole capacity at once: growing would leave copies of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(IDENTITY_FILE as usize + 64));
        let read = file
            .by_ref()
            .take(IDENTITY_FILE + 1)
            .read_to_string(&mut text);
        if read.map_err(KeyError::File)? as u64 > IDENTITY_FILE {
            return Err(KeyError::File(io::ErrorKind::FileTooLarge.into()));
        }
        Self::parse(&text)
    }

    /// The public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The key as `AGE-SECRET-KEY-1…`, for the one place that hands it to a person or a file.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    pub(crate) fn as_age(&self) -> &dyn age::Identity {
        &self.0
    }
}

/// An age X25519 public key, written `age1…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    /// Names the key in reports and logs: the first 16 hexadecimal digits of the SHA-256 of `age1…`.
    #[must_use]
    pub fn key_id(&self) -> String {
        let hash = digest(&SHA256, self.to_string().as_bytes());
        hash.as_ref()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    pub(crate) fn as_age(&self) -> &dyn age::Recipient {
        &self.0
    }
}

impl FromStr for Recipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        // People paste the wrong half: what starts like a secret must not land in an error's text.
        let shown = || match text.get(..4) {
            Some(start) if start.eq_ignore_ascii_case("AGE-") => "AGE-…".to_owned(),
            _ => text.chars().take(80).collect(),
        };
        text.parse()
            .map(Self)
            .map_err(|_| KeyError::Recipient(shown()))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_age_keygen_is_read_with_its_comments() {
        let identity = Identity::generate();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(
            file,
            "# created: 2026-01-01T00:00:00Z\n# public key: {}\n{}\n\n",
            identity.recipient(),
            *identity.to_secret_text()
        )
        .unwrap();
        let read = Identity::from_file(file.path()).unwrap();
        assert_eq!(read.recipient(), identity.recipient());
    }

    #[test]
    fn no_key_two_keys_and_other_text_are_told_apart() {
        let one = Identity::generate().to_secret_text();
        let two = Identity::generate().to_secret_text();
        assert!(matches!(
            Identity::parse("# nothing\n"),
            Err(KeyError::NoIdentity)
        ));
        let both = format!("{}\n{}", *one, *two);
        assert!(matches!(
            Identity::parse(&both),
            Err(KeyError::SeveralIdentities)
        ));
        let text = format!("# key\n{}x", *one);
        assert!(matches!(
            Identity::parse(&text),
            Err(KeyError::Identity { line: 2 })
        ));
    }

    #[test]
    fn a_huge_file_is_refused_without_being_read_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![b'#'; IDENTITY_FILE as usize + 2])
            .unwrap();
        assert!(matches!(
            Identity::from_file(file.path()),
            Err(KeyError::File(_))
        ));
    }

    #[test]
    fn a_secret_pasted_as_a_recipient_is_not_repeated_in_the_error() {
        let secret = Identity::generate().to_secret_text();
        let error = secret.parse::<Recipient>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret[16..]));
    }

    #[test]
    fn a_recipient_reads_back_as_written() {
        let recipient = Identity::generate().recipient();
        assert_eq!(
            recipient.to_string().parse::<Recipient>().unwrap(),
            recipient
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text: String) {
            let _identity = Identity::parse(&text).err();
            let _recipient = text.parse::<Recipient>().err();
        }
    }
}

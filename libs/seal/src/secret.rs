//! A secret bound to the place where it may be used: its content, how it is sealed and unsealed,
//! and how it is sealed again for other keys without a change.
//!
//! age proves neither who wrote a file nor where it belongs. So the plaintext is JSON that says
//! so: `{"version":1, "secret":{scope, whom it allows, values}, "seal":{key ids, time},
//! "writer":{key, signature}}`. The signature, which a writer may leave away, is over the very bytes
//! of `secret`; sealing again keeps those bytes and rewrites `seal` alone.

mod content;
mod scope;
mod writer;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zen_proto::codes::SecretCode;
use zen_proto::limits;
use zeroize::Zeroizing;

use crate::envelope::{CloseError, OpenError, close, open};
use crate::key::{Identity, Recipient};

pub use content::{ScopedSecret, SecretValue, Values};
pub use scope::{Realm, Scope, ScopeError};
pub use writer::{Writer, WriterError, WriterKey};

/// The version of the format this code writes and reads.
pub const SECRET_VERSION: u32 = 1;

/// How and when a secret was sealed. Rewritten by each sealing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Ids of the keys it was sealed for, see [`Recipient::key_id`].
    pub key_ids: Vec<String>,
    /// Unix milliseconds.
    pub sealed_at_ms: u64,
}

/// A secret after opening, authentic and of sound form; whether it is in its place is up to
/// [`Unsealed::for_scope`].
pub struct Unsealed {
    /// What was sealed.
    pub secret: ScopedSecret,
    /// How it was sealed last.
    pub seal: Seal,
    /// Who signed it, if it is signed; the signature holds.
    pub writer: Option<Writer>,
    /// Id of the key that opened it.
    pub opened_with: String,
}

/// Why a secret could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Its content is not what a secret may be.
    #[error("{what}")]
    Content {
        /// What is wrong, without the content.
        what: String,
    },
    /// More recipients than a secret may have.
    #[error(
        "a secret is sealed for at most {} recipients",
        limits::SECRET_RECIPIENTS
    )]
    Recipients,
    /// age refused.
    #[error("the secret cannot be sealed")]
    Close(#[from] CloseError),
}

/// Why a sealed secret was not opened. No variant quotes the content.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// There is no identity to open it with.
    #[error("there is no identity to open it with")]
    NoIdentity,
    /// Larger than any secret is.
    #[error("it is larger than {max} bytes")]
    TooLarge {
        /// [`limits::SECRET_SEALED`].
        max: usize,
    },
    /// The bytes are no age file.
    #[error("it is not an age file")]
    NotAge,
    /// The bytes end before the age file does.
    #[error("it is cut short")]
    Truncated,
    /// It was changed after it was sealed.
    #[error("it is damaged")]
    Damaged,
    /// It was sealed for other keys.
    #[error("it was sealed for another key")]
    WrongRecipient,
    /// Of a format this version does not know.
    #[error("it has version {found}, this program reads version {SECRET_VERSION}")]
    Version {
        /// The secret's version.
        found: u32,
    },
    /// Authentic, and yet no secret.
    #[error("its content is malformed: {what}")]
    Malformed {
        /// What is wrong, without the content.
        what: String,
    },
    /// Its writer's signature does not hold.
    #[error("the writer's signature does not hold")]
    Signature,
    /// Sealed for another place.
    #[error("it was sealed for another place than {wanted}")]
    Scope {
        /// Where it was found.
        wanted: Scope,
    },
}

impl UnsealError {
    /// The stable code for it.
    #[must_use]
    pub const fn code(&self) -> SecretCode {
        match self {
            Self::NoIdentity => SecretCode::NoIdentity,
            Self::TooLarge { .. } => SecretCode::TooLarge,
            Self::NotAge => SecretCode::NotAge,
            Self::Truncated => SecretCode::Truncated,
            Self::Damaged => SecretCode::Damaged,
            Self::WrongRecipient => SecretCode::WrongRecipient,
            Self::Version { .. } => SecretCode::Version,
            Self::Malformed { .. } => SecretCode::Malformed,
            Self::Signature => SecretCode::WriterUntrusted,
            Self::Scope { .. } => SecretCode::ScopeMismatch,
        }
    }
}

impl From<OpenError> for UnsealError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotAge => Self::NotAge,
            OpenError::Truncated => Self::Truncated,
            OpenError::WrongKey => Self::WrongRecipient,
            OpenError::Damaged => Self::Damaged,
            OpenError::TooLarge { max } => Self::TooLarge { max },
        }
    }
}

/// What is closed with age.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    secret: &'a RawValue,
    seal: &'a Seal,
    #[serde(skip_serializing_if = "Option::is_none")]
    writer: Option<&'a Writer>,
}

/// The same, read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    #[serde(rename = "version")]
    _version: u32,
    #[serde(borrow)]
    secret: &'a RawValue,
    seal: Seal,
    #[serde(default)]
    writer: Option<Writer>,
}

/// The part of every version's plaintext that is read first.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl ScopedSecret {
    /// The secret as armored age text for the recipients, signed by `writer` if there is one.
    /// `now_ms` is Unix milliseconds.
    ///
    /// # Errors
    /// When the content passes a limit, or there is no recipient, or too many.
    pub fn seal(
        &self,
        recipients: &[Recipient],
        writer: Option<&WriterKey>,
        now_ms: u64,
    ) -> Result<String, SealError> {
        self.check().map_err(|what| SealError::Content { what })?;
        let mut text = Zeroizing::new(Vec::with_capacity(self.room()));
        serde_json::to_writer(&mut *text, self).map_err(|e| content_error(&e))?;
        let secret: &RawValue = serde_json::from_slice(&text).map_err(|e| content_error(&e))?;
        let signed = writer.map(|key| key.sign(secret.get().as_bytes()));
        close_for(secret, signed.as_ref(), recipients, now_ms)
    }
}

/// Opens a sealed secret with whichever identity fits.
///
/// # Errors
/// [`UnsealError`], one variant per way to fail.
pub fn unseal(sealed: &[u8], identities: &[Identity]) -> Result<Unsealed, UnsealError> {
    let (plaintext, opened_with) = opened(sealed, identities)?;
    let read = read(&plaintext)?;
    let secret: ScopedSecret =
        serde_json::from_str(read.secret.get()).map_err(|e| malformed(&e))?;
    secret
        .check()
        .map_err(|what| UnsealError::Malformed { what })?;
    Ok(Unsealed {
        secret,
        seal: read.seal,
        writer: read.writer,
        opened_with,
    })
}

/// Seals the same content again, for these recipients. A writer's signature stays.
///
/// # Errors
/// As [`unseal`] when it does not open; [`ResealError::Seal`] when it cannot be sealed.
pub fn reseal(
    sealed: &[u8],
    identities: &[Identity],
    recipients: &[Recipient],
    now_ms: u64,
) -> Result<String, ResealError> {
    let (plaintext, _) = opened(sealed, identities)?;
    let read = read(&plaintext)?;
    Ok(close_for(
        read.secret,
        read.writer.as_ref(),
        recipients,
        now_ms,
    )?)
}

/// Why a secret was not sealed again.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It does not open.
    #[error("the secret does not open")]
    Unseal(#[from] UnsealError),
    /// It cannot be sealed.
    #[error("the secret cannot be sealed again")]
    Seal(#[from] SealError),
}

impl Unsealed {
    /// The secret, if it was sealed for this place. A copied or renamed one was not.
    ///
    /// # Errors
    /// [`UnsealError::Scope`].
    pub fn for_scope(self, wanted: &Scope) -> Result<Self, UnsealError> {
        if self.secret.scope == *wanted {
            Ok(self)
        } else {
            Err(UnsealError::Scope {
                wanted: wanted.clone(),
            })
        }
    }
}

fn close_for(
    secret: &RawValue,
    writer: Option<&Writer>,
    recipients: &[Recipient],
    now_ms: u64,
) -> Result<String, SealError> {
    if recipients.len() > limits::SECRET_RECIPIENTS {
        return Err(SealError::Recipients);
    }
    let seal = Seal {
        key_ids: recipients.iter().map(Recipient::key_id).collect(),
        sealed_at_ms: now_ms,
    };
    let written = Written {
        version: SECRET_VERSION,
        secret,
        seal: &seal,
        writer,
    };
    // Room for all of it: growing would leave copies of the values behind.
    let room = secret.get().len() + 64 * recipients.len() + 1024;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *plaintext, &written).map_err(|e| content_error(&e))?;
    Ok(close(&plaintext, recipients)?)
}

/// The plaintext, and the id of the key that opened it.
fn opened(
    sealed: &[u8],
    identities: &[Identity],
) -> Result<(Zeroizing<Vec<u8>>, String), UnsealError> {
    let max = limits::SECRET_SEALED;
    if sealed.len() > max {
        return Err(UnsealError::TooLarge { max });
    }
    let mut refused = UnsealError::NoIdentity;
    for identity in identities {
        match open(sealed, std::slice::from_ref(identity), max) {
            Ok(plaintext) => return Ok((plaintext, identity.recipient().key_id())),
            Err(error) => refused = error.into(),
        }
        if !matches!(refused, UnsealError::WrongRecipient) {
            break;
        }
    }
    Err(refused)
}

fn read(plaintext: &[u8]) -> Result<Read<'_>, UnsealError> {
    let Version { version } = serde_json::from_slice(plaintext).map_err(|e| malformed(&e))?;
    if version != SECRET_VERSION {
        return Err(UnsealError::Version { found: version });
    }
    let read: Read<'_> = serde_json::from_slice(plaintext).map_err(|e| malformed(&e))?;
    if let Some(writer) = &read.writer
        && !writer.signed(read.secret.get().as_bytes())
    {
        return Err(UnsealError::Signature);
    }
    Ok(read)
}

/// serde's own words may quote a value, and a value is a secret: only the place is told.
fn malformed(error: &serde_json::Error) -> UnsealError {
    let (line, column) = (error.line(), error.column());
    UnsealError::Malformed {
        what: format!("unexpected JSON at line {line} column {column}"),
    }
}

fn content_error(error: &serde_json::Error) -> SealError {
    let what = format!("it cannot be written as JSON (column {})", error.column());
    SealError::Content { what }
}

#[cfg(test)]
#[path = "secret/tests.rs"]
mod tests;

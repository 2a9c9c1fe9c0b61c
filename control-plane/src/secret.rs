//! A sealed secret: what a person sends of it, and what of that may be kept. Nothing here opens
//! one. What is not sealed is refused before it is written anywhere, and is never repeated. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zen_proto::codes::SecretCode;
use zen_proto::ids::{PlaneId, SecretId, TenantId};
use zen_proto::limits;
use zen_proto::snapshot::v1 as wire;
use zen_seal::{Realm, Recipient, Scope};

use crate::fields::Faults;
use crate::principal::Actor;
use crate::problem::Problem;

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
/// How an identity, the key that opens secrets, begins.
const IDENTITY: &str = "AGE-SECRET-KEY-";
/// First line of an age file.
const AGE: &[u8] = b"age-encryption.org/v1";
/// An X25519 recipient in an age file's header.
const X25519: &[u8] = b"-> X25519 ";
/// The least that follows a header: a nonce and the tag of an empty last piece.
const PAYLOAD: usize = 16 + 16;
/// Longest note, in characters.
const NOTE: usize = 500;

/// What a person writes about a secret. No `Debug`: before it is checked, `sealed` may be anything.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretBody {
    /// The plane it is sealed for; never changes.
    pub(crate) plane_id: String,
    /// What stands after `lock:`, a DNS name; never changes, because it is sealed in.
    #[schema(
        max_length = 253,
        pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"
    )]
    pub(crate) name: String,
    /// What `zen seal` wrote: armored age. Anything else is refused.
    #[schema(max_length = 262144)]
    pub(crate) sealed: String,
    /// The age public keys (`age1…`) that it was sealed for.
    #[schema(min_items = 1, max_items = 16)]
    pub(crate) recipients: Vec<String>,
    /// For people; nothing secret.
    #[serde(default)]
    #[schema(max_length = 500)]
    pub(crate) note: Option<String>,
}

/// A secret as it is kept, without the sealed text. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) id: SecretId,
    pub(crate) tenant: TenantId,
    pub(crate) plane: PlaneId,
    pub(crate) name: String,
    /// As the writer told, or as the plane's zen-lock sealed it again.
    pub(crate) recipients: Vec<String>,
    pub(crate) note: Option<String>,
    /// Counts what was stored of it.
    pub(crate) version: u64,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    /// Who stored this version.
    pub(crate) writer: Actor,
}

/// What a plane's zen-lock gets of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedSecret {
    pub(crate) id: SecretId,
    pub(crate) name: String,
    pub(crate) sealed: String,
    pub(crate) version: u64,
}

/// The secret as its plane is told.
pub(crate) fn to_wire(secret: &SealedSecret) -> wire::Secret {
    wire::Secret {
        id: secret.id.to_string(),
        name: secret.name.clone(),
        sealed: secret.sealed.clone(),
        version: secret.version,
    }
}

/// Why a text is no sealed secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSealed {
    /// It is the key that opens secrets.
    Identity,
    /// One of the codes that zen-lock has for it.
    Code(SecretCode),
}

impl From<NotSealed> for Problem {
    fn from(refused: NotSealed) -> Self {
        match refused {
            NotSealed::Identity => Self::secret_identity(
                "nothing was stored; this key has left its machine: take another one into use \
                 (zen-lock keygen), seal for that, and retire this one",
            ),
            NotSealed::Code(code) => {
                let what = "nothing was stored or logged";
                let detail = format!("{what}; {}", code.remedy());
                match code {
                    SecretCode::TooLarge => Self::secret_too_large(detail),
                    SecretCode::Truncated => Self::secret_truncated(detail),
                    SecretCode::Damaged => Self::secret_damaged(detail),
                    _ => Self::secret_not_age(format!(
                        "{detail}; if it was the secret itself, change it where it came from: it \
                         has left its machine"
                    )),
                }
            }
        }
    }
}

/// An age file in armor: its text as it is kept, and for how many X25519 keys it says to be.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) text: String,
    pub(crate) keys: usize,
}

/// Reads an armored age file as far as it can be read without a key.
///
/// # Errors
/// What it is not, without a word of it.
pub(crate) fn sealed(text: &str) -> Result<Sealed, NotSealed> {
    if holds_identity(text) {
        return Err(NotSealed::Identity);
    }
    let text = text.trim();
    let refuse = |code| Err(NotSealed::Code(code));
    if text.len() >= limits::SECRET_SEALED {
        return refuse(SecretCode::TooLarge);
    }
    let Some(rest) = text.strip_prefix(BEGIN) else {
        return refuse(SecretCode::NotAge);
    };
    let Some(inner) = rest.strip_suffix(END) else {
        return refuse(SecretCode::Truncated);
    };
    let lines: Vec<&str> = inner.trim().lines().map(str::trim_end).collect();
    let Ok(bytes) = STANDARD.decode(lines.concat()) else {
        return refuse(SecretCode::Damaged);
    };
    let keys = keys(&bytes).map_err(NotSealed::Code)?;
    let text = format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"));
    Ok(Sealed { text, keys })
}

/// The X25519 keys in an age file's header.
fn keys(bytes: &[u8]) -> Result<usize, SecretCode> {
    let mut rest = bytes;
    let mut keys = 0;
    let mut first = true;
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(if first {
                SecretCode::NotAge
            } else {
                SecretCode::Truncated
            });
        };
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        if first && line != AGE {
            return Err(SecretCode::NotAge);
        }
        if line.starts_with(b"--- ") {
            let whole = after.len() >= PAYLOAD;
            return whole.then_some(keys).ok_or(SecretCode::Truncated);
        }
        keys += usize::from(line.starts_with(X25519));
        (rest, first) = (after, false);
    }
}

fn holds_identity(text: &str) -> bool {
    text.to_ascii_uppercase().contains(IDENTITY)
}

/// The ids of keys, as reports and logs name them. What is no key has none.
pub(crate) fn key_ids(recipients: &[String]) -> Vec<String> {
    let keys = recipients
        .iter()
        .filter_map(|text| text.parse::<Recipient>().ok());
    keys.map(|key| key.key_id()).collect()
}

/// The name of the secret that a reference asks zen-lock for.
pub(crate) fn locked(reference: &str) -> Option<&str> {
    let rest = reference.strip_prefix("lock:")?;
    rest.split('/').next()
}

/// Whether zen-lock would take it for a secret's name.
pub(crate) fn is_name(name: &str) -> bool {
    // Whose it is makes no difference to a name.
    let scope = Scope {
        realm: Realm::Cluster("any".to_owned()),
        namespace: None,
        name: name.to_owned(),
    };
    scope.check().is_ok()
}

/// Checks whom a sealed text is for against what it says itself.
///
/// # Errors
/// What does not fit, without what was given.
pub(crate) fn check_recipients(recipients: &[String], keys: usize) -> Result<(), Faults> {
    let mut faults = Faults::default();
    let most = limits::SECRET_RECIPIENTS;
    if !(1..=most).contains(&recipients.len()) {
        faults.add("recipients", format!("1 to {most} age public keys"));
    }
    for (place, recipient) in recipients.iter().enumerate().take(most) {
        let plain = recipient.trim() == recipient;
        if !plain || recipient.parse::<Recipient>().is_err() {
            faults.add(&format!("recipients.{place}"), "an age public key (age1…)");
        } else if recipients[..place].contains(recipient) {
            faults.add(&format!("recipients.{place}"), "named twice");
        }
    }
    if keys == 0 {
        faults.add(
            "sealed",
            "sealed with a passphrase or keys of another kind: seal for age public keys (age1…)",
        );
    } else if keys != recipients.len() {
        faults.add(
            "recipients",
            format!("it is sealed for {keys} keys: name each of them"),
        );
    }
    faults.result()
}

impl SecretBody {
    /// Checks everything that does not need the store, and answers the text to keep.
    ///
    /// # Errors
    /// That it is not sealed, or all faults at once.
    pub(crate) fn check(&self) -> Result<Sealed, Problem> {
        let beside = [&self.name, &self.plane_id];
        let beside = beside.into_iter().chain(&self.note).chain(&self.recipients);
        if beside.into_iter().any(|text| holds_identity(text)) {
            return Err(NotSealed::Identity.into());
        }
        let sealed = sealed(&self.sealed)?;
        let mut faults = Faults::default();
        faults.require(
            is_name(&self.name),
            "name",
            "at most 253 lower-case letters, digits, - and ., a letter or digit at both ends",
        );
        if let Some(note) = &self.note {
            let fits = note.chars().count() <= NOTE && !note.chars().any(char::is_control);
            faults.require(fits, "note", "at most 500 characters, none of control");
        }
        if let Err(others) = check_recipients(&self.recipients, sealed.keys) {
            for fault in others.into_vec() {
                faults.add(&fault.field, fault.detail);
            }
        }
        faults.result()?;
        Ok(sealed)
    }
}

#[cfg(test)]
#[path = "secret/tests.rs"]
mod tests;

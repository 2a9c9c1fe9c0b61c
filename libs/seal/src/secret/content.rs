//! What is sealed: values by name, the place they belong to, and whom they are for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zen_proto::limits;
use zen_proto::purpose::Purpose;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::scope::{Scope, is_name};

/// The key that is meant when a secret of several values is asked for without one.
const DEFAULT_KEY: &str = "value";

/// One value, wiped when dropped. No Debug, no Display.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// The bytes, for the moment they are used.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Values by their key.
pub type Values = BTreeMap<String, SecretValue>;

/// A secret's content.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopedSecret {
    /// Where it opens.
    pub scope: Scope,
    /// Service accounts of the scope's namespace whose pods may have it. None: no pod.
    #[serde(default)]
    pub service_accounts: Vec<String>,
    /// What the plane's components may use it for. None: no component.
    #[serde(default, with = "purposes")]
    pub purposes: Vec<Purpose>,
    /// When it was written, Unix milliseconds.
    pub created_at_ms: u64,
    /// Random, new with each content: tells one content from another without telling about it.
    pub version: String,
    /// The values.
    pub values: Values,
}

impl ScopedSecret {
    /// The value of a key; without one the only value, or that of the key `value`.
    #[must_use]
    pub fn value(&self, key: Option<&str>) -> Option<&SecretValue> {
        match key {
            Some(key) => self.values.get(key),
            None if self.values.len() == 1 => self.values.values().next(),
            None => self.values.get(DEFAULT_KEY),
        }
    }

    /// Says what is wrong with it, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        self.scope.check().map_err(|error| error.to_string())?;
        let bytes = |value: &SecretValue| value.0.len();
        let rules = [
            (!self.values.is_empty(), "there is no value in it"),
            (
                self.values.len() <= limits::SECRET_KEYS,
                "it has more than 64 values",
            ),
            (
                self.values.keys().all(|key| is_key(key)),
                "a key is 1 to 253 letters, digits, `-`, `_`, `.`, and not `.` or `..`",
            ),
            (
                self.values
                    .values()
                    .all(|value| bytes(value) <= limits::SECRET_VALUE),
                "a value is larger than 64 KiB",
            ),
            (
                self.values.values().map(bytes).sum::<usize>() <= limits::SECRET_VALUES,
                "its values are larger than 128 KiB together",
            ),
            (
                self.service_accounts.len() <= limits::SECRET_SERVICE_ACCOUNTS,
                "it names more than 64 service accounts",
            ),
            (
                self.service_accounts.iter().all(|name| is_name(name)),
                "a service account is named as Kubernetes does (RFC 1123), without its namespace",
            ),
            (
                self.service_accounts.is_empty() || self.scope.namespace.is_some(),
                "service accounts need a namespace in the scope",
            ),
            (
                self.purposes.is_empty() || self.scope.namespace.is_none(),
                "purposes are for a plane's own secrets, whose scope has no namespace",
            ),
            (
                self.version.len() == 32 && self.version.bytes().all(|b| b.is_ascii_hexdigit()),
                "its version is not 32 hexadecimal digits",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(what.to_owned()),
            None => Ok(()),
        }
    }

    /// Bytes that its JSON does not pass.
    pub(super) fn room(&self) -> usize {
        let values = self.values.iter();
        let values: usize = values.map(|(key, v)| key.len() + 2 * v.0.len() + 16).sum();
        let accounts: usize = self.service_accounts.iter().map(|a| a.len() + 8).sum();
        values + accounts + 2048
    }
}

/// Whether a text may be a key: as Kubernetes has it for keys of a Secret, and safe as a file name.
fn is_key(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=253).contains(&text.len()) && text.chars().all(plain) && text != "." && text != ".."
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Zeroizing::new(STANDARD.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        let bytes = STANDARD.decode(text.as_bytes());
        if let Cow::Owned(mut copy) = text {
            copy.zeroize();
        }
        let bytes = bytes.map_err(|_| de::Error::custom("a value is not base64"))?;
        Ok(Self(bytes))
    }
}

/// Purposes as their words.
mod purposes {
    use super::{Deserialize, Deserializer, Purpose, Serializer, de};

    pub(super) fn serialize<S: Serializer>(all: &[Purpose], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(|purpose| purpose.as_str()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Purpose>, D::Error> {
        let words = Vec::<String>::deserialize(from)?;
        let purposes = words.iter().map(|word| word.parse());
        purposes
            .collect::<Result<_, _>>()
            .map_err(|_| de::Error::custom("an unknown purpose"))
    }
}

//! Who wrote a secret: an Ed25519 key (RFC 8032) whose holder signs, and its public half by which
//! zen-lock knows whom to believe.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Stands before what is signed, so that a signature means nothing elsewhere.
const CONTEXT: &[u8] = b"zen secret v1\n";
const SECRET: &str = "ZEN-WRITER-SECRET-1";
const PUBLIC: &str = "zenwriter1";

/// The text is no writer's key. It is not quoted: it may be half a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriterError {
    /// Not the secret half.
    #[error("this is not a writer's secret key ({SECRET}…)")]
    Secret,
    /// Not the public half.
    #[error("this is not a writer's public key ({PUBLIC}…)")]
    Public,
}

/// A writer's secret key, wiped when dropped. No Debug, no Display.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct WriterKey([u8; 32]);

impl WriterKey {
    /// A key of these bytes, which come from the caller's randomness.
    #[must_use]
    pub const fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// Reads the secret half; comments (`#`) and blank lines around it are passed over.
    ///
    /// # Errors
    /// [`WriterError::Secret`].
    pub fn parse(text: &str) -> Result<Self, WriterError> {
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        let encoded = line.and_then(|line| line.strip_prefix(SECRET));
        let mut seed = Zeroizing::new([0_u8; 34]);
        let length = encoded.and_then(|e| BASE64.decode_slice(e, seed.as_mut_slice()).ok());
        if length != Some(32) {
            return Err(WriterError::Secret);
        }
        let mut key = Self([0; 32]);
        key.0.copy_from_slice(&seed[..32]);
        Ok(key)
    }

    /// The key as text, for the one file that keeps it.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(BASE64.encode(self.0));
        let mut text = Zeroizing::new(String::with_capacity(SECRET.len() + encoded.len()));
        text.push_str(SECRET);
        text.push_str(&encoded);
        text
    }

    /// The public half as text, `zenwriter1…`.
    ///
    /// # Errors
    /// Never with 32 bytes; the library's signature has it.
    pub fn public(&self) -> Result<String, WriterError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.0).map_err(|_| WriterError::Secret)?;
        Ok(public_text(pair.public_key().as_ref()))
    }

    /// Signs. An impossible key signs nothing that holds.
    pub(super) fn sign(&self, content: &[u8]) -> Writer {
        let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&self.0) else {
            return Writer {
                key: String::new(),
                signature: String::new(),
            };
        };
        let signature = pair.sign(&signed_bytes(content));
        Writer {
            key: public_text(pair.public_key().as_ref()),
            signature: BASE64.encode(signature.as_ref()),
        }
    }
}

/// Who signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writer {
    key: String,
    signature: String,
}

impl Writer {
    /// The writer's public key, `zenwriter1…`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn signed(&self, content: &[u8]) -> bool {
        let Ok(Public(key)) = self.key.parse() else {
            return false;
        };
        let Ok(signature) = BASE64.decode(&self.signature) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&signed_bytes(content), &signature)
            .is_ok()
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// A public key, checked for its form.
struct Public(Vec<u8>);

impl FromStr for Public {
    type Err = WriterError;

    fn from_str(text: &str) -> Result<Self, WriterError> {
        let bytes = text
            .strip_prefix(PUBLIC)
            .and_then(|e| BASE64.decode(e).ok());
        let bytes = bytes.filter(|bytes| bytes.len() == 32);
        bytes.map(Self).ok_or(WriterError::Public)
    }
}

fn public_text(key: &[u8]) -> String {
    format!("{PUBLIC}{}", BASE64.encode(key))
}

fn signed_bytes(content: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(CONTEXT.len() + content.len()));
    bytes.extend_from_slice(CONTEXT);
    bytes.extend_from_slice(content);
    bytes
}

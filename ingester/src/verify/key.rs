//! Secrets prepared for signing, once per configuration and not once per webhook.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zen_chassis::secret::Secret;
use zeroize::Zeroizing;

use super::Scheme;

/// Base64 with or without its padding: senders are known to leave it away.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The length of an HMAC-SHA256 in bytes.
pub(super) const TAG: usize = 32;

/// An HMAC-SHA256 key. No Debug, no Display.
pub(crate) struct Key(hmac::Key);

/// The secret is not of the form that the scheme gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Standard Webhooks secret is base64, with or without whsec_ before it")]
pub(crate) struct KeyError;

impl Key {
    /// Prepares a secret as its scheme uses it.
    pub(crate) fn new(scheme: Scheme, secret: &Secret) -> Result<Self, KeyError> {
        let bytes = match scheme {
            Scheme::StandardWebhooks => Zeroizing::new(decoded(secret.expose())?),
            // Stripe signs with its whole `whsec_…` text, GitHub with the text as it was entered.
            Scheme::None | Scheme::GitHub | Scheme::Stripe => {
                Zeroizing::new(secret.expose().to_vec())
            }
        };
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The HMAC of the parts put together.
    pub(super) fn tag(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut signing = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| signing.update(part));
        signing.sign()
    }

    /// Whether one of the signatures is that of the parts put together.
    pub(super) fn made_one_of(&self, signatures: &[[u8; TAG]], parts: &[&[u8]]) -> bool {
        let tag = self.tag(parts);
        signatures.iter().any(|signature| {
            constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok()
        })
    }
}

fn decoded(secret: &[u8]) -> Result<Vec<u8>, KeyError> {
    let text = secret.strip_prefix(b"whsec_").unwrap_or(secret);
    BASE64
        .decode(text)
        .ok()
        .filter(|key| !key.is_empty())
        .ok_or(KeyError)
}

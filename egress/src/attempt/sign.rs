//! Standard Webhooks signatures (v1): `HMAC-SHA256(key, "{id}.{timestamp}.{body}")`, one for each
//! signing secret, so that a receiver can change its secret without a gap.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zen_chassis::secret::Secret;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secret is not the base64 of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is `whsec_` and the base64 of 1 to 512 bytes")]
pub(crate) struct KeyError;

/// A key that signs what goes to one target.
pub(crate) struct SigningKey(hmac::Key);

impl SigningKey {
    /// Reads the text of a signing secret.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn parse(secret: &Secret) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(secret.expose())
            .map_err(|_| KeyError)?
            .trim();
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let key = Zeroizing::new(BASE64.decode(encoded).map_err(|_| KeyError)?);
        if key.is_empty() || key.len() > 512 {
            return Err(KeyError);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign()))
    }
}

/// The value of `webhook-signature`; `timestamp` in Unix seconds.
pub(crate) fn signature(keys: &[SigningKey], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signatures: Vec<_> = keys
        .iter()
        .map(|key| key.sign(id, timestamp, body))
        .collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<SigningKey, KeyError> {
        SigningKey::parse(&text.as_bytes().to_vec().into())
    }

    #[test]
    fn the_vector_of_the_specification_verifies() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = signature(&[key], id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn several_secrets_give_several_signatures() {
        let keys = [key("whsec_AAECAwQF").unwrap(), key("BgcICQ==").unwrap()];
        let signed = signature(&keys, "a", 1, b"x");
        assert_eq!(
            signed
                .split(' ')
                .filter(|one| one.starts_with("v1,"))
                .count(),
            2
        );
    }

    #[test]
    fn what_is_no_base64_is_no_key() {
        for text in ["whsec_", "whsec_!!", "not base64 at all"] {
            assert!(key(text).is_err(), "{text:?} was taken");
        }
    }
}

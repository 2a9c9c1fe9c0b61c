//! Random values that let their bearer in: sessions, sign-in links, API keys, recovery codes. Only
//! their SHA-256 is kept, and looked for: they are too long to be guessed or told apart by time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zen_chassis::Random;
use zeroize::Zeroizing;

use crate::digest::sha256;

/// Characters of a token: 256 bits in base64url.
pub(crate) const LENGTH: usize = 43;

/// A token, shown once to who may have it; wiped when dropped.
pub(crate) struct BearerToken(Zeroizing<String>);

impl BearerToken {
    /// A new one.
    pub(crate) fn generate(random: &Random) -> Self {
        let bytes = Zeroizing::new(random.bytes::<32>());
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }

    /// Reads one that was presented; nothing if it has not the form of one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (text.len() == LENGTH && text.bytes().all(plain))
            .then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// What is kept of it.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }

    /// The token itself, for its bearer only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_nothing_else_is() {
        let token = BearerToken::generate(&Random::seeded(1));
        let read = BearerToken::parse(token.expose()).unwrap();
        assert_eq!(read.sha256(), token.sha256());
        for wrong in [
            "",
            "short",
            &"ä".repeat(22),
            &" ".repeat(43),
            &"A".repeat(44),
        ] {
            assert!(BearerToken::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}

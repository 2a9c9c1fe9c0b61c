//! The one-time token of a bundle. Its holder shows it once; the other side keeps only the hash.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const LENGTH: usize = 32;

/// 256 secret bits, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; LENGTH]);

impl Token {
    /// A token of these bytes, which come from the caller's randomness.
    #[must_use]
    pub const fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one call that redeems the bundle.
    #[must_use]
    pub const fn expose(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// What the control plane keeps.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    pub(crate) fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0))
    }

    pub(crate) fn from_base64(text: &str) -> Option<Self> {
        // Decoding wants room for whole groups of three bytes.
        let mut bytes = Zeroizing::new([0_u8; LENGTH + 3]);
        let length = STANDARD.decode_slice(text, bytes.as_mut_slice()).ok()?;
        (length == LENGTH).then(|| {
            let mut token = Self([0; LENGTH]);
            token.0.copy_from_slice(&bytes[..LENGTH]);
            token
        })
    }
}

/// Whether the presented bytes are the token with this hash; takes the same time either way.
#[must_use]
pub fn token_matches(presented: &[u8], hash: &[u8; 32]) -> bool {
    sha256(presented).ct_eq(hash).into()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_matches_its_hash() {
        let token = Token::new([5; 32]);
        let hash = token.sha256();
        assert!(token_matches(token.expose(), &hash));
        assert!(!token_matches(&[6; 32], &hash));
        assert!(!token_matches(&token.expose()[..31], &hash));
        assert!(!token_matches(b"", &hash));
    }

    #[test]
    fn base64_of_another_length_is_no_token() {
        for length in [0, 31, 33, 35, 36, 100] {
            assert!(
                Token::from_base64(&STANDARD.encode(vec![1_u8; length])).is_none(),
                "{length}"
            );
        }
        let token = Token::new([9; 32]);
        let back = Token::from_base64(&token.to_base64()).unwrap();
        assert_eq!(back.expose(), token.expose());
    }
}

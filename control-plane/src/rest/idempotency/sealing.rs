//! Seals an answer to who asked: its key is made of the caller's credential and the
//! `Idempotency-Key`, of which the database has only hashes. Bundles and API keys, shown once, can
//! so be shown again to the same caller and to nobody else.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;

const SALT: &[u8] = b"zen mesh idempotency v1";

/// What one request's answer is sealed with, and its body is compared with.
pub(super) struct AnswerKey {
    sealing: Option<RandomizedNonceKey>,
    comparing: hmac::Key,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expanded(from: &Prk, purpose: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let purpose = [purpose];
    // 32 bytes are far below what one key may be expanded to.
    if let Ok(made) = from.expand(&purpose, Length(key.len())) {
        let _filled = made.fill(&mut key);
    }
    key
}

impl AnswerKey {
    /// The keys that follow from a credential and an `Idempotency-Key`.
    pub(super) fn new(credential: &[u8], name: &str) -> Self {
        let mut secret = (credential.len() as u64).to_be_bytes().to_vec();
        secret.extend_from_slice(credential);
        secret.extend_from_slice(name.as_bytes());
        let secret = Salt::new(HKDF_SHA256, SALT).extract(&secret);
        let sealing = expanded(&secret, b"answer");
        let comparing = expanded(&secret, b"request");
        Self {
            sealing: RandomizedNonceKey::new(&AES_256_GCM, &sealing).ok(),
            comparing: hmac::Key::new(hmac::HMAC_SHA256, &comparing),
        }
    }

    /// What tells requests apart without telling what they say.
    pub(super) fn fingerprint(&self, told: &[u8], body: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.comparing);
        context.update(&(told.len() as u64).to_be_bytes());
        context.update(told);
        context.update(body);
        context.sign().as_ref().to_vec()
    }

    /// Seals an answer to the request with this id: nonce, ciphertext, tag.
    pub(super) fn seal(&self, id: &str, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let key = self.sealing.as_ref()?;
        let aad = Aad::from(id.as_bytes());
        let nonce = key.seal_in_place_append_tag(aad, &mut bytes).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Some(sealed)
    }

    /// Opens what [`Self::seal`] made; nothing if somebody else did, or for another request.
    pub(super) fn open(&self, id: &str, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let key = self.sealing.as_ref()?;
        let (nonce, bytes) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from(id.as_bytes());
        key.open_in_place(nonce, aad, bytes)
            .ok()
            .map(|bytes| bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_caller_with_the_same_key_reads_an_answer_again() {
        let key = AnswerKey::new(b"Bearer zen_a", "k");
        let sealed = key.seal("id", b"AGE-SECRET-KEY-1".to_vec()).unwrap();
        assert!(!sealed.windows(3).any(|part| part == b"AGE"));
        let again = AnswerKey::new(b"Bearer zen_a", "k");
        let opened = again.open("id", sealed.clone());
        assert_eq!(opened.as_deref(), Some(b"AGE-SECRET-KEY-1".as_slice()));
        assert_eq!(again.open("other", sealed.clone()), None);
        for (credential, name) in [("Bearer zen_b", "k"), ("Bearer zen_a", "l"), ("", "")] {
            let other = AnswerKey::new(credential.as_bytes(), name);
            assert_eq!(other.open("id", sealed.clone()), None);
        }
        assert_eq!(again.open("id", Vec::new()), None);
    }

    #[test]
    fn a_request_has_one_fingerprint_that_others_cannot_make() {
        let key = AnswerKey::new(b"a", "k");
        let print = key.fingerprint(b"", b"{}");
        assert_eq!(print, AnswerKey::new(b"a", "k").fingerprint(b"", b"{}"));
        assert_ne!(print, key.fingerprint(b"", b"{} "));
        assert_ne!(print, key.fingerprint(b"{}", b""));
        assert_ne!(print, AnswerKey::new(b"b", "k").fingerprint(b"", b"{}"));
    }
}

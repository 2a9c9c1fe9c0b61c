//! Private keys, ECDSA P-256 throughout, and signatures made with them.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::pem;

/// What precedes the point in the SubjectPublicKeyInfo of every uncompressed P-256 key (RFC 5480).
const SPKI_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;

/// Why a key could not be made, read or used. No variant quotes the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no PEM section `PRIVATE KEY`.
    #[error("there is no PKCS #8 private key in the PEM text")]
    Pem,
    /// The key is damaged or not ECDSA P-256.
    #[error("the private key is not an ECDSA P-256 key")]
    Algorithm,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto(#[from] rcgen::Error),
}

/// An ECDSA P-256 private key. Clones share it; it is wiped when the last one is dropped.
#[derive(Clone)]
pub struct PrivateKey(Arc<Wiped>);

struct Wiped(KeyPair);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PrivateKey {
    /// A fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if there is no randomness to be had.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Self(Arc::new(Wiped(pair))))
    }

    /// Reads a PKCS #8 key (`-----BEGIN PRIVATE KEY-----`).
    ///
    /// # Errors
    /// [`KeyError`] if the text holds none or it is of another kind.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::Pem)?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| KeyError::Algorithm)?;
        Ok(Self(Arc::new(Wiped(pair))))
    }

    /// The key as PKCS #8 PEM text, to be stored.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::encode("PRIVATE KEY", self.pair().serialized_der())
    }

    /// The public half as SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        [SPKI_HEADER.as_slice(), self.pair().public_key_raw()].concat()
    }

    /// SHA-256 of the public half's SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_key_sha256(&self) -> [u8; 32] {
        sha256(&self.spki_der())
    }

    /// A certificate signing request (PKCS #10, DER) that proves possession of the key.
    /// `subject` is a hint for people who look at it; issuers ignore it.
    ///
    /// # Errors
    /// [`KeyError::Crypto`].
    pub fn csr(&self, subject: &str) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        Ok(params.serialize_request(self.pair())?.der().to_vec())
    }

    /// Signs the message: ECDSA P-256 with SHA-256, ASN.1.
    ///
    /// # Errors
    /// [`KeyError::Crypto`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.pair().sign(message)?)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0.0
    }

    pub(crate) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair().serialized_der().to_vec()).into()
    }
}

/// The public half of a P-256 key, checked to be of that kind.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PublicKey([u8; POINT]);

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo; nothing if it is of another kind of key.
    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        let point = der.strip_prefix(&SPKI_HEADER)?;
        point.try_into().ok().map(Self)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Whether the signature over the message was made with the key of this SubjectPublicKeyInfo.
#[must_use]
pub fn verify_signature(spki_der: &[u8], message: &[u8], signature: &[u8]) -> bool {
    PublicKey::from_spki(spki_der).is_some_and(|key| key.verify(message, signature))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_written() {
        let key = PrivateKey::generate().unwrap();
        let back = PrivateKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
        assert_eq!(back.public_key_sha256(), key.public_key_sha256());
    }

    #[test]
    fn a_signature_holds_for_its_key_and_message_only() {
        let key = PrivateKey::generate().unwrap();
        let other = PrivateKey::generate().unwrap();
        let signature = key.sign(b"message").unwrap();
        assert!(verify_signature(&key.spki_der(), b"message", &signature));
        assert!(!verify_signature(&key.spki_der(), b"massage", &signature));
        assert!(!verify_signature(&other.spki_der(), b"message", &signature));
        assert!(!verify_signature(
            &key.spki_der()[1..],
            b"message",
            &signature
        ));
        assert!(!verify_signature(b"", b"message", &signature));
    }

    #[test]
    fn keys_of_another_kind_and_other_texts_are_refused() {
        let rsa_like = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let text = rsa_like.serialize_pem();
        assert!(matches!(
            PrivateKey::from_pkcs8_pem(&text),
            Err(KeyError::Algorithm)
        ));
        assert!(matches!(
            PrivateKey::from_pkcs8_pem("hello"),
            Err(KeyError::Pem)
        ));
    }
}

//! Certificate signing requests: nothing is taken from one but the public key, and that only with
//! proof of possession.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::FromDer as _;

use crate::key::{PublicKey, sha256};

/// Largest request that is looked at; an honest one takes some 250 bytes.
const LARGEST: usize = 16 * 1024;

/// Why a signing request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// The bytes are no PKCS #10 request, or more than one.
    #[error("the signing request is malformed")]
    Malformed,
    /// The key is not ECDSA P-256, or it signed with something else than SHA-256.
    #[error("the signing request is not of an ECDSA P-256 key with SHA-256")]
    Algorithm,
    /// Whoever sent it does not hold the key.
    #[error("the signing request is not signed by its own key")]
    Possession,
}

/// SHA-256 of the SubjectPublicKeyInfo in the request, whose own signature is checked.
///
/// # Errors
/// [`CsrError`].
pub fn csr_public_key_sha256(csr_der: &[u8]) -> Result<[u8; 32], CsrError> {
    csr_spki(csr_der).map(|spki| sha256(&spki))
}

/// The SubjectPublicKeyInfo in the request, whose own signature is checked.
///
/// # Errors
/// [`CsrError`].
pub fn csr_spki(csr_der: &[u8]) -> Result<Vec<u8>, CsrError> {
    proven(csr_der).map(|(_key, spki)| spki)
}

/// The key whose possession the request proves.
pub(crate) fn proven_key(csr_der: &[u8]) -> Result<PublicKey, CsrError> {
    proven(csr_der).map(|(key, _spki)| key)
}

fn proven(csr_der: &[u8]) -> Result<(PublicKey, Vec<u8>), CsrError> {
    if csr_der.len() > LARGEST {
        return Err(CsrError::Malformed);
    }
    let (rest, request) =
        X509CertificationRequest::from_der(csr_der).map_err(|_| CsrError::Malformed)?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed);
    }
    let spki = request.certification_request_info.subject_pki.raw;
    let key = PublicKey::from_spki(spki).ok_or(CsrError::Algorithm)?;
    if request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
        return Err(CsrError::Algorithm);
    }
    let signed = request.certification_request_info.raw;
    if !key.verify(signed, &request.signature_value.data) {
        return Err(CsrError::Possession);
    }
    Ok((key, spki.to_vec()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::PrivateKey;

    #[test]
    fn the_key_of_an_honest_request_is_its_owners() {
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("agent").unwrap();
        assert_eq!(csr_public_key_sha256(&csr), Ok(key.public_key_sha256()));
        assert_eq!(csr_spki(&csr), Ok(key.spki_der()));
    }

    #[test]
    fn a_request_for_another_ones_key_is_refused() {
        let (mine, theirs) = (
            PrivateKey::generate().unwrap(),
            PrivateKey::generate().unwrap(),
        );
        let mut csr = mine.csr("agent").unwrap();
        let spki = mine.spki_der();
        let place = csr
            .windows(spki.len())
            .position(|window| window == spki)
            .unwrap();
        csr[place..place + spki.len()].copy_from_slice(&theirs.spki_der());
        assert_eq!(csr_public_key_sha256(&csr), Err(CsrError::Possession));
    }

    #[test]
    fn no_changed_byte_yields_another_key() {
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("agent").unwrap();
        let mut refused = 0;
        for place in 0..csr.len() {
            let mut changed = csr.clone();
            changed[place] ^= 1;
            match csr_spki(&changed) {
                Ok(spki) => assert_eq!(spki, key.spki_der(), "byte {place}"),
                Err(_) => refused += 1,
            }
        }
        // What is left are tags around the signed part, which change nothing.
        assert!(refused >= csr.len() - 4, "{refused} of {}", csr.len());
        assert_eq!(csr_spki(&[csr, vec![0]].concat()), Err(CsrError::Malformed));
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let csr = rcgen::CertificateParams::default()
            .serialize_request(&pair)
            .unwrap();
        assert_eq!(csr_spki(csr.der()), Err(CsrError::Algorithm));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            prop_assert!(csr_spki(&bytes).is_err());
        }
    }
}

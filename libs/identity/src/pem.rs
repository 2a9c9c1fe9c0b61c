//! PEM in and out, for certificates and keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

const COLUMNS: usize = 64;
/// Most certificates in one text: no chain or trust bundle is longer.
const MOST: usize = 64;

/// The text is no list of certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A PEM section is damaged.
    #[error("the PEM text is malformed: {0}")]
    Malformed(String),
    /// There is no certificate in the text.
    #[error("there is no certificate in the PEM text")]
    Empty,
    /// There are more than 64 certificates in the text.
    #[error("there are more than {MOST} certificates in the PEM text")]
    TooMany,
}

/// The certificates of a PEM text, in its order, at least one and at most 64.
///
/// # Errors
/// [`PemError`].
pub fn chain_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        if chain.len() == MOST {
            return Err(PemError::TooMany);
        }
        chain.push(certificate.map_err(|error| PemError::Malformed(error.to_string()))?);
    }
    if chain.is_empty() {
        Err(PemError::Empty)
    } else {
        Ok(chain)
    }
}

/// The certificates as PEM text, one after the other.
#[must_use]
pub fn chain_to_pem(chain: &[CertificateDer<'_>]) -> String {
    chain
        .iter()
        .map(|certificate| encode("CERTIFICATE", certificate).to_string())
        .collect()
}

/// One PEM section; wiped when dropped, since it may be a key.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let lines = base64.len() / COLUMNS + 1;
    let mut text = Zeroizing::new(String::with_capacity(
        base64.len() + lines + 2 * label.len() + 40,
    ));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(COLUMNS));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reads_back_as_written() {
        for length in [1, 47, 48, 49, 500] {
            let chain = vec![
                CertificateDer::from(vec![7; length]),
                CertificateDer::from(vec![9; 3]),
            ];
            assert_eq!(chain_from_pem(&chain_to_pem(&chain)), Ok(chain));
        }
    }

    #[test]
    fn a_text_without_certificates_and_an_endless_one_are_refused() {
        assert_eq!(chain_from_pem("hello"), Err(PemError::Empty));
        let one = chain_to_pem(&[CertificateDer::from(vec![7; 9])]);
        assert_eq!(
            chain_from_pem(&one.repeat(MOST + 1)),
            Err(PemError::TooMany)
        );
    }
}

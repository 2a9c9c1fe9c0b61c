//! Issuing: the control plane's root signs one authority per plane, which signs the leaves of that
//! plane's components.
//!
//! Nothing of a signing request is taken over but its key: names, usages and times are ours.

mod plane;
mod root;

use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer};
use rcgen::{IsCa, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber};
use rustls_pki_types::CertificateDer;

use crate::certificate;
use crate::csr::CsrError;
use crate::key::PrivateKey;
use crate::pem::PemError;
use crate::spiffe::SpiffeId;
use crate::verify::VerifyError;

pub use plane::PlaneCa;
pub use root::RootCa;

/// How far back a certificate begins, for peers whose clocks are behind.
pub const CLOCK_SLACK: Duration = Duration::from_secs(5 * 60);

/// Why nothing was issued, or an authority could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The signing request was refused.
    #[error("the signing request is refused")]
    Csr(#[from] CsrError),
    /// The authority's certificate could not be read.
    #[error("the authority's certificate cannot be read")]
    Pem(#[from] PemError),
    /// The authority's certificate is damaged.
    #[error("the authority's certificate is malformed")]
    Certificate(#[from] VerifyError),
    /// There is no certificate in the authority's chain.
    #[error("the authority has no certificate")]
    NoCertificate,
    /// The certificate is that of a leaf.
    #[error("the certificate is not that of an authority")]
    NotCa,
    /// Key and certificate do not belong together.
    #[error("the authority's key does not fit its certificate")]
    KeyMismatch,
    /// A plane authority's subject does not name one tenant and one plane.
    #[error("the authority's subject names no tenant and plane")]
    Subject,
    /// The authority is over: nothing it signs would be believed.
    #[error("the authority's own certificate has expired")]
    Expired,
    /// A name cannot stand in a certificate.
    #[error("{0:?} cannot stand in a certificate")]
    Name(String),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Crypto(#[from] rcgen::Error),
    /// There is no randomness for a serial number.
    #[error("there is no randomness for a serial number")]
    Randomness,
}

/// Parameters that every certificate has: no name yet, a fresh serial, begun a little ago.
fn parameters(now: SystemTime, not_after: SystemTime) -> Result<CertificateParams, IssueError> {
    let mut serial = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| IssueError::Randomness)?;
    // Positive, not zero, and of the same length in DER each time.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = now
        .checked_sub(CLOCK_SLACK)
        .unwrap_or(SystemTime::UNIX_EPOCH)
        .into();
    params.not_after = not_after.into();
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Parameters of a leaf for the id, for both directions of TLS and for signing documents.
fn leaf_parameters(
    id: &SpiffeId,
    now: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, IssueError> {
    let mut params = parameters(now, not_after)?;
    params.subject_alt_names = vec![SanType::URI(ia5(&id.to_string())?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

fn ia5(text: &str) -> Result<Ia5String, IssueError> {
    Ia5String::try_from(text).map_err(|_| IssueError::Name(text.to_owned()))
}

/// Signs the parameters for the subject's key with an authority's certificate and key.
fn sign(
    params: &CertificateParams,
    subject: &impl PublicKeyData,
    issuer: &CertificateDer<'_>,
    key: &PrivateKey,
) -> Result<CertificateDer<'static>, IssueError> {
    let issuer = Issuer::from_ca_cert_der(issuer, key.pair())?;
    Ok(params.signed_by(subject, &issuer)?.der().clone())
}

/// `now + validity`, but never beyond the issuer's own end.
fn capped_end(
    now: SystemTime,
    validity: Duration,
    issuer_end: SystemTime,
) -> Result<SystemTime, IssueError> {
    if now >= issuer_end {
        return Err(IssueError::Expired);
    }
    Ok(now
        .checked_add(validity)
        .map_or(issuer_end, |end| end.min(issuer_end)))
}

/// That the certificate is an authority's and the key its own.
fn check_authority(certificate: &CertificateDer<'_>, key: &PrivateKey) -> Result<(), IssueError> {
    let parsed = certificate::parse(certificate)?;
    if !certificate::is_ca(&parsed) {
        return Err(IssueError::NotCa);
    }
    if parsed.public_key().raw != key.spki_der() {
        return Err(IssueError::KeyMismatch);
    }
    Ok(())
}

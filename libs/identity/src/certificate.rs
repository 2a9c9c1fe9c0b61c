//! What is read out of a certificate, all of it strictly.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;
use zen_proto::ids::{PlaneId, TenantId};

use crate::key::sha256;
use crate::verify::VerifyError;

/// When the certificate ends.
///
/// # Errors
/// [`VerifyError::Malformed`] if the bytes are no certificate.
pub fn not_after(certificate: &CertificateDer<'_>) -> Result<SystemTime, VerifyError> {
    Ok(system_time(
        parse(certificate)?.validity().not_after.timestamp(),
    ))
}

/// Who says to have issued the certificate, one line for people.
///
/// # Errors
/// [`VerifyError::Malformed`] if the bytes are no certificate.
pub fn issuer(certificate: &CertificateDer<'_>) -> Result<String, VerifyError> {
    let text = parse(certificate)?.issuer().to_string();
    let printable = text.chars().filter(|c| !c.is_control());
    Ok(printable.take(200).collect())
}

/// The issuer's name, DER.
pub(crate) fn issuer_raw(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, VerifyError> {
    Ok(parse(certificate)?.issuer().as_raw().to_vec())
}

/// The subject's name, DER.
pub(crate) fn subject_raw(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, VerifyError> {
    Ok(parse(certificate)?.subject().as_raw().to_vec())
}

/// When the certificate begins.
pub(crate) fn not_before(certificate: &CertificateDer<'_>) -> Result<SystemTime, VerifyError> {
    Ok(system_time(
        parse(certificate)?.validity().not_before.timestamp(),
    ))
}

/// The certificate's SubjectPublicKeyInfo, DER.
///
/// # Errors
/// [`VerifyError::Malformed`] if the bytes are no certificate.
pub fn spki(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, VerifyError> {
    Ok(parse(certificate)?.public_key().raw.to_vec())
}

/// SHA-256 of the certificate's SubjectPublicKeyInfo.
///
/// # Errors
/// [`VerifyError::Malformed`] if the bytes are no certificate.
pub fn public_key_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], VerifyError> {
    spki(certificate).map(|spki| sha256(&spki))
}

/// Parses one certificate and nothing after it.
pub(crate) fn parse<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, VerifyError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(VerifyError::Malformed {
            what: "bytes after a certificate".to_owned(),
        }),
        Err(_) => Err(VerifyError::Malformed {
            what: "a certificate does not parse".to_owned(),
        }),
    }
}

/// All URIs among the certificate's alternative names.
pub(crate) fn uris<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<&'a str>, VerifyError> {
    let malformed = |what: &str| VerifyError::Malformed {
        what: what.to_owned(),
    };
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| malformed("the alternative names do not parse or are given twice"))?;
    let mut uris = Vec::new();
    for name in names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
    {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => return Err(malformed("an alternative name is invalid")),
            _ => {}
        }
    }
    Ok(uris)
}

/// Whether the certificate is that of an authority.
pub(crate) fn is_ca(certificate: &X509Certificate<'_>) -> bool {
    certificate
        .basic_constraints()
        .is_ok_and(|found| found.is_some_and(|basic| basic.value.ca))
}

/// The tenant and plane that a plane CA's subject names: exactly `O=<tenant>, CN=<plane>`.
pub(crate) fn plane_of_subject(subject: &X509Name<'_>) -> Option<(TenantId, PlaneId)> {
    let organization = only(subject.iter_organization())?;
    let common_name = only(subject.iter_common_name())?;
    (subject.iter_attributes().count() == 2)
        .then(|| Some((organization.parse().ok()?, common_name.parse().ok()?)))?
}

fn only<'a, 'b: 'a>(
    mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'b>>,
) -> Option<&'a str> {
    let value = values.next()?;
    values.next().is_none().then(|| value.as_str().ok())?
}

/// The time of so many seconds since 1970; before that, 1970.
pub(crate) fn system_time(unix_seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}

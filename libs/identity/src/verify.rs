//! The one rule by which an identity is believed. TLS in both directions and signed snapshots
//! all come through [`verify`].

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};
use zen_proto::ids::{PlaneId, TenantId};

use crate::certificate::{is_ca, parse, plane_of_subject, system_time, uris};
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::trust::{Expect, Trust};

/// Most certificates a chain may have; ours have two.
const LONGEST_CHAIN: usize = 6;

/// What the leaf is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Its owner dialled.
    Client,
    /// Its owner listens.
    Server,
    /// Its owner signed a document.
    Signer,
}

/// Why an identity is not believed: one variant per way to fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A certificate of the chain is over.
    #[error("a certificate of the chain expired at {}", date(*.not_after))]
    Expired {
        /// When it ended.
        not_after: SystemTime,
    },
    /// A certificate of the chain has not begun.
    #[error("a certificate of the chain is not valid before {}", date(*.not_before))]
    NotYetValid {
        /// When it begins.
        not_before: SystemTime,
    },
    /// The chain ends in no trusted root.
    #[error("the chain ends in no trusted root")]
    UnknownIssuer,
    /// A signature in the chain is wrong, or of a kind that is not accepted.
    #[error("a signature in the chain does not hold")]
    BadSignature,
    /// There are more authorities in the chain than the first of them may sign.
    #[error("a plane's authority signed another authority")]
    PathLength,
    /// A certificate of the chain was signed by one that is no authority.
    #[error("the chain leads over a certificate that is no authority")]
    IssuerNotCa,
    /// An authority's certificate stands in the place of a leaf.
    #[error("the certificate is that of an authority, not a leaf")]
    LeafIsCa,
    /// The leaf may not be used for what it was shown for.
    #[error("the certificate is not for this usage")]
    Purpose,
    /// The leaf names no SPIFFE id.
    #[error("the certificate names no SPIFFE id")]
    IdMissing,
    /// The leaf names several ids.
    #[error("the certificate names {count} URIs, exactly one is wanted")]
    IdAmbiguous {
        /// How many.
        count: usize,
    },
    /// The leaf's URI is no id this product knows.
    #[error("the certificate's URI is no id of this product")]
    IdUnknown(#[source] crate::spiffe::SpiffeError),
    /// The id lies in another trust domain.
    #[error("the id lies in trust domain {found}, trusted is {trusted}")]
    TrustDomainMismatch {
        /// The id's.
        found: TrustDomain,
        /// Ours.
        trusted: TrustDomain,
    },
    /// The id lies outside the tenant and plane that its issuer may name.
    #[error("{id} was not issued by the authority of its own plane")]
    OutsidePlane {
        /// The id.
        id: SpiffeId,
    },
    /// The control plane's id was issued by something else than a root.
    #[error("the control plane's id was not issued by a root")]
    ControlPlaneIssuer,
    /// Nothing of the plane is trusted any more.
    #[error("plane {plane} is revoked")]
    PlaneRevoked {
        /// The plane.
        plane: PlaneId,
    },
    /// Authentic, but somebody else than expected.
    #[error("the peer is {id}, expected was {expected}")]
    UnexpectedPeer {
        /// Who it is.
        id: SpiffeId,
        /// Who it should be, in words.
        expected: String,
    },
    /// There is nothing yet to judge by.
    #[error("there is no trust bundle yet")]
    NoTrust,
    /// The time is not known.
    #[error("the time is not known")]
    NoTime,
    /// What was shown is no chain of certificates.
    #[error("the chain is malformed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
}

impl VerifyError {
    /// The stable code for logs, metrics and people.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "CERTIFICATE_EXPIRED",
            Self::NotYetValid { .. } => "CERTIFICATE_NOT_YET_VALID",
            Self::UnknownIssuer => "UNKNOWN_ISSUER",
            Self::BadSignature => "BAD_SIGNATURE",
            Self::PathLength => "PATH_LENGTH",
            Self::IssuerNotCa => "ISSUER_NOT_CA",
            Self::LeafIsCa => "LEAF_IS_CA",
            Self::Purpose => "WRONG_PURPOSE",
            Self::IdMissing => "ID_MISSING",
            Self::IdAmbiguous { .. } => "ID_AMBIGUOUS",
            Self::IdUnknown(_) => "ID_UNKNOWN",
            Self::TrustDomainMismatch { .. } => "TRUST_DOMAIN_MISMATCH",
            Self::OutsidePlane { .. } => "ID_OUTSIDE_PLANE",
            Self::ControlPlaneIssuer => "CONTROL_PLANE_ISSUER",
            Self::PlaneRevoked { .. } => "PLANE_REVOKED",
            Self::UnexpectedPeer { .. } => "UNEXPECTED_PEER",
            Self::NoTrust => "NO_TRUST",
            Self::NoTime => "NO_TIME",
            Self::Malformed { .. } => "MALFORMED",
        }
    }
}

/// Judges a chain, leaf first: whose it is, if it is to be believed now.
///
/// The chain ends in a trusted root; the leaf is no authority, may be used so, and names exactly
/// one id of our trust domain; a component's id was issued by the authority of its own tenant and
/// plane, the control plane's by a root itself; the plane is not revoked; and it is who was
/// expected.
///
/// # Errors
/// [`VerifyError`], for the first of these that does not hold.
pub fn verify(
    chain: &[CertificateDer<'_>],
    usage: Usage,
    trust: &Trust,
    expect: &Expect,
    now: UnixTime,
) -> Result<SpiffeId, VerifyError> {
    let issuer = trusted_issuer(chain, usage, trust, now)?;
    let id = claimed_id(chain)?;
    if id.trust_domain() != trust.trust_domain() {
        let (found, trusted) = (id.trust_domain().clone(), trust.trust_domain().clone());
        return Err(VerifyError::TrustDomainMismatch { found, trusted });
    }
    match (&id, issuer) {
        (SpiffeId::ControlPlane { .. }, Issuer::Root) => {}
        (SpiffeId::ControlPlane { .. }, _) => return Err(VerifyError::ControlPlaneIssuer),
        (SpiffeId::Component { tenant, plane, .. }, Issuer::Plane(its_tenant, its_plane))
            if (*tenant, *plane) == (its_tenant, its_plane) => {}
        (SpiffeId::Component { .. }, _) => return Err(VerifyError::OutsidePlane { id }),
    }
    if let Some(plane) = id.plane().filter(|plane| trust.is_revoked(*plane)) {
        return Err(VerifyError::PlaneRevoked { plane });
    }
    if !expect.admits(&id) {
        return Err(VerifyError::UnexpectedPeer {
            id,
            expected: format!("{expect:?}"),
        });
    }
    Ok(id)
}

/// The id that the chain's leaf names, not believed by anybody: for telling people who answered.
///
/// # Errors
/// [`VerifyError`] if it names none, several, or none of this product.
pub fn claimed_id(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, VerifyError> {
    let leaf = parse(chain.first().ok_or_else(no_certificate)?)?;
    match uris(&leaf)?.as_slice() {
        [] => Err(VerifyError::IdMissing),
        [uri] => uri.parse().map_err(VerifyError::IdUnknown),
        more => Err(VerifyError::IdAmbiguous { count: more.len() }),
    }
}

/// Who signed a leaf.
enum Issuer {
    Root,
    Plane(TenantId, PlaneId),
    /// Neither: it may issue nothing.
    Other,
}

/// Finds the path from the leaf to a trusted root, and on it the leaf's issuer.
fn trusted_issuer(
    chain: &[CertificateDer<'_>],
    usage: Usage,
    trust: &Trust,
    now: UnixTime,
) -> Result<Issuer, VerifyError> {
    let (leaf, rest) = chain.split_first().ok_or_else(no_certificate)?;
    if chain.len() > LONGEST_CHAIN {
        return Err(VerifyError::Malformed {
            what: format!("{} certificates", chain.len()),
        });
    }
    check_leaf(leaf, usage)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(refusal)?;
    let path = leaf
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            trust.roots(),
            rest,
            now,
            Purpose(usage),
            None,
            None,
        )
        .map_err(refusal)?;
    let mut authorities = path.intermediate_certificates();
    Ok(match (authorities.next(), authorities.next()) {
        (None, _) => Issuer::Root,
        (Some(plane_ca), None) => {
            let plane_ca = plane_ca.der();
            plane_of_subject(parse(&plane_ca)?.subject())
                .map_or(Issuer::Other, |(tenant, plane)| {
                    Issuer::Plane(tenant, plane)
                })
        }
        (Some(_), Some(_)) => Issuer::Other,
    })
}

/// What is asked of a leaf beyond webpki's checks: by X509-SVID it may sign and not issue; and it
/// must name its purposes, where webpki takes silence for consent.
fn check_leaf(leaf: &CertificateDer<'_>, usage: Usage) -> Result<(), VerifyError> {
    let leaf = parse(leaf)?;
    if is_ca(&leaf) {
        return Err(VerifyError::LeafIsCa);
    }
    let may_sign = leaf.key_usage().is_ok_and(|found| {
        found.is_some_and(|key| key.value.digital_signature() && !key.value.key_cert_sign())
    });
    let has_purpose = leaf
        .extended_key_usage()
        .is_ok_and(|found| match (usage, found) {
            // No purpose of RFC 5280 fits a document.
            (Usage::Signer, _) => true,
            (Usage::Server, Some(purposes)) => purposes.value.server_auth,
            (Usage::Client, Some(purposes)) => purposes.value.client_auth,
            (_, None) => false,
        });
    if may_sign && has_purpose {
        Ok(())
    } else {
        Err(VerifyError::Purpose)
    }
}

/// The purpose that no certificate on the path may exclude; authorities usually name none.
struct Purpose(Usage);

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match self.0 {
            Usage::Server => KeyUsage::server_auth().validate(purposes),
            Usage::Client => KeyUsage::client_auth().validate(purposes),
            Usage::Signer => Ok(()),
        }
    }
}

fn no_certificate() -> VerifyError {
    VerifyError::Malformed {
        what: "there is no certificate".to_owned(),
    }
}

fn refusal(error: webpki::Error) -> VerifyError {
    use webpki::Error as E;
    match error {
        E::CertExpired { not_after, .. } => VerifyError::Expired {
            not_after: from_unix(not_after),
        },
        E::CertNotValidYet { not_before, .. } => VerifyError::NotYetValid {
            not_before: from_unix(not_before),
        },
        E::UnknownIssuer => VerifyError::UnknownIssuer,
        E::InvalidSignatureForPublicKey
        | E::SignatureAlgorithmMismatch
        | E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => VerifyError::BadSignature,
        E::PathLenConstraintViolated | E::MaximumPathDepthExceeded => VerifyError::PathLength,
        E::EndEntityUsedAsCa => VerifyError::IssuerNotCa,
        E::CaUsedAsEndEntity => VerifyError::LeafIsCa,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => VerifyError::Purpose,
        other => VerifyError::Malformed {
            what: other.to_string(),
        },
    }
}

fn from_unix(time: UnixTime) -> SystemTime {
    system_time(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

fn date(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_else(|_| "an unknown date".to_owned())
}

#[cfg(test)]
#[path = "verify/tests.rs"]
mod tests;

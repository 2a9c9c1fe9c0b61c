//! The control plane's own authority, the root of all trust.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, DnType, IsCa, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use zen_proto::ids::{PlaneId, TenantId};

use super::{IssueError, capped_end, check_authority, ia5, leaf_parameters, parameters, sign};
use crate::certificate;
use crate::csr::proven_key;
use crate::key::{PrivateKey, PublicKey};
use crate::pem::{chain_from_pem, chain_to_pem};
use crate::spiffe::{SpiffeId, TrustDomain};

/// A root certificate with its key.
#[derive(Clone)]
pub struct RootCa {
    trust_domain: TrustDomain,
    certificate: CertificateDer<'static>,
    not_after: SystemTime,
    key: PrivateKey,
}

impl RootCa {
    /// A new root of the trust domain with a fresh key, valid from now (less
    /// [`CLOCK_SLACK`](crate::CLOCK_SLACK)).
    ///
    /// # Errors
    /// [`IssueError`] if the cryptographic library fails.
    pub fn generate(
        trust_domain: TrustDomain,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Self, IssueError> {
        let key = PrivateKey::generate().map_err(|_| IssueError::Randomness)?;
        let mut params = parameters(now, now + validity)?;
        // The key is part of the name, so that a root's successor never passes for the root itself.
        let [a, b, c, d, ..] = key.public_key_sha256();
        let name = format!("{trust_domain} root {a:02x}{b:02x}{c:02x}{d:02x}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // X509-SVID: a signing certificate's id is the trust domain's, without a path.
        params.subject_alt_names = vec![SanType::URI(ia5(&format!("spiffe://{trust_domain}"))?)];
        let certificate = params.self_signed(key.pair())?.der().clone();
        Self::new(certificate, key, trust_domain)
    }

    /// The root in the PEM text (one certificate), with its key.
    ///
    /// # Errors
    /// [`IssueError`] if the text holds no authority's certificate, or the key does not fit.
    pub fn from_pem(
        cert_pem: &str,
        key: PrivateKey,
        trust_domain: TrustDomain,
    ) -> Result<Self, IssueError> {
        let certificate = chain_from_pem(cert_pem)?.swap_remove(0);
        Self::new(certificate, key, trust_domain)
    }

    fn new(
        certificate: CertificateDer<'static>,
        key: PrivateKey,
        trust_domain: TrustDomain,
    ) -> Result<Self, IssueError> {
        check_authority(&certificate, &key)?;
        let not_after = certificate::not_after(&certificate)?;
        Ok(Self {
            trust_domain,
            certificate,
            not_after,
            key,
        })
    }

    /// The certificate as PEM text, for the trust bundle.
    #[must_use]
    pub fn cert_pem(&self) -> String {
        chain_to_pem(std::slice::from_ref(&self.certificate))
    }

    /// The certificate.
    #[must_use]
    pub const fn cert_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The key, to be stored.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The trust domain.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When the root ends.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs the authority of a plane: subject `O=<tenant>, CN=<plane>`, leaves only, no longer
    /// than the root itself.
    ///
    /// # Errors
    /// [`IssueError`] if the request does not prove possession of a P-256 key, or the root is over.
    pub fn sign_plane_ca(
        &self,
        csr_der: &[u8],
        tenant: TenantId,
        plane: PlaneId,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let subject = proven_key(csr_der)?;
        let mut params = parameters(now, capped_end(now, validity, self.not_after)?)?;
        params
            .distinguished_name
            .push(DnType::OrganizationName, tenant.to_string());
        params
            .distinguished_name
            .push(DnType::CommonName, plane.to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(vec![sign(&params, &subject, &self.certificate, &self.key)?])
    }

    /// Issues the control plane's own leaf, also good for the DNS names and addresses given
    /// (clients outside the product judge by those).
    ///
    /// # Errors
    /// [`IssueError`] if a name cannot stand in a certificate, or the root is over.
    pub fn issue_control_plane(
        &self,
        key: &PrivateKey,
        dns_or_ip_names: &[String],
        now: SystemTime,
        validity: Duration,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let id = SpiffeId::ControlPlane {
            trust_domain: self.trust_domain.clone(),
        };
        let end = capped_end(now, validity, self.not_after)?;
        let mut params = leaf_parameters(&id, now, end)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "control-plane");
        for name in dns_or_ip_names {
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            params.subject_alt_names.push(match bare.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(ia5(name)?),
            });
        }
        let subject = PublicKey::from_spki(&key.spki_der()).ok_or(IssueError::KeyMismatch)?;
        Ok(vec![sign(&params, &subject, &self.certificate, &self.key)?])
    }
}

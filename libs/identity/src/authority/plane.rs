//! The authority of one plane, held by its agent: it outlives a long absence of the control plane.

use std::time::{Duration, SystemTime};

use rcgen::DnType;
use rustls_pki_types::CertificateDer;
use zen_proto::component::Component;
use zen_proto::ids::{PlaneId, TenantId};

use super::{IssueError, capped_end, check_authority, leaf_parameters, sign};
use crate::certificate;
use crate::csr::proven_key;
use crate::key::PrivateKey;
use crate::spiffe::{SpiffeId, TrustDomain};

/// A plane's signing certificate with its key.
#[derive(Clone)]
pub struct PlaneCa {
    key: PrivateKey,
    chain: Vec<CertificateDer<'static>>,
    trust_domain: TrustDomain,
    tenant: TenantId,
    plane: PlaneId,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl PlaneCa {
    /// The authority with this chain (its own certificate first); whose plane it is stands in the
    /// certificate.
    ///
    /// # Errors
    /// [`IssueError`] if the chain is empty, no authority's, or the key does not fit.
    pub fn new(
        key: PrivateKey,
        chain: Vec<CertificateDer<'static>>,
        trust_domain: TrustDomain,
    ) -> Result<Self, IssueError> {
        let own = chain.first().ok_or(IssueError::NoCertificate)?;
        check_authority(own, &key)?;
        let subject = certificate::plane_of_subject(certificate::parse(own)?.subject());
        let (tenant, plane) = subject.ok_or(IssueError::Subject)?;
        let not_before = certificate::not_before(own)?;
        let not_after = certificate::not_after(own)?;
        Ok(Self {
            key,
            chain,
            trust_domain,
            tenant,
            plane,
            not_before,
            not_after,
        })
    }

    /// Whose plane it is.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The plane.
    #[must_use]
    pub const fn plane(&self) -> PlaneId {
        self.plane
    }

    /// When the authority begins.
    #[must_use]
    pub const fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the authority ends, and with it everything it signed.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The authority's chain, its own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The authority's key, to be stored.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Signs the leaf of a component of this plane; never valid beyond the authority itself.
    /// Answers the whole chain: the leaf, then the authority.
    ///
    /// # Errors
    /// [`IssueError`] if the request does not prove possession of a P-256 key, or the authority is
    /// over.
    pub fn sign_leaf(
        &self,
        csr_der: &[u8],
        component: Component,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let subject = proven_key(csr_der)?;
        let id = SpiffeId::Component {
            trust_domain: self.trust_domain.clone(),
            tenant: self.tenant,
            plane: self.plane,
            component,
        };
        let end = capped_end(now, validity, self.not_after)?;
        let mut params = leaf_parameters(&id, now, end)?;
        params
            .distinguished_name
            .push(DnType::CommonName, component.as_str());
        let own = self.chain.first().ok_or(IssueError::NoCertificate)?;
        let leaf = sign(&params, &subject, own, &self.key)?;
        Ok(std::iter::once(leaf)
            .chain(self.chain.iter().cloned())
            .collect())
    }
}

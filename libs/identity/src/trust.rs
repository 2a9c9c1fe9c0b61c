//! What a process trusts, and whom it expects at the other end.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use zen_proto::component::Component;
use zen_proto::ids::{PlaneId, TenantId};

use crate::certificate::{issuer_raw, subject_raw};
use crate::key::sha256;
use crate::pem::{PemError, chain_from_pem, chain_to_pem};
use crate::spiffe::{SpiffeId, TrustDomain};

/// Why a trust bundle was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The roots are no PEM certificates.
    #[error("the trust bundle cannot be read")]
    Pem(#[from] PemError),
    /// A root is damaged.
    #[error("root certificate {place} of the trust bundle is malformed")]
    Root {
        /// Which of them, counted from 1.
        place: usize,
    },
}

/// Roots, trust domain and revoked planes, as one value: they change together or not at all.
#[derive(Clone)]
pub struct Trust(Arc<Inner>);

struct Inner {
    trust_domain: TrustDomain,
    roots: Vec<TrustAnchor<'static>>,
    roots_pem: String,
    /// Of each root: SHA-256 of its certificate, and its subject as it stands there.
    named: Vec<([u8; 32], Vec<u8>)>,
    revoked: HashSet<PlaneId>,
}

impl Trust {
    /// Trusts the roots in the PEM text (1 to 64) for the domain, except for the revoked planes.
    ///
    /// # Errors
    /// [`TrustError`] if the text holds no root or one that is damaged.
    pub fn new(
        trust_domain: TrustDomain,
        roots_pem: &str,
        revoked: impl IntoIterator<Item = PlaneId>,
    ) -> Result<Self, TrustError> {
        let certificates = chain_from_pem(roots_pem)?;
        let mut roots = Vec::with_capacity(certificates.len());
        let mut named = Vec::with_capacity(certificates.len());
        for (place, certificate) in certificates.iter().enumerate() {
            let anchor = webpki::anchor_from_trusted_cert(certificate)
                .map_err(|_| TrustError::Root { place: place + 1 })?;
            roots.push(anchor.to_owned());
            let subject = subject_raw(certificate);
            let subject = subject.map_err(|_| TrustError::Root { place: place + 1 })?;
            named.push((sha256(certificate), subject));
        }
        let roots_pem = chain_to_pem(&certificates);
        let revoked = revoked.into_iter().collect();
        Ok(Self(Arc::new(Inner {
            trust_domain,
            roots,
            roots_pem,
            named,
            revoked,
        })))
    }

    /// The roots as PEM text, and nothing else that stood in the text they came from.
    #[must_use]
    pub fn roots_pem(&self) -> &str {
        &self.0.roots_pem
    }

    /// SHA-256 of each root's certificate.
    pub fn root_digests(&self) -> impl Iterator<Item = [u8; 32]> {
        self.0.named.iter().map(|(digest, _)| *digest)
    }

    /// SHA-256 of the root that the chain names as its last issuer, if it is trusted. Nothing is
    /// proven here: it is for telling where a chain of one's own leads.
    #[must_use]
    pub fn root_named_by(&self, chain: &[CertificateDer<'_>]) -> Option<[u8; 32]> {
        let issuer = issuer_raw(chain.last()?).ok()?;
        // A root's name holds part of its key, so that no two have the same.
        let mut named = self.0.named.iter();
        named
            .find(|(_, subject)| *subject == issuer)
            .map(|(digest, _)| *digest)
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// Whether nothing of the plane is trusted any more.
    #[must_use]
    pub fn is_revoked(&self, plane: PlaneId) -> bool {
        self.0.revoked.contains(&plane)
    }

    pub(crate) fn roots(&self) -> &[TrustAnchor<'static>] {
        &self.0.roots
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("trust_domain", &self.0.trust_domain.as_str())
            .field("roots", &self.0.roots.len())
            .field("revoked", &self.0.revoked.len())
            .finish()
    }
}

/// Whom a process expects at the other end. Judged anew at each handshake.
#[derive(Clone)]
pub struct Expect(Wanted);

#[derive(Clone)]
enum Wanted {
    ControlPlane,
    Component(TenantId, PlaneId, Component),
    AnyOfPlane(TenantId, PlaneId),
    AnyComponent(Vec<Component>),
    Exactly(SpiffeId),
    When(Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>),
}

impl Expect {
    /// The control plane.
    #[must_use]
    pub const fn control_plane() -> Self {
        Self(Wanted::ControlPlane)
    }

    /// One component of one plane.
    #[must_use]
    pub const fn component(tenant: TenantId, plane: PlaneId, component: Component) -> Self {
        Self(Wanted::Component(tenant, plane, component))
    }

    /// Any component of one plane.
    #[must_use]
    pub const fn any_of_plane(tenant: TenantId, plane: PlaneId) -> Self {
        Self(Wanted::AnyOfPlane(tenant, plane))
    }

    /// One of the components, of any plane; the caller judges tenant and plane from the id.
    #[must_use]
    pub fn any_component(components: &[Component]) -> Self {
        Self(Wanted::AnyComponent(components.to_vec()))
    }

    /// This id and no other.
    #[must_use]
    pub const fn exactly(id: SpiffeId) -> Self {
        Self(Wanted::Exactly(id))
    }

    /// Whatever the function says yes to, asked at each handshake: for expectations that change
    /// while a server runs. It must not block.
    #[must_use]
    pub fn when(judge: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static) -> Self {
        Self(Wanted::When(Arc::new(judge)))
    }

    /// Whether this is the peer that was expected.
    #[must_use]
    pub fn admits(&self, id: &SpiffeId) -> bool {
        match (&self.0, id) {
            (Wanted::Exactly(wanted), id) => wanted == id,
            (Wanted::When(judge), id) => judge(id),
            (Wanted::ControlPlane, SpiffeId::ControlPlane { .. }) => true,
            (Wanted::ControlPlane, _) | (_, SpiffeId::ControlPlane { .. }) => false,
            (
                wanted,
                SpiffeId::Component {
                    tenant,
                    plane,
                    component,
                    ..
                },
            ) => match wanted {
                Wanted::Component(t, p, c) => (t, p, c) == (tenant, plane, component),
                Wanted::AnyOfPlane(t, p) => (t, p) == (tenant, plane),
                Wanted::AnyComponent(wanted) => wanted.contains(component),
                Wanted::ControlPlane | Wanted::Exactly(_) | Wanted::When(_) => false,
            },
        }
    }
}

impl fmt::Debug for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Wanted::ControlPlane => f.write_str("the control plane"),
            Wanted::Component(_, plane, component) => write!(f, "{component} of {plane}"),
            Wanted::AnyOfPlane(_, plane) => write!(f, "any component of {plane}"),
            Wanted::AnyComponent(wanted) => write!(f, "one of {wanted:?}"),
            Wanted::Exactly(id) => write!(f, "{id}"),
            Wanted::When(_) => f.write_str("what a function admits"),
        }
    }
}

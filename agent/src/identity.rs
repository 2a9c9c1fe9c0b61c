//! The plane's identity: as it is stored, and as it is in force.

use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use zen_identity::{
    Expect, IssueError, KeyError, PemError, PlaneCa, PrivateKey, SpiffeError, Trust, TrustError,
    Usage, VerifyError, chain_from_pem, verify,
};
use zen_proto::component::Component;
use zen_proto::ids::{BundleId, PlaneId, TenantId};
use zen_proto::limits;
use zeroize::Zeroizing;

use crate::store::{Content, Entry, Store, StoreError};

/// The version of the stored forms.
const VERSION: u32 = 1;

/// A private key as PEM text in a stored form. Wiped when dropped, never shown.
#[derive(Clone)]
pub(crate) struct KeyText(Zeroizing<String>);

impl Serialize for KeyText {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

impl KeyText {
    pub(crate) fn of(key: &PrivateKey) -> Self {
        Self(key.to_pkcs8_pem())
    }

    pub(crate) fn key(&self) -> Result<PrivateKey, KeyError> {
        PrivateKey::from_pkcs8_pem(&self.0)
    }
}

/// The plane's identity as it is stored: one file, replaced whole.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoredIdentity {
    pub(crate) version: u32,
    /// The bundle it came from.
    pub(crate) bundle_id: BundleId,
    pub(crate) tenant_id: TenantId,
    pub(crate) plane_id: PlaneId,
    pub(crate) trust_domain: String,
    pub(crate) roots_pem: String,
    pub(crate) revoked_plane_ids: Vec<PlaneId>,
    /// Where the bundle said the control plane is, for enrolment calls: `host:port`.
    pub(crate) control_plane_address: String,
    /// Where sessions go: `host:port`.
    pub(crate) session_address: String,
    /// The key of the plane CA: the one that redeemed the bundle, until a renewal.
    pub(crate) plane_ca_key_pem: KeyText,
    pub(crate) plane_ca_chain_pem: String,
}

/// Key pairs that are written before anybody is asked to certify them.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pending {
    pub(crate) enrolment: Option<PendingEnrolment>,
    /// For the next plane CA.
    pub(crate) renewal: Option<KeyText>,
}

/// The key that redeems a bundle.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PendingEnrolment {
    pub(crate) bundle_id: BundleId,
    pub(crate) key_pem: KeyText,
}

/// Why a stored or received identity cannot be used. No variant quotes its content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("the stored form is damaged at line {line} column {column}")]
    Damaged { line: usize, column: usize },
    #[error("the stored form has version {0}, this program reads version {VERSION}")]
    Version(u32),
    #[error("its trust domain is malformed")]
    TrustDomain(#[from] SpiffeError),
    #[error("its trust bundle cannot be used")]
    Trust(#[from] TrustError),
    #[error("its key cannot be used")]
    Key(#[from] KeyError),
    #[error("its certificates cannot be read")]
    Chain(#[from] PemError),
    #[error("its authority cannot be used")]
    Authority(#[from] IssueError),
    #[error("it is the authority of {found}, expected was {expected}")]
    OtherPlane { found: PlaneId, expected: PlaneId },
    #[error("what it signs is not believed")]
    NotBelieved(#[from] VerifyError),
}

impl IdentityError {
    /// Whether it may well be good, judged by a clock that is right.
    pub(crate) const fn is_about_time(&self) -> bool {
        matches!(
            self,
            Self::Authority(IssueError::Expired)
                | Self::NotBelieved(VerifyError::Expired { .. } | VerifyError::NotYetValid { .. })
        )
    }
}

/// The plane's identity in force.
pub(crate) struct PlaneIdentity {
    pub(crate) stored: StoredIdentity,
    pub(crate) trust: Trust,
    ca: PlaneCa,
}

impl PlaneIdentity {
    /// Brings a stored identity into force; whether its time is over is not judged here.
    pub(crate) fn new(stored: StoredIdentity) -> Result<Self, IdentityError> {
        let domain: zen_identity::TrustDomain = stored.trust_domain.parse()?;
        let trust = Trust::new(
            domain.clone(),
            &stored.roots_pem,
            stored.revoked_plane_ids.iter().copied(),
        )?;
        let chain = chain_from_pem(&stored.plane_ca_chain_pem)?;
        let ca = PlaneCa::new(stored.plane_ca_key_pem.key()?, chain, domain)?;
        if (ca.tenant(), ca.plane()) != (stored.tenant_id, stored.plane_id) {
            return Err(IdentityError::OtherPlane {
                found: ca.plane(),
                expected: stored.plane_id,
            });
        }
        Ok(Self { stored, trust, ca })
    }

    /// The leaf of a component of this plane for the key of a signing request, with its chain.
    pub(crate) fn leaf(
        &self,
        csr: &[u8],
        component: Component,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        self.ca
            .sign_leaf(csr, component, now, limits::LEAF_VALIDITY)
    }

    /// The agent's own leaf with a fresh key, proven to be believed by whoever trusts the same
    /// roots.
    pub(crate) fn own_leaf(
        &self,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKey), IdentityError> {
        let key = PrivateKey::generate()?;
        let chain = self.leaf(&key.csr("agent")?, Component::Agent, now)?;
        let expect = Expect::component(
            self.stored.tenant_id,
            self.stored.plane_id,
            Component::Agent,
        );
        verify(&chain, Usage::Client, &self.trust, &expect, unix_time(now))?;
        Ok((chain, key))
    }

    /// SHA-256 of the plane CA's certificate.
    pub(crate) fn ca_sha256(&self) -> [u8; 32] {
        let der = self.ca.chain().first();
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            der.map_or(&[], |der| der.as_ref()),
        );
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest.as_ref());
        sha256
    }

    /// Whether this is the key in force.
    pub(crate) fn is_key(&self, text: Option<&KeyText>) -> bool {
        let key = text.and_then(|text| text.key().ok());
        key.is_some_and(|key| key.public_key_sha256() == self.ca.key().public_key_sha256())
    }

    /// When the plane CA ends.
    pub(crate) const fn not_after(&self) -> SystemTime {
        self.ca.not_after()
    }

    /// Whether the plane CA's time is over.
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.ca.not_after()
    }

    /// Whether the plane CA is past its half life.
    pub(crate) fn renewal_is_due(&self, now: SystemTime) -> bool {
        let life = self
            .ca
            .not_after()
            .duration_since(self.ca.not_before())
            .unwrap_or_default();
        now >= self.ca.not_before() + life / 2
    }
}

/// The time as the verification rule takes it.
pub(crate) fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// The stored version for new identities.
pub(crate) const fn version() -> u32 {
    VERSION
}

/// What went wrong with a stored form.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("it cannot be read")]
    Store(#[from] StoreError),
    #[error("{0} cannot be used; restore it, or remove it and enrol again")]
    Unusable(&'static str, #[source] IdentityError),
}

/// The stored identity, if there is one.
pub(crate) async fn load(store: &dyn Store) -> Result<Option<PlaneIdentity>, LoadError> {
    let Some(content) = store.read(Entry::Identity).await? else {
        return Ok(None);
    };
    of_content(&content)
        .map(Some)
        .map_err(|error| LoadError::Unusable("the stored identity", error))
}

/// The identity of a stored form.
pub(crate) fn of_content(content: &Content) -> Result<PlaneIdentity, IdentityError> {
    let stored: StoredIdentity = from_json(content)?;
    if stored.version != VERSION {
        return Err(IdentityError::Version(stored.version));
    }
    PlaneIdentity::new(stored)
}

/// What is pending; a damaged form counts as none, for a new key is always good.
pub(crate) async fn load_pending(store: &dyn Store) -> Result<Pending, StoreError> {
    let content = store.read(Entry::Pending).await?;
    Ok(content.map_or_else(Pending::default, |content| {
        from_json(&content).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "pending keys are damaged and begun anew");
            Pending::default()
        })
    }))
}

/// Keeps the identity, replacing the one before.
pub(crate) async fn keep(store: &dyn Store, stored: &StoredIdentity) -> Result<(), StoreError> {
    store.write(Entry::Identity, to_json(stored)?).await
}

/// Keeps what is pending.
pub(crate) async fn keep_pending(store: &dyn Store, pending: &Pending) -> Result<(), StoreError> {
    if pending.enrolment.is_none() && pending.renewal.is_none() {
        return store.remove(Entry::Pending).await;
    }
    store.write(Entry::Pending, to_json(pending)?).await
}

fn to_json(value: &impl Serialize) -> Result<Content, StoreError> {
    // Room for all of it: growing would leave copies of a key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(64 * 1024));
    serde_json::to_writer_pretty(&mut *text, value).map_err(|e| StoreError(Box::new(e)))?;
    Ok(text)
}

/// serde's own words may quote a value, and a value may be a key: only the place is told.
fn from_json<'de, T: Deserialize<'de>>(content: &'de [u8]) -> Result<T, IdentityError> {
    serde_json::from_slice(content).map_err(|e| IdentityError::Damaged {
        line: e.line(),
        column: e.column(),
    })
}

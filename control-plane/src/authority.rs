//! The control plane's own authority: it signs plane CAs and snapshots, and shows a leaf that is
//! renewed while servers run. The root's key is sealed with age wherever it is at rest.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use prost::bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use zen_chassis::clock::to_unix_ms;
use zen_identity::{IssueError, KeyError, LeafError, LiveIdentity, PrivateKey, RootCa};
use zen_identity::{Trust, TrustDomain, TrustError};
use zen_proto::ids::{PlaneId, TenantId};
use zen_proto::limits;
use zen_proto::snapshot::v1::SignedSnapshot;
use zen_seal::{CloseError, Identity, OpenError};

use crate::digest::sha256;
use crate::roots::Stage;
use crate::store::{Published, StoredRoot};

/// Validity of a root.
pub(crate) const ROOT_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Validity of the control plane's own leaf; renewed at half.
pub(crate) const LEAF_VALIDITY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Largest key that is opened.
const KEY: usize = 16 * 1024;

/// Why the authority cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// The root's key does not open.
    #[error("the root key cannot be opened with root_identity_file")]
    Sealed(#[source] OpenError),
    /// The root's key could not be sealed.
    #[error("the root key cannot be sealed")]
    Seal(#[from] CloseError),
    /// The root's key is damaged.
    #[error("the root key is damaged")]
    Key(#[from] KeyError),
    /// Something could not be issued.
    #[error("the certificate cannot be issued")]
    Issue(#[from] IssueError),
    /// The leaf could not be put to use.
    #[error("the control plane's leaf cannot be used")]
    Leaf(#[from] LeafError),
    /// The trust bundle is damaged.
    #[error("the trust bundle is damaged")]
    Trust(#[from] TrustError),
    /// There is no root, or no leaf.
    #[error("the authority has no {0}")]
    Missing(&'static str),
}

/// The root that signs, every trusted one, and the control plane's live identity. Which roots there
/// are changes while it works.
pub(crate) struct Authority {
    roots: RwLock<Arc<Roots>>,
    /// Counts the changes of the roots.
    changes: watch::Sender<u64>,
    /// Opens the keys of roots.
    key: Identity,
    trust_domain: TrustDomain,
    identity: LiveIdentity,
    /// DNS names and addresses in the leaf.
    names: Vec<String>,
}

/// The roots as they are at one moment.
struct Roots {
    signs: RootCa,
    signs_sha256: [u8; 32],
    /// Of every trusted one.
    trust_bundle_pem: Arc<str>,
    /// What they were made from: ids and stages.
    stages: Vec<(i64, Stage)>,
}

/// Makes a root and seals its key for the identity.
///
/// # Errors
/// When the cryptographic library fails.
pub(crate) fn new_root(
    trust_domain: TrustDomain,
    now: SystemTime,
    identity: &Identity,
    stage: Stage,
) -> Result<StoredRoot, AuthorityError> {
    let root = RootCa::generate(trust_domain.clone(), now, ROOT_VALIDITY)?;
    let key = root.key().to_pkcs8_pem();
    let sealed_key = zen_seal::close(key.as_bytes(), &[identity.recipient()])?;
    Ok(StoredRoot {
        id: 0,
        stage,
        created_at: to_unix_ms(now),
        trust_domain: trust_domain.to_string(),
        certificate_pem: root.cert_pem(),
        sealed_key,
    })
}

impl Authority {
    /// Opens the one of the roots that signs and issues a leaf for `names` to `identity`.
    ///
    /// # Errors
    /// When a root or its key cannot be used.
    pub(crate) fn open(
        roots: &[StoredRoot],
        key: Identity,
        trust_domain: &TrustDomain,
        names: Vec<String>,
        identity: LiveIdentity,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let opened = opened(roots, &key, trust_domain)?;
        // Nobody is revoked here: a retired plane shall hear that it is, which the session tells.
        let trust = Trust::new(trust_domain.clone(), &opened.trust_bundle_pem, [])?;
        identity.set_trust(trust);
        let authority = Self {
            roots: RwLock::new(Arc::new(opened)),
            changes: watch::Sender::new(0),
            key,
            trust_domain: trust_domain.clone(),
            identity,
            names,
        };
        authority.renew_leaf(now)?;
        Ok(authority)
    }

    /// Takes the roots as they are stored now, if they are others or at other stages than before.
    /// Answers whether they are.
    ///
    /// # Errors
    /// When a root or its key cannot be used; then everything stays as it was.
    pub(crate) fn take(
        &self,
        stored: &[StoredRoot],
        now: SystemTime,
    ) -> Result<bool, AuthorityError> {
        let before = self.now();
        if stages(stored) == before.stages {
            return Ok(false);
        }
        let opened = opened(stored, &self.key, &self.trust_domain)?;
        let trust = Trust::new(self.trust_domain.clone(), &opened.trust_bundle_pem, [])?;
        let other_signs = opened.signs_sha256 != before.signs_sha256;
        let leaf = other_signs
            .then(|| self.issue(&opened.signs, now))
            .transpose()?;
        *self.roots.write() = Arc::new(opened);
        self.identity.set_trust(trust);
        if let Some((chain, key)) = leaf {
            self.identity.set_leaf(chain, &key)?;
        }
        self.changes.send_modify(|changes| *changes += 1);
        Ok(true)
    }

    /// A new root with its key sealed, to be announced.
    ///
    /// # Errors
    /// When the cryptographic library fails.
    pub(crate) fn successor(&self, now: SystemTime) -> Result<StoredRoot, AuthorityError> {
        new_root(self.trust_domain.clone(), now, &self.key, Stage::Announced)
    }

    fn now(&self) -> Arc<Roots> {
        Arc::clone(&self.roots.read())
    }

    /// PEM of every trusted root.
    pub(crate) fn trust_bundle_pem(&self) -> Arc<str> {
        Arc::clone(&self.now().trust_bundle_pem)
    }

    /// SHA-256 of the root that signs.
    pub(crate) fn signs_sha256(&self) -> [u8; 32] {
        self.now().signs_sha256
    }

    /// Counts the changes of the roots.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What servers of the control plane show.
    pub(crate) const fn identity(&self) -> &LiveIdentity {
        &self.identity
    }

    /// Puts a fresh leaf with a fresh key to use.
    ///
    /// # Errors
    /// When it cannot be issued; the leaf before stays.
    pub(crate) fn renew_leaf(&self, now: SystemTime) -> Result<(), AuthorityError> {
        let (chain, key) = self.issue(&self.now().signs, now)?;
        Ok(self.identity.set_leaf(chain, &key)?)
    }

    fn issue(
        &self,
        root: &RootCa,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKey), AuthorityError> {
        let key = PrivateKey::generate()?;
        let chain = root.issue_control_plane(&key, &self.names, now, LEAF_VALIDITY)?;
        Ok((chain, key))
    }

    /// When the leaf is to be renewed: at half its life.
    pub(crate) fn renew_at(&self) -> Option<SystemTime> {
        self.identity
            .leaf_not_after()?
            .checked_sub(LEAF_VALIDITY / 2)
    }

    /// Signs the CA of a plane.
    ///
    /// # Errors
    /// When the request does not prove possession of a P-256 key.
    pub(crate) fn sign_plane_ca(
        &self,
        csr: &[u8],
        tenant: TenantId,
        plane: PlaneId,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        self.now()
            .signs
            .sign_plane_ca(csr, tenant, plane, now, limits::PLANE_CA_VALIDITY)
    }

    /// Signs a published snapshot with the leaf that is in use now.
    ///
    /// # Errors
    /// When there is no leaf or the cryptographic library fails.
    pub(crate) fn sign_snapshot(
        &self,
        plane: PlaneId,
        published: &Published,
    ) -> Result<SignedSnapshot, AuthorityError> {
        let leaf = self
            .identity
            .leaf()
            .ok_or(AuthorityError::Missing("leaf"))?;
        let digest = sha256(&published.snapshot);
        let signature = leaf.sign(&signed_bytes(plane, published.revision, &digest))?;
        Ok(SignedSnapshot {
            revision: published.revision,
            digest: Bytes::copy_from_slice(&digest),
            signature: signature.into(),
            signer: leaf
                .chain()
                .iter()
                .map(|der| Bytes::copy_from_slice(der))
                .collect(),
            snapshot: published.snapshot.clone().into(),
        })
    }
}

fn stages(stored: &[StoredRoot]) -> Vec<(i64, Stage)> {
    stored.iter().map(|root| (root.id, root.stage)).collect()
}

/// The roots, with the key of the one that signs.
fn opened(
    stored: &[StoredRoot],
    key: &Identity,
    trust_domain: &TrustDomain,
) -> Result<Roots, AuthorityError> {
    let signs = stored.iter().rev();
    let mut signs = signs.filter(|root| root.stage == Stage::Signing);
    let signs = signs.next().ok_or(AuthorityError::Missing("root"))?;
    let text = zen_seal::open(signs.sealed_key.as_bytes(), std::slice::from_ref(key), KEY)
        .map_err(AuthorityError::Sealed)?;
    let pem = std::str::from_utf8(&text).map_err(|_| KeyError::Pem)?;
    let root_key = PrivateKey::from_pkcs8_pem(pem)?;
    let signs = RootCa::from_pem(&signs.certificate_pem, root_key, trust_domain.clone())?;
    let trust_bundle_pem: String = stored
        .iter()
        .map(|root| root.certificate_pem.as_str())
        .collect();
    Ok(Roots {
        signs_sha256: sha256(signs.cert_der()),
        signs,
        trust_bundle_pem: trust_bundle_pem.into(),
        stages: stages(stored),
    })
}

/// What a snapshot's signature is made over.
fn signed_bytes(plane: PlaneId, revision: u64, digest: &[u8; 32]) -> Vec<u8> {
    let mut bytes = format!("zen snapshot v1\n{plane}\n").into_bytes();
    bytes.extend_from_slice(&revision.to_be_bytes());
    bytes.extend_from_slice(digest);
    bytes
}

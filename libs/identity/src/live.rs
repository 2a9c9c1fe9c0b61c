//! A process's identity while it runs: leaf, chain and trust are swapped under open servers and
//! clients, and every handshake sees the newest.

mod tls;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use zen_proto::component::Component;

use crate::accept::Peer;
use crate::certificate;
use crate::key::{KeyError, PrivateKey, sha256};
use crate::spiffe::SpiffeId;
use crate::trust::{Expect, Trust};
use crate::verify::{Usage, VerifyError, claimed_id, verify};

pub use tls::{ClientAuth, server_auth_only_client_config};

/// Longest pause between looks at a peer without a reason: a sleeping machine's timers sleep too.
const RECHECK: Duration = Duration::from_secs(60);
/// Shortest of them.
const SOON: Duration = Duration::from_millis(100);

/// Why a leaf was not taken into use; the one before stays.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The chain cannot be read or its leaf names no id.
    #[error("the leaf's chain is refused")]
    Chain(#[from] VerifyError),
    /// The key is another one's: half of a rotation.
    #[error("the key does not fit the leaf")]
    KeyMismatch,
    /// rustls does not take the key.
    #[error("the key cannot be used for TLS")]
    Tls(#[from] rustls::Error),
}

/// A leaf in use: its chain, whose it is, until when, and what its key can do.
pub struct Leaf {
    key: PrivateKey,
    certified: Arc<CertifiedKey>,
    id: SpiffeId,
    not_after: SystemTime,
}

impl Leaf {
    /// Whose leaf it is.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When it ends.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The leaf and its issuers, as others verify it.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Signs a document as the leaf's owner; [`Leaf::chain`] goes along.
    ///
    /// # Errors
    /// [`KeyError::Crypto`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign(message)
    }
}

/// The identity that all servers and clients of a process share. Clones are the same identity.
#[derive(Clone)]
pub struct LiveIdentity(Arc<Shared>);

struct Shared {
    time: Arc<dyn TimeProvider>,
    provider: Arc<CryptoProvider>,
    leaf: ArcSwapOption<Leaf>,
    trust: ArcSwapOption<Trust>,
    generation: watch::Sender<u64>,
}

impl LiveIdentity {
    /// An identity with neither leaf nor trust yet, which judges certificates by this time.
    #[must_use]
    pub fn new(time: Arc<dyn TimeProvider>) -> Self {
        Self(Arc::new(Shared {
            time,
            provider: tls::provider(),
            leaf: ArcSwapOption::empty(),
            trust: ArcSwapOption::empty(),
            generation: watch::Sender::new(0),
        }))
    }

    /// Shows this leaf from the next handshake on. Open connections stay.
    ///
    /// # Errors
    /// [`LeafError`] if the leaf cannot be read or the key does not fit; then nothing changes.
    pub fn set_leaf(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKey,
    ) -> Result<(), LeafError> {
        let id = claimed_id(&chain)?;
        let not_after = chain
            .first()
            .map_or(Ok(SystemTime::UNIX_EPOCH), certificate::not_after)?;
        if chain.first().map(certificate::spki).transpose()? != Some(key.spki_der()) {
            return Err(LeafError::KeyMismatch);
        }
        let certified = CertifiedKey::from_der(chain, key.to_rustls(), &self.0.provider)?;
        let leaf = Leaf {
            key: key.clone(),
            certified: Arc::new(certified),
            id,
            not_after,
        };
        self.0.leaf.store(Some(Arc::new(leaf)));
        self.0.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Judges by this trust from the next handshake on. Open connections stay until somebody
    /// [checks](Self::check) them.
    pub fn set_trust(&self, trust: Trust) {
        self.0.trust.store(Some(Arc::new(trust)));
        self.0.generation.send_modify(|generation| *generation += 1);
    }

    /// Whether there is a leaf.
    #[must_use]
    pub fn has_leaf(&self) -> bool {
        self.0.leaf.load().is_some()
    }

    /// The leaf in use.
    #[must_use]
    pub fn leaf(&self) -> Option<Arc<Leaf>> {
        self.0.leaf.load_full()
    }

    /// Whom the leaf speaks for.
    #[must_use]
    pub fn id(&self) -> Option<SpiffeId> {
        self.leaf().map(|leaf| leaf.id.clone())
    }

    /// When the leaf ends.
    #[must_use]
    pub fn leaf_not_after(&self) -> Option<SystemTime> {
        self.leaf().map(|leaf| leaf.not_after)
    }

    /// SHA-256 of each root that is trusted now.
    #[must_use]
    pub fn trusted_roots(&self) -> Vec<[u8; 32]> {
        let trust = self.trust();
        trust.map_or_else(Vec::new, |trust| trust.root_digests().collect())
    }

    /// SHA-256 of the trusted root that the leaf in use leads to.
    #[must_use]
    pub fn leaf_root(&self) -> Option<[u8; 32]> {
        self.trust()?.root_named_by(self.leaf()?.chain())
    }

    /// SHA-256 of the certificate that signed the leaf in use, as far as the chain holds it.
    #[must_use]
    pub fn leaf_issuer(&self) -> Option<[u8; 32]> {
        self.leaf()?.chain().get(1).map(|der| sha256(der))
    }

    /// The trust in use.
    #[must_use]
    pub fn trust(&self) -> Option<Arc<Trust>> {
        self.0.trust.load_full()
    }

    /// Expects this component of the same plane as the leaf in use, at each handshake anew.
    #[must_use]
    pub fn neighbour(&self, component: Component) -> Expect {
        let own = self.clone();
        Expect::when(move |id| {
            own.id().is_some_and(|own| {
                own.plane().is_some()
                    && (id.tenant(), id.plane()) == (own.tenant(), own.plane())
                    && id.component() == Some(component)
            })
        })
    }

    /// Counts the changes of leaf and trust.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Judges the peer of an accepted connection anew, by today's trust and time. A peer that was
    /// let in without a certificate passes.
    ///
    /// # Errors
    /// [`VerifyError`], on which the connection is to be ended.
    pub fn check(&self, peer: &Peer) -> Result<(), VerifyError> {
        let Some(id) = peer.id.clone() else {
            return Ok(());
        };
        self.verify(&peer.chain, Usage::Client, &Expect::exactly(id))
            .map(|_id| ())
    }

    /// Judges the peer of an accepted connection again whenever leaf or trust change and once its
    /// certificate ends; resolves when it is not to be believed, or not expected, any more. A peer
    /// that was let in without a certificate is never judged.
    pub async fn until_refused(&self, peer: &Peer, expect: &Expect) -> VerifyError {
        let mut changes = self.changed();
        loop {
            // A peer without a chain showed none.
            if !peer.chain.is_empty()
                && let Err(error) = self.verify(&peer.chain, Usage::Client, expect)
            {
                return error;
            }
            let left = peer.not_after.and_then(|end| {
                let now = self.0.time.current_time()?.as_secs();
                let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
                end.duration_since(now).ok()
            });
            let pause = left.map_or(RECHECK, |left| left.clamp(SOON, RECHECK));
            tokio::select! {
                // The sender lives in `self`.
                _changed = changes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Judges a chain by today's trust and time.
    ///
    /// # Errors
    /// [`VerifyError`], as [`verify`]; [`VerifyError::NoTrust`] before there is any.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        expect: &Expect,
    ) -> Result<SpiffeId, VerifyError> {
        let trust = self.trust().ok_or(VerifyError::NoTrust)?;
        let now = self.0.time.current_time().ok_or(VerifyError::NoTime)?;
        verify(chain, usage, &trust, expect, now)
    }
}

#[cfg(test)]
#[path = "live/tests.rs"]
mod tests;

//! From a sealed bundle to a stored identity.
//!
//! A crash anywhere leaves something to go on from: the key is written before anybody hears of it,
//! the same key may repeat the call, the identity is written before the bundle is removed.

mod call;
pub(crate) mod lock;

use zen_chassis::Clock;
use zen_chassis::chain::Chain;
use zen_identity::{DialOptions, PrivateKey, chain_to_pem};
use zen_proto::codes::RefusalCode;
use zen_proto::enrollment::v1::redeem_response::Outcome;
use zen_proto::enrollment::v1::{Enrolled, RecoverRequest, RedeemRequest, RedeemResponse};
use zen_proto::ids::{BundleId, PlaneId};
use zen_seal::{Bundle, Identity};

use crate::bundle::Sealed;
use crate::identity::{
    self, IdentityError, KeyText, PendingEnrolment, PlaneIdentity, StoredIdentity,
};
use crate::refusal::Refusal;
use crate::store::{Entry, Store, StoreError};

/// What an opened bundle asks for.
pub(crate) enum Opened {
    /// To be redeemed.
    ToRedeem(Bundle),
    /// The identity in force came from it: a crash left it behind, or it was put there again.
    AlreadyRedeemed,
}

/// Why there is no identity now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    #[error("{}", .0.line())]
    Refused(Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for EnrolError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Opens a bundle and checks that it is for this agent.
pub(crate) fn open(
    sealed: &Sealed,
    expected: Option<PlaneId>,
    held: Option<BundleId>,
) -> Result<Opened, Refusal> {
    let unreadable = |detail: String| Refusal::new(RefusalCode::BundleUnreadable, detail);
    let identity = sealed.identity.as_ref();
    let identity = identity.ok_or_else(|| unreadable("the bundle has no identity".to_owned()))?;
    let text = std::str::from_utf8(identity)
        .map_err(|_| unreadable("the bundle's identity file is not text".to_owned()))?;
    let key = Identity::parse(text)
        .map_err(|error| unreadable(format!("the bundle's identity file: {}", Chain(&error))))?;
    let bundle = Bundle::open(&sealed.bundle, &[key])
        .map_err(|error| unreadable(Chain(&error).to_string()))?;
    judge(bundle, expected, held)
}

/// Whether an opened bundle is for this agent.
pub(crate) fn judge(
    bundle: Bundle,
    expected: Option<PlaneId>,
    held: Option<BundleId>,
) -> Result<Opened, Refusal> {
    if let Some(expected) = expected.filter(|expected| *expected != bundle.plane_id) {
        let detail = format!(
            "the bundle is for {}, this agent for {expected}",
            bundle.plane_id
        );
        return Err(Refusal::new(RefusalCode::PlaneMismatch, detail));
    }
    if held == Some(bundle.bundle_id) {
        return Ok(Opened::AlreadyRedeemed);
    }
    Ok(Opened::ToRedeem(bundle))
}

/// Redeems a bundle: the answer is in the store when this returns, and force is up to the caller.
pub(crate) async fn redeem(
    bundle: &Bundle,
    store: &dyn Store,
    clock: &Clock,
    dial: &DialOptions,
) -> Result<PlaneIdentity, EnrolError> {
    let key = pending_key(bundle.bundle_id, store).await?;
    let request = RedeemRequest {
        bundle_id: bundle.bundle_id.to_string(),
        token: bundle.token.expose().to_vec().into(),
        tenant_id: bundle.tenant_id.to_string(),
        plane_id: bundle.plane_id.to_string(),
        csr: signing_request(&key)?.into(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_time_ms: clock.unix_ms(),
    };
    let from = call::Server {
        address: &bundle.control_plane_address,
        trust_domain: &bundle.trust_domain,
        roots_pem: &bundle.trust_bundle_pem,
        clock,
        dial,
    };
    let enrolled = outcome(from.redeem(request).await?)?;
    let stored = StoredIdentity {
        version: identity::version(),
        bundle_id: bundle.bundle_id,
        tenant_id: bundle.tenant_id,
        plane_id: bundle.plane_id,
        trust_domain: enrolled.trust_domain.clone(),
        roots_pem: enrolled.trust_bundle_pem.clone(),
        revoked_plane_ids: Vec::new(),
        control_plane_address: bundle.control_plane_address.clone(),
        session_address: session_address(&enrolled, &bundle.control_plane_address),
        plane_ca_key_pem: KeyText::of(&key),
        plane_ca_chain_pem: chain_of(&enrolled),
    };
    let identity = believed(stored, clock)?;
    identity::keep(store, &identity.stored).await?;
    Ok(identity)
}

/// Asks for a new plane CA for the known key, after the one before expired. The answer is in the
/// store when this returns.
pub(crate) async fn recover(
    held: &PlaneIdentity,
    store: &dyn Store,
    clock: &Clock,
    dial: &DialOptions,
) -> Result<PlaneIdentity, EnrolError> {
    let old = &held.stored;
    let unusable = |error| refusal_of_answer(&IdentityError::Key(error));
    let known = old.plane_ca_key_pem.key().map_err(unusable)?;
    let agent_time_ms = clock.unix_ms();
    let plane_id = old.plane_id.to_string();
    let mut signed = format!("zen recover v1\n{plane_id}\n").into_bytes();
    signed.extend_from_slice(&agent_time_ms.to_be_bytes());
    let request = RecoverRequest {
        plane_id,
        csr: signing_request(&known)?.into(),
        agent_time_ms,
        proof: known.sign(&signed).map_err(unusable)?.into(),
    };
    let from = call::Server {
        address: &old.control_plane_address,
        trust_domain: &old.trust_domain,
        roots_pem: &old.roots_pem,
        clock,
        dial,
    };
    let enrolled = outcome(from.recover(request).await?)?;
    let stored = StoredIdentity {
        trust_domain: enrolled.trust_domain.clone(),
        roots_pem: enrolled.trust_bundle_pem.clone(),
        session_address: session_address(&enrolled, &old.control_plane_address),
        plane_ca_chain_pem: chain_of(&enrolled),
        ..old.clone()
    };
    let identity = believed(stored, clock)?;
    identity::keep(store, &identity.stored).await?;
    Ok(identity)
}

/// Removes what the redeemed bundle leaves behind, the pending key last: while that is there, an
/// unfinished removal is known for what it is. A bundle that took its place meanwhile stays.
/// The answer is whether it is gone.
pub(crate) async fn remove_bundle(store: &dyn Store, spent: &Sealed) -> Result<bool, StoreError> {
    let now = Sealed::read(store, spent.identity.is_none()).await?;
    let same = now.is_none_or(|now| now.hash == spent.hash);
    let gone = same && remove_halves(store, &[Entry::Bundle, Entry::BundleIdentity]).await;
    if gone {
        forget_pending_enrolment(store).await?;
    }
    Ok(gone)
}

/// Removes what is left of a bundle that was redeemed; whether that worked.
async fn remove_halves(store: &dyn Store, halves: &[Entry]) -> bool {
    let mut gone = true;
    for entry in halves {
        if let Err(error) = store.remove(*entry).await {
            // A mount for reading only, perhaps: the bundle is spent and does no harm.
            tracing::warn!(error = %Chain(&error), ?entry, "redeemed bundle cannot be removed");
            gone = false;
        }
    }
    gone
}

/// At start: ends what a crash cut short, so that neither half a bundle nor a spent key lies
/// around. A bundle that may be `alone` is whole without its key.
pub(crate) async fn tidy_up(
    store: &dyn Store,
    held: &PlaneIdentity,
    alone: bool,
) -> Result<(), StoreError> {
    let mut pending = identity::load_pending(store).await?;
    if held.is_key(pending.renewal.as_ref()) {
        // It was swapped in: the next renewal wants another.
        pending.renewal = None;
        identity::keep_pending(store, &pending).await?;
    }
    let redeemed = held.stored.bundle_id;
    if pending
        .enrolment
        .is_none_or(|pending| pending.bundle_id != redeemed)
    {
        return Ok(());
    }
    let halves = match (
        store.read(Entry::Bundle).await?.is_some(),
        store.read(Entry::BundleIdentity).await?.is_some(),
    ) {
        // Whole: it is opened and dealt with like any other.
        (true, true) => return Ok(()),
        (true, false) if alone => return Ok(()),
        (true, false) => vec![Entry::Bundle],
        (false, true) => vec![Entry::BundleIdentity],
        (false, false) => vec![],
    };
    if remove_halves(store, &halves).await {
        forget_pending_enrolment(store).await?;
    }
    Ok(())
}

async fn forget_pending_enrolment(store: &dyn Store) -> Result<(), StoreError> {
    let mut pending = identity::load_pending(store).await?;
    if pending.enrolment.take().is_some() {
        identity::keep_pending(store, &pending).await?;
    }
    Ok(())
}

/// The key that redeems this bundle, the same at every try: written before anybody hears of it.
async fn pending_key(bundle_id: BundleId, store: &dyn Store) -> Result<PrivateKey, EnrolError> {
    let mut pending = identity::load_pending(store).await?;
    if let Some(known) = &pending.enrolment
        && known.bundle_id == bundle_id
        && let Ok(key) = known.key_pem.key()
    {
        return Ok(key);
    }
    let key = PrivateKey::generate().map_err(|e| refusal_of_answer(&IdentityError::Key(e)))?;
    pending.enrolment = Some(PendingEnrolment {
        bundle_id,
        key_pem: KeyText::of(&key),
    });
    identity::keep_pending(store, &pending).await?;
    Ok(key)
}

fn signing_request(key: &PrivateKey) -> Result<Vec<u8>, Refusal> {
    key.csr("plane")
        .map_err(|e| refusal_of_answer(&IdentityError::Key(e)))
}

fn outcome(response: RedeemResponse) -> Result<Enrolled, Refusal> {
    match response.outcome {
        Some(Outcome::Enrolled(enrolled)) => Ok(enrolled),
        Some(Outcome::Refusal(refusal)) => Err(Refusal::from_wire(
            &refusal.code,
            &refusal.detail,
            RefusalCode::ControlPlaneUnreachable,
        )),
        None => Err(Refusal::new(
            RefusalCode::ControlPlaneUntrusted,
            "the control plane's answer is of a form this version does not know",
        )),
    }
}

fn session_address(enrolled: &Enrolled, otherwise: &str) -> String {
    if enrolled.session_address.is_empty() {
        otherwise.to_owned()
    } else {
        enrolled.session_address.clone()
    }
}

fn chain_of(enrolled: &Enrolled) -> String {
    let chain: Vec<_> = enrolled
        .plane_ca_chain
        .iter()
        .map(|der| der.to_vec().into())
        .collect();
    chain_to_pem(&chain)
}

/// An answer is taken only if it would be believed: a leaf it signs passes the rule now.
fn believed(stored: StoredIdentity, clock: &Clock) -> Result<PlaneIdentity, Refusal> {
    let identity = PlaneIdentity::new(stored).map_err(|error| refusal_of_answer(&error))?;
    identity
        .own_leaf(clock.now())
        .map_err(|error| refusal_of_answer(&error))?;
    Ok(identity)
}

fn refusal_of_answer(error: &IdentityError) -> Refusal {
    let code = if error.is_about_time() {
        RefusalCode::ClockSkew
    } else {
        RefusalCode::ControlPlaneUntrusted
    };
    Refusal::new(
        code,
        format!(
            "the control plane's answer cannot be used: {}",
            Chain(error)
        ),
    )
}

//! What the control plane sends, one message at a time: each is brought into force, or refused
//! with what was there before left as it is.

use std::time::Duration;

use tokio::time::Instant;
use zen_chassis::chain::Chain;
use zen_chassis::net::Address;
use zen_identity::{PrivateKey, chain_to_pem};
use zen_proto::session::v1::agent_message::Message as Up;
use zen_proto::session::v1::control_message::Message as Down;
use zen_proto::session::v1::{
    Applied, PlaneCa, PlaneCaRequest, Rejected, SnapshotChunk, TrustBundle,
};

use super::snapshot::SnapshotError;
use super::{End, Session, after};
use crate::applied;
use crate::identity::{self, IdentityError, KeyText, PlaneIdentity, StoredIdentity};
use crate::plane::Plane;
use crate::store::StoreError;

/// Pause before the control plane is asked for a plane CA again, before jitter.
const RENEWAL_RETRY: Duration = Duration::from_secs(10 * 60);

/// Addresses of a control plane at the most.
const ADDRESSES: usize = 16;
/// Longest address, bytes.
const ADDRESS: usize = 300;

/// Why a message about the identity was not brought into force.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwapError {
    #[error("it cannot be used")]
    Identity(#[from] IdentityError),
    #[error("it cannot be stored")]
    Store(#[from] StoreError),
    #[error("nobody asked for it")]
    Unasked,
    #[error("the control plane refused: {0}")]
    Refused(String),
    #[error("{0:?} is not host:port")]
    Address(String),
    #[error("it names a plane that is no plane id")]
    PlaneId(#[from] zen_proto::ids::IdError),
}

impl Session {
    /// Takes one message.
    pub(super) async fn receive(
        &mut self,
        message: Option<Down>,
        plane: &Plane,
    ) -> Result<(), End> {
        match message {
            Some(Down::Snapshot(chunk)) => self.snapshot(&chunk, plane).await,
            Some(Down::TrustBundle(bundle)) => {
                match trust(bundle, plane).await {
                    // What the agent trusts stands in its heartbeat.
                    Ok(()) => plane.roster.nudge(),
                    Err(error) => {
                        tracing::error!(error = %Chain(&error), "trust bundle not applied");
                    }
                }
                Ok(())
            }
            Some(Down::PlaneCa(answer)) => {
                match renewed(answer, plane).await {
                    Ok(()) => {
                        tracing::info!("plane certificate renewed");
                        plane.roster.nudge();
                    }
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error), "plane certificate not renewed");
                    }
                }
                Ok(())
            }
            Some(Down::GoAway(away)) => {
                let pause = after(away.come_back_after_ms);
                tracing::info!(
                    reason = away.reason,
                    after_ms = away.come_back_after_ms,
                    "asked to come back later"
                );
                Err(End::GoAway(pause))
            }
            Some(Down::RenewPlaneCa(_)) => self.renew_now(plane).await,
            Some(Down::Retired(retired)) => Err(End::Retired(retired.reason)),
            // A question went its own way; a second welcome and what a newer version may send
            // concern nothing here.
            Some(Down::Query(_) | Down::Welcome(_)) | None => Ok(()),
        }
    }

    /// A chunk → a whole snapshot → believed and stored → in force, and told so.
    async fn snapshot(&mut self, chunk: &SnapshotChunk, plane: &Plane) -> Result<(), End> {
        let revision = chunk.revision;
        let outcome = match self.assembly.push(chunk) {
            Ok(None) => return Ok(()),
            Ok(Some(compressed)) => apply(compressed, plane).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                tracing::info!(revision, "snapshot applied");
                self.send(Up::Applied(Applied { revision })).await
            }
            Err(error) => {
                plane.metrics.rejected();
                let (code, detail) = (error.code(), Chain(&error).to_string());
                tracing::warn!(revision, code, error = detail, "snapshot rejected");
                let code = code.to_owned();
                self.send(Up::Rejected(Rejected {
                    revision,
                    code,
                    detail,
                }))
                .await
            }
        }
    }

    /// Asks for the next plane CA when the one in force is past its half life.
    pub(super) async fn renew_if_due(&mut self, plane: &Plane) -> Result<(), End> {
        let Some(identity) = plane.desk.now().identity else {
            return Ok(());
        };
        let now = Instant::now();
        if now < self.next_renewal || !identity.renewal_is_due(plane.stage.clock.now()) {
            return Ok(());
        }
        self.ask_for_ca(&identity, plane).await
    }

    /// Asks for the next plane CA because the control plane wants it so.
    async fn renew_now(&mut self, plane: &Plane) -> Result<(), End> {
        match plane.desk.now().identity {
            Some(identity) => self.ask_for_ca(&identity, plane).await,
            None => Ok(()),
        }
    }

    async fn ask_for_ca(&mut self, identity: &PlaneIdentity, plane: &Plane) -> Result<(), End> {
        let now = Instant::now();
        self.next_renewal = now + plane.stage.random.jitter(RENEWAL_RETRY, 0.2);
        match renewal_request(identity, plane).await {
            Ok(csr) => {
                self.send(Up::PlaneCaRequest(PlaneCaRequest { csr: csr.into() }))
                    .await
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "plane certificate cannot be renewed");
                Ok(())
            }
        }
    }
}

async fn apply(compressed: Vec<u8>, plane: &Plane) -> Result<(), SnapshotError> {
    let held = plane.desk.now();
    let Some(identity) = &held.identity else {
        return Ok(());
    };
    let now = plane.stage.clock.now();
    if let Some(new) = applied::accept(compressed, &held, identity, &*plane.store, now).await? {
        plane.metrics.applied(new.snapshot.revision);
        plane.desk.set_applied(new);
        let revision = plane.desk.now().revision();
        plane.state.send_modify(|state| state.revision = revision);
    }
    Ok(())
}

/// Keeps where sessions are taken, if the control plane names several places: when one of them is
/// gone, the plane goes to another.
pub(super) async fn addresses(named: &[String], plane: &Plane) -> Result<(), SwapError> {
    let Some(held) = plane.desk.now().identity else {
        return Err(SwapError::Unasked);
    };
    if named.is_empty() || named.len() > ADDRESSES {
        return Ok(());
    }
    let is_one = |text: &String| {
        text.len() <= ADDRESS && matches!(text.parse(), Ok(Address::Tcp(_))) && !text.contains(',')
    };
    if let Some(wrong) = named.iter().find(|text| !is_one(text)) {
        return Err(SwapError::Address(wrong.chars().take(ADDRESS).collect()));
    }
    let all = named.join(",");
    if held.stored.session_address == all {
        return Ok(());
    }
    let stored = StoredIdentity {
        session_address: all.clone(),
        control_plane_address: all,
        ..held.stored.clone()
    };
    let identity = PlaneIdentity::new(stored)?;
    identity::keep(&*plane.store, &identity.stored).await?;
    plane.adopt(identity);
    tracing::info!(addresses = ?named, "control plane's addresses kept");
    Ok(())
}

/// Swaps whom the plane trusts: stored, then in force.
async fn trust(bundle: TrustBundle, plane: &Plane) -> Result<(), SwapError> {
    let Some(held) = plane.desk.now().identity else {
        return Err(SwapError::Unasked);
    };
    let revoked = bundle.revoked_plane_ids.iter().map(|id| id.parse());
    let revoked: Vec<_> = revoked.collect::<Result<_, _>>()?;
    if (&bundle.roots_pem, &revoked) == (&held.stored.roots_pem, &held.stored.revoked_plane_ids) {
        // Each session begins with it.
        return Ok(());
    }
    let stored = StoredIdentity {
        roots_pem: bundle.roots_pem,
        revoked_plane_ids: revoked,
        ..held.stored.clone()
    };
    let identity = PlaneIdentity::new(stored)?;
    // Roots under which the plane itself is not believed would lock it out for good.
    identity.own_leaf(plane.stage.clock.now())?;
    identity::keep(&*plane.store, &identity.stored).await?;
    plane.adopt(identity);
    tracing::info!("trust bundle applied");
    Ok(())
}

/// The signing request for the next plane CA. Its key is written before anybody hears of it, and
/// is the same until an answer came.
async fn renewal_request(held: &PlaneIdentity, plane: &Plane) -> Result<Vec<u8>, SwapError> {
    let mut pending = identity::load_pending(&*plane.store).await?;
    let spent = held.is_key(pending.renewal.as_ref());
    let known = pending
        .renewal
        .as_ref()
        .filter(|_| !spent)
        .and_then(|key| key.key().ok());
    let key = match known {
        Some(key) => key,
        None => {
            let key = PrivateKey::generate().map_err(IdentityError::Key)?;
            pending.renewal = Some(KeyText::of(&key));
            identity::keep_pending(&*plane.store, &pending).await?;
            key
        }
    };
    Ok(key.csr("plane").map_err(IdentityError::Key)?)
}

/// Swaps the plane CA: believed, stored, in force, and only then the pending key goes.
async fn renewed(answer: PlaneCa, plane: &Plane) -> Result<(), SwapError> {
    if !answer.refusal.is_empty() {
        return Err(SwapError::Refused(
            answer.refusal.chars().take(200).collect(),
        ));
    }
    let mut pending = identity::load_pending(&*plane.store).await?;
    let held = plane.desk.now().identity;
    let (Some(key), Some(held)) = (pending.renewal.take(), held) else {
        return Err(SwapError::Unasked);
    };
    let chain: Vec<_> = answer.chain.iter().map(|der| der.to_vec().into()).collect();
    let stored = StoredIdentity {
        plane_ca_key_pem: key,
        plane_ca_chain_pem: chain_to_pem(&chain),
        ..held.stored.clone()
    };
    let identity = PlaneIdentity::new(stored)?;
    identity.own_leaf(plane.stage.clock.now())?;
    identity::keep(&*plane.store, &identity.stored).await?;
    plane.adopt(identity);
    identity::keep_pending(&*plane.store, &pending).await?;
    Ok(())
}

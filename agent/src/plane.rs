//! What the parts of the agent share: where things are kept, what is in force, who is next door.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use zen_chassis::Stage;
use zen_chassis::chain::Chain;
use zen_chassis::clock::to_unix_ms;
use zen_identity::{DialOptions, LiveIdentity, Proxy};
use zen_proto::codes::RefusalCode;
use zen_proto::component::Component;
use zen_proto::ids::{PlaneId, TenantId};
use zen_proto::limits::LEAF_VALIDITY;
use zen_proto::session::v1::ComponentStatus;

use crate::applied::{Desk, Held};
use crate::identity::PlaneIdentity;
use crate::kubernetes::herald::Herald;
use crate::local::ask::Router;
use crate::local::roster::Roster;
use crate::machine::{Machine, State};
use crate::metrics::{Certificate, Metrics};
use crate::outbox::Outbox;
use crate::refusal::Refusal;
use crate::store::Store;

/// Longest pause between looks at the leaf's age: a sleeping machine's timers sleep too.
const LEAF_LOOK: Duration = Duration::from_secs(60);
/// Pause after a leaf could not be made.
const LEAF_RETRY: Duration = Duration::from_secs(5);

/// Where a plane stands, for whoever embeds the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneState {
    /// Where it stands.
    pub state: State,
    /// Whose plane it is, once enrolled.
    pub tenant: Option<TenantId>,
    /// The plane, once enrolled.
    pub plane: Option<PlaneId>,
    /// Revision of the applied snapshot; 0 without one.
    pub revision: u64,
    /// What last stood in the way; nothing once a session is up.
    pub refusal: Option<Refusal>,
}

/// What the parts of the agent share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Plane {
    pub(crate) stage: Stage,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) desk: Desk,
    pub(crate) live: LiveIdentity,
    /// How the control plane is dialled.
    pub(crate) dial: DialOptions,
    pub(crate) roster: Roster,
    pub(crate) router: Router,
    pub(crate) outbox: Outbox,
    pub(crate) metrics: Metrics,
    pub(crate) herald: Herald,
    pub(crate) state: Arc<watch::Sender<PlaneState>>,
    /// New at each start.
    pub(crate) boot_id: String,
}

impl PlaneState {
    fn of(held: &Held) -> Self {
        let stored = held.identity.as_ref().map(|identity| &identity.stored);
        Self {
            state: Machine::start(held.identity.is_some()).state(),
            tenant: stored.map(|stored| stored.tenant_id),
            plane: stored.map(|stored| stored.plane_id),
            revision: held.revision(),
            refusal: None,
        }
    }
}

impl Plane {
    /// With nothing in force.
    pub(crate) fn new(stage: &Stage, store: Arc<dyn Store>, herald: Herald) -> Self {
        let nothing = Held::default();
        Self {
            stage: stage.clone(),
            store,
            desk: Desk::new(nothing.clone()),
            live: LiveIdentity::new(stage.clock.time_provider()),
            dial: DialOptions::default(),
            roster: Roster::default(),
            router: Router::default(),
            outbox: Outbox::default(),
            metrics: Metrics::new(&stage.meter),
            herald,
            state: Arc::new(watch::Sender::new(PlaneState::of(&nothing))),
            boot_id: hex::encode(stage.random.bytes::<8>()),
        }
    }

    /// Dials through this proxy, if one is set.
    pub(crate) fn through(mut self, proxy: Option<Proxy>) -> Self {
        self.dial.proxy = proxy;
        self
    }

    /// Takes up what is stored of an earlier life.
    pub(crate) fn enter(&self, held: Held) {
        self.state.send_replace(PlaneState::of(&held));
        self.metrics.applied(held.revision());
        self.desk.replace(held.clone());
        if let Some(identity) = held.identity {
            self.put_in_force(identity);
        }
    }

    /// Lets go of everything: somebody else may act for the plane from now on.
    pub(crate) fn leave(&self) {
        self.enter(Held::default());
        self.metrics.standing(false, false);
    }

    /// Brings an identity into force: the agent's own leaf, whom it trusts, what neighbours get.
    pub(crate) fn adopt(&self, identity: PlaneIdentity) {
        self.put_in_force(Arc::new(identity));
    }

    /// As [`Self::adopt`], for one that lies on the desk already.
    pub(crate) fn put_in_force(&self, identity: Arc<PlaneIdentity>) {
        self.metrics
            .certificate(Certificate::PlaneCa, identity.not_after());
        self.live.set_trust(identity.trust.clone());
        if let Err(refusal) = self.renew_leaf(&identity) {
            // Its time may be over, or the clock wrong: no session opens until that is settled.
            tracing::debug!(detail = refusal.detail, "own leaf cannot be made");
        }
        self.desk.set_identity(identity);
        self.metrics.applied(self.desk.now().revision());
    }

    /// Gives the agent a leaf to open a session with, unless it has one.
    pub(crate) fn ensure_leaf(&self, identity: &PlaneIdentity) -> Result<(), Refusal> {
        let now = self.stage.clock.now();
        match self.live.leaf_not_after() {
            Some(end) if end > now => Ok(()),
            _ => self.renew_leaf(identity),
        }
    }

    /// Gives the agent a fresh leaf.
    fn renew_leaf(&self, identity: &PlaneIdentity) -> Result<(), Refusal> {
        let unusable = |code, error: &(dyn std::error::Error + 'static)| {
            Refusal::new(
                code,
                format!("the plane's identity cannot be used: {}", Chain(error)),
            )
        };
        let (chain, key) = identity.own_leaf(self.stage.clock.now()).map_err(|error| {
            let about_time = error.is_about_time();
            let code = if about_time {
                RefusalCode::ClockSkew
            } else {
                RefusalCode::PlaneRetired
            };
            unusable(code, &error)
        })?;
        self.live
            .set_leaf(chain, &key)
            .map_err(|error| unusable(RefusalCode::PlaneRetired, &error))?;
        if let Some(end) = self.live.leaf_not_after() {
            self.metrics.certificate(Certificate::Leaf, end);
        }
        Ok(())
    }

    /// Renews the agent's own leaf at half its life, until shutdown.
    pub(crate) async fn keep_leaf(self) -> anyhow::Result<()> {
        let mut held = self.desk.watch();
        loop {
            let identity = held.borrow_and_update().identity.clone();
            let now = self.stage.clock.now();
            let pause = identity.map_or(LEAF_LOOK, |identity| self.leaf_pause(&identity, now));
            tokio::select! {
                () = self.stage.shutdown.cancelled() => return Ok(()),
                changed = held.changed() => changed?,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Renews the leaf if it is time; how long to wait until the next look.
    fn leaf_pause(&self, identity: &PlaneIdentity, now: SystemTime) -> Duration {
        let end = self.live.leaf_not_after().unwrap_or(SystemTime::UNIX_EPOCH);
        let left = end.duration_since(now).unwrap_or_default();
        // A leaf that ends with its authority cannot be bettered: the authority is renewed first.
        if left > LEAF_VALIDITY / 2 || (!left.is_zero() && end >= identity.not_after()) {
            return left
                .saturating_sub(LEAF_VALIDITY / 2)
                .clamp(LEAF_RETRY, LEAF_LOOK);
        }
        if identity.is_expired(now) || self.renew_leaf(identity).is_ok() {
            LEAF_LOOK
        } else {
            LEAF_RETRY
        }
    }

    /// What the agent says of itself.
    pub(crate) fn own_status(&self) -> ComponentStatus {
        let pending = self.stage.ready.pending();
        ComponentStatus {
            component: Component::Agent.as_str().to_owned(),
            instance: "0".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id.clone(),
            ready: pending.is_empty(),
            pending: pending
                .into_iter()
                .map(|(name, why)| format!("{name}: {why}"))
                .collect(),
            applied_revision: self.desk.now().revision(),
            certificate_not_after_ms: self.live.leaf_not_after().map_or(0, to_unix_ms),
            trusted_roots: self
                .live
                .trusted_roots()
                .iter()
                .map(|root| root.to_vec().into())
                .collect(),
            certificate_root: self
                .live
                .leaf_root()
                .map_or_else(Default::default, |root| root.to_vec().into()),
            ..ComponentStatus::default()
        }
    }
}

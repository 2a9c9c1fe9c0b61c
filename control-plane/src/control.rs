//! What every part of the control plane works with.

use std::time::Duration;

use zen_chassis::Stage;
use zen_identity::TrustDomain;
use zen_proto::ids::TenantId;

use crate::authority::Authority;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::publisher::Touched;
use crate::store::Store;

/// The parts, put together once at the start.
pub(crate) struct Control {
    pub(crate) stage: Stage,
    pub(crate) store: Store,
    pub(crate) authority: Authority,
    pub(crate) live: Live,
    pub(crate) touched: Touched,
    pub(crate) metrics: Metrics,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) operator_tenant: TenantId,
    /// `host:port` that agents dial.
    pub(crate) agents_advertise: String,
    pub(crate) times: Times,
    /// Recoveries between long sessions.
    pub(crate) recovery_budget: u32,
}

/// Times from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) bundle_ttl: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeat_lost: Duration,
    pub(crate) query_timeout: Duration,
}

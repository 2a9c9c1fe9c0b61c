//! What every part of the control plane works with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zen_chassis::Stage;
use zen_identity::TrustDomain;
use zen_proto::ids::TenantId;

use crate::authority::Authority;
use crate::dashboard::Kept;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::people::People;
use crate::publisher::Touched;
use crate::store::{Engine, Store, StoreError};

/// The parts, put together once at the start.
pub(crate) struct Control {
    pub(crate) stage: Stage,
    pub(crate) store: Store,
    pub(crate) authority: Authority,
    pub(crate) live: Live,
    pub(crate) touched: Touched,
    pub(crate) metrics: Metrics,
    /// What pages remember for a moment.
    pub(crate) kept: Kept,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) operator_tenant: TenantId,
    /// The tenant made at the first start.
    pub(crate) default_tenant: TenantId,
    pub(crate) people: People,
    /// `host:port` that agents dial; several, with commas between them.
    pub(crate) agents_advertise: String,
    /// A mirror of the images that install commands name.
    pub(crate) image_registry: Option<String>,
    /// Sessions that may be on their way to a welcome at once.
    pub(crate) openings: Arc<Semaphore>,
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

impl Control {
    /// When something happens, by a clock that all control planes on one database share, Unix
    /// microseconds.
    ///
    /// # Errors
    /// When that clock is the database's and it cannot be asked.
    pub(crate) async fn shared_time(&self) -> Result<u64, StoreError> {
        match self.store.engine() {
            Engine::Sqlite => Ok(self.stage.clock.unix_ms().saturating_mul(1000)),
            Engine::Postgres => self.store.database_time().await,
        }
    }
}

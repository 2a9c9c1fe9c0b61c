//! What a component is handed by whoever runs it: clock, randomness, metrics, readiness, tasks,
//! shutdown. Several stages can live in one process.

use opentelemetry::metrics::Meter;
use tokio_util::sync::CancellationToken;
use zen_proto::ids::Id;

use crate::admin::{Admin, Views};
use crate::clock::Clock;
use crate::metrics::{MetricsError, Registries};
use crate::random::Random;
use crate::ready::Readiness;
use crate::tasks::Tasks;
use crate::telemetry::LogLevel;

/// One component's surroundings. Cheap to clone.
#[derive(Clone)]
pub struct Stage {
    /// The component's name in logs and `/readyz`.
    pub name: String,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Makes instruments.
    pub meter: Meter,
    /// What must hold before `/readyz` says so.
    pub ready: Readiness,
    /// Owned tasks.
    pub tasks: Tasks,
    /// Cancelled when the component shall stop: take nothing new, drain, end.
    pub shutdown: CancellationToken,
    /// Summaries for `/debug/state`.
    pub views: Views,
}

impl Stage {
    /// A stage whose metrics carry `labels`, shown by `admin`, stopped with or without `parent`.
    ///
    /// # Errors
    /// When a label is no valid Prometheus label.
    pub fn new(
        name: &str,
        labels: &[(&str, &str)],
        admin: &Admin,
        parent: &CancellationToken,
    ) -> Result<Self, MetricsError> {
        let shutdown = parent.child_token();
        let ready = Readiness::default();
        Ok(Self {
            name: name.to_owned(),
            clock: Clock::system(),
            random: Random::system(),
            meter: admin.registries().meter(labels)?,
            views: admin.show(name, ready.clone()),
            tasks: Tasks::new(shutdown.clone()),
            ready,
            shutdown,
        })
    }

    /// A stage of its own, with no admin listener: for tests and tools.
    ///
    /// # Errors
    /// When metrics cannot be set up.
    pub fn detached(name: &str) -> Result<Self, MetricsError> {
        let admin = Admin::new(Registries::default(), LogLevel::fixed());
        Self::new(name, &[], &admin, &CancellationToken::new())
    }

    /// The same stage with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A new id of the present time.
    #[must_use]
    pub fn id<I: Id>(&self) -> I {
        I::generate(self.clock.unix_ms(), self.random.bytes())
    }
}

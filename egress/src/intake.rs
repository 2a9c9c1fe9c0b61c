//! The way into the ledger, the same for ingesters of this plane and for bridges.

use std::sync::Arc;

use crate::codes;
use crate::counters::Counters;
use crate::ledger::{Acceptance, Incoming, Ledger, LedgerError};
use crate::metrics::Metrics;

/// Takes deliveries in and counts them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) ledger: Ledger,
    pub(crate) metrics: Metrics,
    pub(crate) counters: Arc<Counters>,
}

impl Intake {
    /// Returns when every delivery is durable, the known ones included.
    ///
    /// # Errors
    /// When the ledger could not take them; then none was taken.
    pub(crate) async fn take(&self, deliveries: Vec<Incoming>) -> Result<(), LedgerError> {
        let flows: Vec<_> = deliveries.iter().map(|one| one.flow.to_string()).collect();
        let unreadable: Vec<_> = deliveries
            .iter()
            .map(|one| one.unreadable.clone().map(|why| (one.delivery, why)))
            .collect();
        let taken = self.ledger.accept(deliveries).await?;
        self.metrics.taken(&taken);
        self.counters.taken(&flows, &taken);
        for (why, acceptance) in unreadable.into_iter().zip(taken) {
            if let (Some((delivery, why)), Acceptance::Stored) = (why, acceptance) {
                tracing::error!(%delivery, why, code = codes::PARCEL_UNREADABLE, "dead letter");
                self.metrics.dead_lettered(codes::PARCEL_UNREADABLE);
            }
        }
        Ok(())
    }
}

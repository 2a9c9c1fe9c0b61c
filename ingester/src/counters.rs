//! What is told to the control plane: counts of each endpoint and flow since the start.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use zen_proto::ids::{EndpointId, FlowId};
use zen_proto::session::v1::FlowCounters as Report;

/// A count that only rises.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of one endpoint.
#[derive(Default)]
pub(crate) struct EndpointCounters {
    pub(crate) accepted: Count,
    pub(crate) refused: Count,
    pub(crate) duplicates: Count,
}

/// Counts of one flow.
#[derive(Default)]
pub(crate) struct FlowCounters {
    /// Made durable by the egress or the bridge.
    pub(crate) dispatched: Count,
    /// Kept too long to be of use.
    pub(crate) expired: Count,
    /// Refused by the other side for good.
    pub(crate) refused: Count,
}

/// The counts of everything configured; they outlive a change of configuration. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Counters(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    endpoints: HashMap<EndpointId, Arc<EndpointCounters>>,
    flows: HashMap<FlowId, Arc<FlowCounters>>,
}

impl Counters {
    pub(crate) fn endpoint(&self, id: EndpointId) -> Arc<EndpointCounters> {
        Arc::clone(self.0.lock().endpoints.entry(id).or_default())
    }

    pub(crate) fn flow(&self, id: FlowId) -> Arc<FlowCounters> {
        Arc::clone(self.0.lock().flows.entry(id).or_default())
    }

    /// Forgets what is no longer configured.
    pub(crate) fn keep_only(&self, endpoints: &HashSet<EndpointId>, flows: &HashSet<FlowId>) {
        let mut known = self.0.lock();
        known.endpoints.retain(|id, _| endpoints.contains(id));
        known.flows.retain(|id, _| flows.contains(id));
    }

    /// Everything that is not zero, as it is reported.
    pub(crate) fn report(&self) -> Vec<Report> {
        let known = self.0.lock();
        let endpoints = known.endpoints.iter().map(|(id, counts)| Report {
            endpoint_id: id.to_string(),
            accepted: counts.accepted.get(),
            refused: counts.refused.get(),
            duplicates: counts.duplicates.get(),
            ..Report::default()
        });
        let flows = known.flows.iter().map(|(id, counts)| Report {
            flow_id: id.to_string(),
            dispatched: counts.dispatched.get(),
            expired: counts.expired.get(),
            refused: counts.refused.get(),
            ..Report::default()
        });
        let moved =
            |r: &Report| r.accepted + r.refused + r.duplicates + r.dispatched + r.expired > 0;
        endpoints.chain(flows).filter(moved).collect()
    }
}

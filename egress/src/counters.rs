//! Counters for each flow since this process started: what the control plane shows.

use std::collections::HashMap;

use parking_lot::Mutex;
use zen_proto::limits;
use zen_proto::session::v1::FlowCounters;

use crate::codes;
use crate::ledger::{Acceptance, Fate, Settlement};

/// Flows counted at the most: all that a plane can have, and as many that are gone since.
const FLOWS: usize = 2 * limits::FLOWS_PER_PLANE;

/// The counters of all flows.
#[derive(Default)]
pub(crate) struct Counters(Mutex<HashMap<String, FlowCounters>>);

impl Counters {
    /// Deliveries were taken in: each with its flow.
    pub(crate) fn taken(&self, flows: &[String], taken: &[Acceptance]) {
        for (flow, acceptance) in flows.iter().zip(taken) {
            self.count(flow, |counters| match acceptance {
                Acceptance::Stored => counters.accepted += 1,
                Acceptance::Duplicate => counters.duplicates += 1,
            });
        }
    }

    /// A settlement of a delivery of this flow is in the ledger.
    pub(crate) fn settled(&self, flow: &str, settlement: &Settlement) {
        self.count(flow, |counters| {
            let delivered = settlement.fate == Fate::Delivered;
            if settlement.attempt.is_some() && !delivered {
                counters.failed_attempts += 1;
            }
            match settlement.fate {
                Fate::Delivered => counters.delivered += 1,
                Fate::Retry { .. } => {}
                Fate::DeadLetter { code, .. } => {
                    counters.dead_lettered += 1;
                    if code == codes::DELIVERY_EXPIRED {
                        counters.expired += 1;
                    }
                }
            }
        });
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<FlowCounters> {
        self.0.lock().values().cloned().collect()
    }

    fn count(&self, flow: &str, change: impl FnOnce(&mut FlowCounters)) {
        let mut all = self.0.lock();
        if let Some(counters) = all.get_mut(flow) {
            change(counters);
        } else if all.len() < FLOWS {
            let mut counters = FlowCounters {
                flow_id: flow.to_owned(),
                ..FlowCounters::default()
            };
            change(&mut counters);
            all.insert(flow.to_owned(), counters);
        }
    }
}

//! Where events go: the flows of each endpoint, by road. Made from a snapshot, never changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use zen_identity::SpiffeId;
use zen_proto::ids::FlowId;
use zen_proto::snapshot::v1::{Flow as FlowEntry, Snapshot};

use crate::counters::{Counters, FlowCounters};

/// The two ways out of an ingester.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Road {
    /// To the egress of this plane.
    Egress,
    /// To a bridge, for targets in other planes.
    Bridge,
}

impl Road {
    /// The one word for it in metrics, logs and file names.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Bridge => "bridge",
        }
    }
}

/// A flow as the dispatcher needs it.
pub(crate) struct Flow {
    pub(crate) id: String,
    pub(crate) target_id: String,
    pub(crate) target_plane_id: String,
    pub(crate) counters: Arc<FlowCounters>,
}

/// A bridge and who it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) address: String,
    pub(crate) spiffe_id: SpiffeId,
}

/// Everything the roads go by.
pub(crate) struct Plan {
    pub(crate) bridges: Vec<Bridge>,
    egress: HashMap<String, Vec<Arc<Flow>>>,
    bridge: HashMap<String, Vec<Arc<Flow>>>,
}

impl Plan {
    /// The plan of a snapshot, and the ids of its flows. What cannot be read is logged and left out.
    pub(crate) fn new(snapshot: &Snapshot, counters: &Counters) -> (Self, HashSet<FlowId>) {
        let mut plan = Self {
            bridges: snapshot.bridges.iter().filter_map(read_bridge).collect(),
            egress: HashMap::new(),
            bridge: HashMap::new(),
        };
        let mut known = HashSet::new();
        let own = &snapshot.plane_id;
        for entry in snapshot
            .flows
            .iter()
            .filter(|flow| flow.endpoint_plane_id == *own)
        {
            let Ok(id) = entry.id.parse::<FlowId>() else {
                tracing::error!(flow = entry.id, "flow has no valid id and is left out");
                continue;
            };
            known.insert(id);
            if entry.enabled {
                let local = entry.target_plane_id == *own;
                let road = if local {
                    &mut plan.egress
                } else {
                    &mut plan.bridge
                };
                let flows = road.entry(entry.endpoint_id.clone()).or_default();
                flows.push(Arc::new(read_flow(entry, counters.flow(id))));
            }
        }
        (plan, known)
    }

    /// The enabled flows of an endpoint on a road.
    pub(crate) fn flows(&self, road: Road, endpoint_id: &str) -> &[Arc<Flow>] {
        self.on(road).get(endpoint_id).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing goes by this road.
    pub(crate) fn is_idle(&self, road: Road) -> bool {
        self.on(road).is_empty()
    }

    const fn on(&self, road: Road) -> &HashMap<String, Vec<Arc<Flow>>> {
        match road {
            Road::Egress => &self.egress,
            Road::Bridge => &self.bridge,
        }
    }
}

fn read_flow(entry: &FlowEntry, counters: Arc<FlowCounters>) -> Flow {
    Flow {
        id: entry.id.clone(),
        target_id: entry.target_id.clone(),
        target_plane_id: entry.target_plane_id.clone(),
        counters,
    }
}

fn read_bridge(entry: &zen_proto::snapshot::v1::Bridge) -> Option<Bridge> {
    match entry.spiffe_id.parse() {
        Ok(spiffe_id) => Some(Bridge {
            address: entry.address.clone(),
            spiffe_id,
        }),
        Err(error) => {
            tracing::error!(address = entry.address, %error, "bridge has no valid id and is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(last: u8) -> String {
        format!("flw_{}{last}", "0".repeat(25))
    }

    fn flow(last: u8, from: &str, to: &str, enabled: bool) -> FlowEntry {
        FlowEntry {
            id: id(last),
            endpoint_id: "ep".to_owned(),
            endpoint_plane_id: from.to_owned(),
            target_plane_id: to.to_owned(),
            enabled,
            ..FlowEntry::default()
        }
    }

    #[test]
    fn a_flow_takes_the_road_to_its_target_if_it_starts_here_and_is_enabled() {
        let snapshot = Snapshot {
            plane_id: "here".to_owned(),
            flows: vec![
                flow(1, "here", "here", true),
                flow(2, "here", "there", true),
                flow(3, "here", "there", false),
                flow(4, "there", "here", true),
            ],
            ..Snapshot::default()
        };
        let (plan, known) = Plan::new(&snapshot, &Counters::default());
        let ids = |road| {
            plan.flows(road, "ep")
                .iter()
                .map(|f| f.id.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(Road::Egress), [id(1)]);
        assert_eq!(ids(Road::Bridge), [id(2)]);
        assert_eq!(known.len(), 3);
        assert!(plan.flows(Road::Egress, "another").is_empty());
    }
}

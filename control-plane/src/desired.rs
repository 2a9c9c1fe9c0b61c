//! From rows to what one plane is told. Pure: the same rows, in whatever order, give the same
//! snapshot.

use zen_identity::{SpiffeId, TrustDomain};
use zen_proto::component::Component;
use zen_proto::snapshot::v1::{Bridge, PlaneKind as WireKind, ServedPlane, Snapshot};

use crate::endpoint::{self, Endpoint};
use crate::flow::{self, Flow};
use crate::plane::{Plane, PlaneKind};
use crate::secret::{self, SealedSecret};
use crate::target::{self, Target};

/// The version of the snapshot's format.
const VERSION: u32 = 1;

/// All rows that one plane's snapshot is made of.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) plane: Plane,
    /// Endpoints that live in the plane, removed ones included.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Targets that live in the plane.
    pub(crate) targets: Vec<Target>,
    /// Flows that begin or end in the plane.
    pub(crate) flows: Vec<Flow>,
    /// Edge planes that name this one as their data plane.
    pub(crate) served: Vec<Plane>,
    /// The data plane whose bridges it uses: itself, if it is one.
    pub(crate) data_plane: Option<Plane>,
    /// Where that data plane's bridges are reached.
    pub(crate) bridges: Vec<String>,
    /// Sealed secrets of the plane.
    pub(crate) secrets: Vec<SealedSecret>,
}

/// The plane's whole desired configuration, with revision 0: publishing gives it one.
pub(crate) fn snapshot(inputs: &Inputs, trust_domain: &TrustDomain) -> Snapshot {
    let Inputs {
        plane,
        endpoints,
        targets,
        flows,
        served,
        ..
    } = inputs;
    let mut snapshot = Snapshot {
        version: VERSION,
        revision: 0,
        tenant_id: plane.tenant.to_string(),
        plane_id: plane.id.to_string(),
        kind: match plane.kind {
            PlaneKind::Edge => WireKind::Edge.into(),
            PlaneKind::Data => WireKind::Data.into(),
        },
        endpoints: endpoints.iter().map(endpoint::to_wire).collect(),
        targets: targets
            .iter()
            .filter(|t| t.removed_at.is_none())
            .map(target::to_wire)
            .collect(),
        // A flow with an end that is gone would only gather what nobody can have.
        flows: flows
            .iter()
            .filter(|flow| flow.whole)
            .map(flow::to_wire)
            .collect(),
        bridges: bridges(inputs, trust_domain),
        served_planes: Vec::new(),
        revoked_plane_ids: Vec::new(),
        secrets: inputs.secrets.iter().map(secret::to_wire).collect(),
    };
    // A data plane's own egress attaches to its bridges as those of edge planes do.
    let own = (plane.kind == PlaneKind::Data).then_some(plane);
    for plane in own.into_iter().chain(served) {
        if plane.is_retired() {
            snapshot.revoked_plane_ids.push(plane.id.to_string());
        } else {
            let (plane_id, tenant_id) = (plane.id.to_string(), plane.tenant.to_string());
            snapshot.served_planes.push(ServedPlane {
                plane_id,
                tenant_id,
            });
        }
    }
    if let Some(retired) = inputs
        .data_plane
        .as_ref()
        .filter(|plane| plane.is_retired())
    {
        snapshot.revoked_plane_ids.push(retired.id.to_string());
    }
    sort(&mut snapshot);
    snapshot
}

fn bridges(inputs: &Inputs, trust_domain: &TrustDomain) -> Vec<Bridge> {
    let Some(data_plane) = inputs
        .data_plane
        .as_ref()
        .filter(|plane| !plane.is_retired())
    else {
        return Vec::new();
    };
    let id = SpiffeId::Component {
        trust_domain: trust_domain.clone(),
        tenant: data_plane.tenant,
        plane: data_plane.id,
        component: Component::Bridge,
    };
    let bridge = |address: &String| Bridge {
        address: address.clone(),
        spiffe_id: id.to_string(),
    };
    inputs.bridges.iter().map(bridge).collect()
}

fn sort(snapshot: &mut Snapshot) {
    snapshot.endpoints.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot.targets.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot.flows.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot.secrets.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot.bridges.sort_by(|a, b| a.address.cmp(&b.address));
    snapshot.bridges.dedup();
    snapshot
        .served_planes
        .sort_by(|a, b| a.plane_id.cmp(&b.plane_id));
    snapshot.revoked_plane_ids.sort();
    snapshot.revoked_plane_ids.dedup();
}

#[cfg(test)]
#[path = "desired/tests.rs"]
mod tests;

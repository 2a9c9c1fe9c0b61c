//! What one component may see of a snapshot. Pure.

use zen_proto::component::Component;
use zen_proto::snapshot::v1::Snapshot;

/// The part of a snapshot that a component needs, and nothing else of it.
pub(crate) fn slice(whole: &Snapshot, component: Component) -> Snapshot {
    let here = &whole.plane_id;
    let mut part = Snapshot {
        version: whole.version,
        revision: whole.revision,
        tenant_id: whole.tenant_id.clone(),
        plane_id: whole.plane_id.clone(),
        kind: whole.kind,
        revoked_plane_ids: whole.revoked_plane_ids.clone(),
        ..Snapshot::default()
    };
    match component {
        Component::Ingester => {
            part.endpoints = whole.endpoints.clone();
            part.flows = whole
                .flows
                .iter()
                .filter(|f| f.endpoint_plane_id == *here)
                .cloned()
                .collect();
            part.bridges = whole.bridges.clone();
        }
        Component::Egress => {
            part.targets = whole.targets.clone();
            part.flows = whole
                .flows
                .iter()
                .filter(|f| f.target_plane_id == *here)
                .cloned()
                .collect();
            part.bridges = whole.bridges.clone();
        }
        Component::Bridge => part.served_planes = whole.served_planes.clone(),
        // Ciphertext, and yet nobody else has a use for it.
        Component::Lock => part.secrets = whole.secrets.clone(),
        Component::Agent => {}
    }
    part
}

#[cfg(test)]
mod tests {
    use zen_proto::snapshot::v1::{Bridge, Endpoint, Flow, Secret, ServedPlane, Target};

    use super::*;

    fn flow(id: &str, from: &str, to: &str) -> Flow {
        Flow {
            id: id.to_owned(),
            endpoint_plane_id: from.to_owned(),
            target_plane_id: to.to_owned(),
            ..Flow::default()
        }
    }

    fn whole() -> Snapshot {
        Snapshot {
            version: 1,
            revision: 7,
            tenant_id: "ten".to_owned(),
            plane_id: "here".to_owned(),
            kind: 1,
            endpoints: vec![Endpoint {
                id: "ep".to_owned(),
                ..Endpoint::default()
            }],
            targets: vec![Target {
                id: "tgt".to_owned(),
                ..Target::default()
            }],
            flows: vec![
                flow("local", "here", "here"),
                flow("out", "here", "there"),
                flow("in", "there", "here"),
            ],
            bridges: vec![Bridge {
                address: "b:1".to_owned(),
                ..Bridge::default()
            }],
            served_planes: vec![ServedPlane::default()],
            revoked_plane_ids: vec!["gone".to_owned()],
            secrets: vec![Secret::default()],
        }
    }

    fn flows(part: &Snapshot) -> Vec<&str> {
        part.flows.iter().map(|flow| flow.id.as_str()).collect()
    }

    #[test]
    fn an_ingester_sees_endpoints_and_the_flows_that_start_here() {
        let part = slice(&whole(), Component::Ingester);
        assert_eq!(flows(&part), ["local", "out"]);
        assert_eq!((part.endpoints.len(), part.bridges.len()), (1, 1));
        assert!(part.targets.is_empty() && part.served_planes.is_empty());
    }

    #[test]
    fn an_egress_sees_targets_and_the_flows_that_end_here() {
        let part = slice(&whole(), Component::Egress);
        assert_eq!(flows(&part), ["local", "in"]);
        assert_eq!((part.targets.len(), part.bridges.len()), (1, 1));
        assert!(part.endpoints.is_empty() && part.served_planes.is_empty());
    }

    #[test]
    fn a_bridge_sees_whom_it_serves_and_no_flow() {
        let part = slice(&whole(), Component::Bridge);
        assert_eq!(part.served_planes.len(), 1);
        assert!(part.flows.is_empty() && part.endpoints.is_empty() && part.targets.is_empty());
        assert!(part.bridges.is_empty());
    }

    #[test]
    fn zen_lock_alone_sees_secrets_and_nothing_else() {
        let part = slice(&whole(), Component::Lock);
        assert_eq!(part.secrets.len(), 1);
        assert!(part.flows.is_empty() && part.endpoints.is_empty() && part.targets.is_empty());
        for component in [Component::Ingester, Component::Egress, Component::Bridge] {
            assert!(slice(&whole(), component).secrets.is_empty());
        }
    }

    #[test]
    fn everybody_sees_whose_plane_it_is_and_who_is_revoked() {
        for component in [
            Component::Ingester,
            Component::Egress,
            Component::Bridge,
            Component::Lock,
        ] {
            let part = slice(&whole(), component);
            assert_eq!((part.version, part.revision, part.kind), (1, 7, 1));
            assert_eq!((&*part.tenant_id, &*part.plane_id), ("ten", "here"));
            assert_eq!(part.revoked_plane_ids, ["gone"]);
        }
    }
}

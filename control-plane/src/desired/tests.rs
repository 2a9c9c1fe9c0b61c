//! What a plane is told: its own things only, in one order, and nothing of what is gone.

use proptest::prelude::*;
use zen_proto::ids::{EndpointId, FlowId, Id as _, PlaneId, SecretId, TargetId, TenantId};

use super::*;
use crate::endpoint::{EndpointBody, Scheme, Verification};
use crate::flow::FlowBody;
use crate::plane::tests::plane;
use crate::store::Placed;
use crate::target::TargetBody;

fn domain() -> TrustDomain {
    "zen.example".parse().unwrap()
}

fn endpoint(seed: u8, plane: PlaneId) -> Endpoint {
    let verification = Verification {
        scheme: Scheme::None,
        secrets: Vec::new(),
        tolerance_seconds: None,
    };
    Placed {
        id: EndpointId::generate(1, [seed; 10]),
        tenant: TenantId::generate(1, [1; 10]),
        plane,
        body: EndpointBody {
            plane_id: plane.to_string(),
            name: format!("endpoint {seed}"),
            verification,
            methods: vec!["PUT".to_owned()],
            max_body_bytes: Some(7),
            allowed_sources: Vec::new(),
        },
        created_at: 1,
        updated_at: 1,
        removed_at: None,
        version: 1,
    }
}

fn secret(seed: u8) -> SealedSecret {
    SealedSecret {
        id: SecretId::generate(1, [seed; 10]),
        name: format!("secret-{seed}"),
        sealed: "sealed".to_owned(),
        version: u64::from(seed),
    }
}

fn target(seed: u8, plane: PlaneId) -> Target {
    Placed {
        id: TargetId::generate(1, [seed; 10]),
        tenant: TenantId::generate(1, [1; 10]),
        plane,
        body: TargetBody {
            plane_id: plane.to_string(),
            name: format!("target {seed}"),
            url: "https://service.example/in".to_owned(),
            timeout_ms: None,
            max_concurrency: Some(3),
            signing_secrets: Vec::new(),
            auth: None,
            allowed_networks: Vec::new(),
            ca_pem: None,
        },
        created_at: 1,
        updated_at: 1,
        removed_at: None,
        version: 1,
    }
}

fn flow(seed: u8, from: &Endpoint, to: &Target) -> Flow {
    Flow {
        id: FlowId::generate(1, [seed; 10]),
        tenant: from.tenant,
        endpoint: from.id,
        endpoint_plane: from.plane,
        target: to.id,
        target_plane: to.plane,
        whole: true,
        body: FlowBody {
            name: format!("flow {seed}"),
            endpoint_id: from.id.to_string(),
            target_id: to.id.to_string(),
            retry: None,
            enabled: true,
        },
        created_at: 1,
        updated_at: 1,
        version: 1,
    }
}

/// A data plane with two edge planes, three endpoints, three targets and three flows.
fn sample() -> Inputs {
    let data = plane(PlaneKind::Data, 1, None);
    let edges = [2, 3].map(|seed| plane(PlaneKind::Edge, seed, Some(data.id)));
    let endpoints: Vec<_> = (1..4).map(|seed| endpoint(seed, data.id)).collect();
    let targets: Vec<_> = (1..4).map(|seed| target(seed, data.id)).collect();
    let flows = (0..3)
        .map(|n| flow(n + 1, &endpoints[n as usize], &targets[n as usize]))
        .collect();
    Inputs {
        plane: data.clone(),
        endpoints,
        targets,
        flows,
        served: edges.to_vec(),
        data_plane: Some(data),
        bridges: vec!["b:1".to_owned(), "a:1".to_owned(), "b:1".to_owned()],
        secrets: vec![secret(2), secret(1)],
    }
}

#[test]
fn a_data_plane_is_told_whom_it_serves_and_who_is_revoked() {
    let mut inputs = sample();
    inputs.served[0].retired_at = Some(9);
    let told = snapshot(&inputs, &domain());
    let served = told.served_planes.iter().map(|served| &*served.plane_id);
    let mut wanted = [inputs.served[1].id, inputs.plane.id].map(|id| id.to_string());
    wanted.sort();
    assert_eq!(
        Vec::from_iter(served),
        wanted,
        "itself too: its egress attaches"
    );
    assert_eq!(told.revoked_plane_ids, [inputs.served[0].id.to_string()]);
    assert_eq!(told.kind(), WireKind::Data);
}

#[test]
fn bridges_carry_the_id_of_their_data_plane_and_stand_once() {
    let mut inputs = sample();
    let data = inputs.plane.clone();
    inputs.plane = inputs.served[0].clone();
    inputs.served = Vec::new();
    let told = snapshot(&inputs, &domain());
    let addresses: Vec<_> = told
        .bridges
        .iter()
        .map(|bridge| bridge.address.as_str())
        .collect();
    assert_eq!(addresses, ["a:1", "b:1"]);
    let wanted = format!(
        "spiffe://zen.example/tenant/{}/plane/{}/bridge",
        data.tenant, data.id
    );
    assert!(told.bridges.iter().all(|bridge| bridge.spiffe_id == wanted));
}

#[test]
fn a_retired_data_plane_has_no_bridges_and_is_revoked() {
    let mut inputs = sample();
    inputs.plane = inputs.served[0].clone();
    inputs.data_plane.as_mut().unwrap().retired_at = Some(9);
    let told = snapshot(&inputs, &domain());
    assert!(told.bridges.is_empty());
    assert!(
        told.revoked_plane_ids
            .contains(&inputs.data_plane.unwrap().id.to_string())
    );
}

#[test]
fn a_removed_endpoint_stays_for_its_410_and_nothing_else() {
    let mut inputs = sample();
    inputs.endpoints[0].removed_at = Some(9);
    inputs.targets[0].removed_at = Some(9);
    inputs.flows[0].whole = false;
    let told = snapshot(&inputs, &domain());
    let removed = told
        .endpoints
        .iter()
        .find(|endpoint| endpoint.removed)
        .unwrap();
    assert_eq!(removed.id, inputs.endpoints[0].id.to_string());
    assert!(removed.verification.is_none() && removed.methods.is_empty());
    assert_eq!(
        (told.endpoints.len(), told.targets.len(), told.flows.len()),
        (3, 2, 2)
    );
}

#[test]
fn a_disabled_flow_is_told_as_disabled() {
    let mut inputs = sample();
    inputs.flows[1].body.enabled = false;
    let told = snapshot(&inputs, &domain());
    let id = inputs.flows[1].id.to_string();
    assert!(told.flows.iter().any(|flow| flow.id == id && !flow.enabled));
}

proptest! {
    #[test]
    fn the_order_of_rows_makes_no_difference(
        endpoints in Just(sample().endpoints).prop_shuffle(),
        targets in Just(sample().targets).prop_shuffle(),
        flows in Just(sample().flows).prop_shuffle(),
        served in Just(sample().served).prop_shuffle(),
        bridges in Just(sample().bridges).prop_shuffle(),
        secrets in Just(sample().secrets).prop_shuffle(),
    ) {
        let shuffled = Inputs { endpoints, targets, flows, served, bridges, secrets, ..sample() };
        prop_assert_eq!(snapshot(&shuffled, &domain()), snapshot(&sample(), &domain()));
    }

    #[test]
    fn every_flow_that_is_told_has_an_end_in_the_plane(whole: [bool; 3]) {
        let mut inputs = sample();
        for (flow, whole) in inputs.flows.iter_mut().zip(whole) {
            flow.whole = whole;
        }
        let told = snapshot(&inputs, &domain());
        prop_assert_eq!(told.flows.len(), whole.iter().filter(|whole| **whole).count());
        let own = told.plane_id.clone();
        for flow in &told.flows {
            prop_assert!(flow.endpoint_plane_id == own || flow.target_plane_id == own);
        }
    }
}

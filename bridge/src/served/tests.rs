//! Who may publish and attach.

use zen_identity::TrustDomain;
use zen_proto::ids::Id as _;
use zen_proto::snapshot::v1::ServedPlane;

use super::*;

fn tenant(n: u8) -> TenantId {
    TenantId::generate(1, [n; 10])
}

fn plane(n: u8) -> PlaneId {
    PlaneId::generate(1, [n; 10])
}

fn peer(tenant: TenantId, plane: PlaneId, component: Component) -> SpiffeId {
    let trust_domain = TrustDomain::parse("zen.test").unwrap();
    SpiffeId::Component {
        trust_domain,
        tenant,
        plane,
        component,
    }
}

fn snapshot() -> Snapshot {
    let entry = |p: u8, t: u8| ServedPlane {
        plane_id: plane(p).to_string(),
        tenant_id: tenant(t).to_string(),
    };
    Snapshot {
        tenant_id: tenant(9).to_string(),
        plane_id: plane(9).to_string(),
        served_planes: vec![
            entry(1, 1),
            entry(2, 2),
            entry(3, 1),
            ServedPlane {
                plane_id: "nonsense".to_owned(),
                tenant_id: String::new(),
            },
        ],
        revoked_plane_ids: vec![plane(3).to_string()],
        ..Snapshot::default()
    }
}

#[test]
fn ingesters_of_the_data_plane_and_of_served_planes_publish() {
    let served = Served::from_snapshot(&snapshot());
    let publisher = |t, p| served.publisher(&peer(tenant(t), plane(p), Component::Ingester));
    assert_eq!(publisher(9, 9), Ok(Publisher::DataPlane));
    assert_eq!(publisher(1, 1), Ok(Publisher::EdgePlane(tenant(1))));
    assert_eq!(publisher(2, 1), Err(Unwelcome::TenantMismatch));
    assert_eq!(publisher(1, 7), Err(Unwelcome::PlaneUnknown));
    let egress = peer(tenant(9), plane(9), Component::Egress);
    assert_eq!(served.publisher(&egress), Err(Unwelcome::WrongComponent));
}

#[test]
fn egresses_of_served_planes_attach_unless_revoked() {
    let served = Served::from_snapshot(&snapshot());
    let attached = |t, p| served.attached(&peer(tenant(t), plane(p), Component::Egress));
    assert_eq!(attached(2, 2), Ok(plane(2)));
    assert_eq!(attached(1, 2), Err(Unwelcome::TenantMismatch));
    assert_eq!(attached(1, 3), Err(Unwelcome::PlaneUnknown));
    let ingester = peer(tenant(1), plane(1), Component::Ingester);
    assert_eq!(served.attached(&ingester), Err(Unwelcome::WrongComponent));
}

#[test]
fn without_a_configuration_nobody_is_served() {
    let served = Served::default();
    let egress = peer(tenant(1), plane(1), Component::Egress);
    assert_eq!(served.attached(&egress), Err(Unwelcome::NotConfigured));
}

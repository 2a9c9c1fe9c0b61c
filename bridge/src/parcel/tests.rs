//! Each check refuses what it is for, with its own code.

use zen_proto::ids::Id as _;
use zen_proto::snapshot::v1::{ServedPlane, Snapshot};

use super::*;

const NOW: u64 = 1_000;

fn tenant(n: u8) -> TenantId {
    TenantId::generate(1, [n; 10])
}

fn plane(n: u8) -> PlaneId {
    PlaneId::generate(1, [n; 10])
}

fn served() -> Served {
    Served::from_snapshot(&Snapshot {
        tenant_id: tenant(9).to_string(),
        plane_id: plane(9).to_string(),
        served_planes: vec![ServedPlane {
            plane_id: plane(1).to_string(),
            tenant_id: tenant(1).to_string(),
        }],
        ..Snapshot::default()
    })
}

fn good() -> Parcel {
    Parcel {
        version: 1,
        delivery_id: DeliveryId::generate(1, [1; 10]).to_string(),
        tenant_id: tenant(1).to_string(),
        plane_id: plane(1).to_string(),
        expires_at_ms: NOW + 1,
        sealing: 0,
        content: b"content".to_vec().into(),
    }
}

fn outcome(publisher: Publisher, change: impl FnOnce(&mut Parcel)) -> Result<PlaneId, Refusal> {
    let mut parcel = good();
    change(&mut parcel);
    check(&parcel, publisher, &served(), NOW)
}

#[test]
fn a_good_parcel_goes_to_its_planes_lane() {
    assert_eq!(outcome(Publisher::DataPlane, |_| ()), Ok(plane(1)));
    assert_eq!(
        outcome(Publisher::EdgePlane(tenant(1)), |_| ()),
        Ok(plane(1))
    );
}

#[test]
fn each_fault_has_its_code() {
    let data = |change: fn(&mut Parcel)| outcome(Publisher::DataPlane, change).unwrap_err();
    assert_eq!(data(|p| p.version = 2), Refusal::ParcelInvalid);
    assert_eq!(
        data(|p| p.delivery_id = "dlv_".to_owned()),
        Refusal::ParcelInvalid
    );
    assert_eq!(data(|p| p.plane_id.clear()), Refusal::ParcelInvalid);
    assert_eq!(
        data(|p| p.tenant_id = p.plane_id.clone()),
        Refusal::ParcelInvalid
    );
    let huge = |p: &mut Parcel| p.content = vec![0; limits::DELIVERY_MESSAGE].into();
    assert_eq!(data(huge), Refusal::ParcelInvalid);
    assert_eq!(data(|p| p.expires_at_ms = NOW), Refusal::ParcelExpired);
    assert_eq!(
        data(|p| p.plane_id = plane(2).to_string()),
        Refusal::PlaneUnknown
    );
    assert_eq!(
        data(|p| p.tenant_id = tenant(2).to_string()),
        Refusal::TenantMismatch
    );
    let stranger = outcome(Publisher::EdgePlane(tenant(2)), |_| ());
    assert_eq!(stranger, Err(Refusal::TenantMismatch));
}

#[test]
fn only_what_may_change_is_worth_another_try() {
    let retry: Vec<_> = Refusal::ALL
        .into_iter()
        .filter(|r| r.retry())
        .map(Refusal::code)
        .collect();
    assert_eq!(retry, ["PLANE_UNKNOWN", "LANE_FULL"]);
    for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
        assert_eq!(refusal as usize, place);
    }
}

//! Who may do what, and what happens when the right to it ends.

use tonic::Code;
use zen_proto::component::Component::{self, Agent, Egress as EgressRole, Ingester};

use crate::peers::{Egress, Publisher, ids, ids_of, parcel, parcels};
use crate::world::{Plane, Running, World};

/// The code and the text of the refusal.
async fn attach_refusal(world: &World, bridge: &Running, plane: &Plane) -> (Code, String) {
    let client = world.client(bridge, plane, EgressRole);
    let status = Egress::attach(client).await.err().expect("it is refused");
    (status.code(), status.message().to_owned())
}

async fn publish_refusal(
    world: &World,
    bridge: &Running,
    plane: &Plane,
    role: Component,
) -> (Code, String) {
    let client = world.client(bridge, plane, role);
    let status = Publisher::connect(client)
        .await
        .err()
        .expect("it is refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_parcel_is_refused_by_its_own_fault_and_the_others_are_stored() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let strange = world.strange_plane(plane.tenant);
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let good = parcel(&world, &plane);
    let mut expired = parcel(&world, &plane);
    expired.expires_at_ms = world.clock.unix_ms() - 1;
    let mut stolen = parcel(&world, &plane);
    stolen.tenant_id = world.tenant().to_string();
    let mut newer = parcel(&world, &plane);
    newer.version = 9;
    let unknown = parcel(&world, &strange);
    let batch = vec![expired, stolen, good.clone(), newer, unknown];
    let refused = publisher.publish(batch).await;
    let codes: Vec<_> = refused
        .iter()
        .map(|(code, retry)| (code.as_str(), *retry))
        .collect();
    assert_eq!(
        codes,
        [
            ("PARCEL_EXPIRED", false),
            ("TENANT_MISMATCH", false),
            ("PARCEL_INVALID", false),
            ("PLANE_UNKNOWN", true),
        ]
    );
    let mut egress = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    egress.grant(10).await;
    assert_eq!(ids(&egress.take(1).await), [good.delivery_id]);
    let metrics = bridge.metrics();
    assert!(
        metrics.contains("zen_bridge_parcels_refused_total{code=\"PLANE_UNKNOWN\"} 1"),
        "{metrics}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_planes_ingester_publishes_only_to_its_own_tenant() {
    let world = World::new();
    let (mine, theirs) = (world.tenant(), world.tenant());
    let (source, sink) = (world.served_plane(mine), world.served_plane(mine));
    let other = world.served_plane(theirs);
    let bridge = world.start(world.config()).await;
    let client = world.client(&bridge, &source, Ingester);
    let mut publisher = Publisher::connect(client).await.unwrap();
    assert_eq!(publisher.publish(vec![parcel(&world, &sink)]).await, []);
    let refused = publisher.publish(vec![parcel(&world, &other)]).await;
    assert_eq!(refused, [("TENANT_MISMATCH".to_owned(), false)]);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_planes_tenants_and_components_are_refused() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let strange = world.strange_plane(world.tenant());
    let bridge = world.start(world.config()).await;

    let (code, text) = attach_refusal(&world, &bridge, &strange).await;
    assert_eq!(code, Code::PermissionDenied);
    assert!(text.starts_with("PLANE_UNKNOWN"), "{text}");
    let (code, text) = publish_refusal(&world, &bridge, &strange, Ingester).await;
    assert_eq!(code, Code::PermissionDenied);
    assert!(text.starts_with("PLANE_UNKNOWN"), "{text}");
    let (code, text) = publish_refusal(&world, &bridge, &plane, EgressRole).await;
    assert_eq!(code, Code::PermissionDenied);
    assert!(text.starts_with("COMPONENT_REFUSED"), "{text}");
    // An agent does not even get through the handshake.
    let (code, _) = publish_refusal(&world, &bridge, &plane, Agent).await;
    assert!(
        matches!(code, Code::Unknown | Code::Unavailable),
        "{code:?}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_planes_attachment_is_cut_and_another_is_left() {
    let world = World::new();
    let tenant = world.tenant();
    let (revoked, good) = (world.served_plane(tenant), world.served_plane(tenant));
    let bridge = world.start(world.config()).await;
    let mut cut = Egress::attach(world.client(&bridge, &revoked, EgressRole))
        .await
        .unwrap();
    let mut left = Egress::attach(world.client(&bridge, &good, EgressRole))
        .await
        .unwrap();
    let mut publisher = Publisher::connect(world.client(&bridge, &revoked, Ingester))
        .await
        .unwrap();

    world.revoke(&revoked);
    let status = cut.batch().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().starts_with("PLANE_REVOKED"), "{status:?}");
    assert_eq!(
        publisher.answer().await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert!(
        Egress::attach(world.client(&bridge, &revoked, EgressRole))
            .await
            .is_err()
    );

    let mut data = Publisher::connect(world.client(&bridge, &world.data, Ingester))
        .await
        .unwrap();
    left.grant(1).await;
    assert_eq!(data.publish(vec![parcel(&world, &good)]).await, []);
    assert_eq!(left.take(1).await.len(), 1);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_no_longer_served_is_cut_and_finds_its_lane_when_it_is_served_again() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let mut egress = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    let sent = parcels(&world, &plane, 2);
    assert_eq!(publisher.publish(sent.clone()).await, []);

    world.serve(&plane, false);
    let status = egress.batch().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().starts_with("PLANE_UNKNOWN"), "{status:?}");
    let refused = publisher.publish(vec![parcel(&world, &plane)]).await;
    assert_eq!(refused, [("PLANE_UNKNOWN".to_owned(), true)]);

    world.serve(&plane, true);
    world.applied().await;
    let mut back = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    back.grant(10).await;
    assert_eq!(ids(&back.take(2).await), ids_of(&sent));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_setting_are_refused_and_their_places_come_back() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let mut config = world.config();
    config.max_streams = 1;
    let bridge = world.start(config).await;
    let first = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    let (code, _) = attach_refusal(&world, &bridge, &plane).await;
    assert_eq!(code, Code::ResourceExhausted);
    drop(first);
    crate::peers::soon(async {
        while Egress::attach(world.client(&bridge, &plane, EgressRole))
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bridge.stop().await;
}

//! Deliveries that come through a bridge, over mutual TLS.

use prost::Message;
use zen_proto::delivery::v1::Delivery;
use zen_proto::query::v1::DeliveryStatus;
use zen_proto::relay::v1::{Parcel, Sealing};
use zen_proto::snapshot::v1 as snapshot;

use crate::bridge::Bridge;
use crate::target::{Target, status};
use crate::world::World;

fn parcel(delivery: &Delivery) -> Parcel {
    Parcel {
        version: 1,
        delivery_id: delivery.delivery_id.clone(),
        tenant_id: delivery.event.as_ref().unwrap().tenant_id.clone(),
        plane_id: delivery.target_plane_id.clone(),
        expires_at_ms: delivery.expires_at_ms,
        sealing: Sealing::None as i32,
        content: delivery.encode_to_vec().into(),
    }
}

fn bridges(world: &World, bridge: &Bridge, spiffe_id: &str) {
    let bridge = snapshot::Bridge {
        address: bridge.address.clone(),
        spiffe_id: spiffe_id.to_owned(),
    };
    world
        .agent
        .change(|snapshot| snapshot.bridges = vec![bridge]);
}

#[tokio::test]
async fn parcels_are_taken_within_credit_acknowledged_and_taken_again_after_a_cut() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    let (identity, id, _) = world.agent.authority.bridge();
    let bridge = Bridge::serve(&identity).await;
    world.target(1, &target.url);
    bridges(&world, &bridge, &id.to_string());
    bridge.put(world.deliveries(1, 0..95).iter().map(parcel));
    let egress = world.start_with(|config| config.credit = 16).await;
    let known = bridge
        .wait("95 acks", |known| known.acknowledged.len() == 95)
        .await;
    assert!(known.peer.ends_with("/egress"), "{}", known.peer);
    let known = bridge
        .wait("credit is given back", |known| known.granted == 95 + 16)
        .await;
    assert_eq!(known.attached, 1);
    target.wait(95).await;

    bridge.cut();
    bridge.put(world.deliveries(1, 100..120).iter().map(parcel));
    bridge
        .wait("20 more acks", |known| known.acknowledged.len() == 115)
        .await;
    assert_eq!(
        bridge
            .wait("attached anew", |known| known.attached >= 2)
            .await
            .attached,
        2
    );
    target.wait(115).await;
    assert!(
        target
            .by_delivery()
            .into_values()
            .all(|requests| requests == 1)
    );
    egress.stop().await;
}

#[tokio::test]
async fn an_unreadable_parcel_is_acknowledged_and_kept_as_a_dead_letter() {
    let world = World::new();
    let target = Target::serve(|_, _| status(200)).await;
    let (identity, id, _) = world.agent.authority.bridge();
    let bridge = Bridge::serve(&identity).await;
    world.target(1, &target.url);
    bridges(&world, &bridge, &id.to_string());
    let good = world.delivery(1, 1);
    let mut sealed = parcel(&world.delivery(1, 2));
    sealed.sealing = 7;
    let mut newer = parcel(&world.delivery(1, 3));
    newer.version = 2;
    let mut garbled = parcel(&world.delivery(1, 4));
    garbled.content = vec![0xff; 20].into();
    bridge.put([sealed, newer, garbled, parcel(&good)]);
    let egress = world.start().await;
    bridge
        .wait("all acks", |known| known.acknowledged.len() == 4)
        .await;
    world.record(&good, DeliveryStatus::Delivered).await;
    for event in 2..=4 {
        let dead = world
            .record(&world.delivery(1, event), DeliveryStatus::DeadLetter)
            .await;
        assert_eq!(dead.code, "PARCEL_UNREADABLE");
        assert!(!dead.history[0].detail.is_empty());
        assert!(dead.body_bytes > 0);
    }
    egress.stop().await;
}

#[tokio::test]
async fn a_bridge_with_another_name_gets_nothing_and_is_reported() {
    let world = World::new();
    let (identity, id, _) = world.agent.authority.bridge();
    let bridge = Bridge::serve(&identity).await;
    bridges(
        &world,
        &bridge,
        &id.to_string().replace("/bridge", "/ingester"),
    );
    let egress = world.start().await;
    let told = world.agent.status(|status| {
        let link = status.links.first();
        link.is_some_and(|link| link.address == bridge.address && !link.detail.is_empty())
    });
    let told = told.await;
    assert!(told.ready, "other ways are served");
    assert_eq!(bridge.wait("anything", |_| true).await.attached, 0);
    egress.stop().await;
}

#[tokio::test]
async fn a_bridge_that_leaves_the_configuration_or_is_revoked_is_let_go() {
    let world = World::new();
    let (identity, id, plane) = world.agent.authority.bridge();
    let bridge = Bridge::serve(&identity).await;
    bridges(&world, &bridge, &id.to_string());
    let egress = world.start().await;
    bridge.wait("attached", |known| known.open).await;
    world.agent.change(|snapshot| snapshot.bridges.clear());
    bridge.wait("let go", |known| !known.open).await;
    bridges(&world, &bridge, &id.to_string());
    bridge
        .wait("attached anew", |known| known.open && known.attached == 2)
        .await;
    world
        .agent
        .change(|snapshot| snapshot.revoked_plane_ids = vec![plane.to_string()]);
    bridge.wait("let go again", |known| !known.open).await;
    let told = world.agent.status(|status| {
        status
            .links
            .iter()
            .any(|link| link.detail.contains("revoked"))
    });
    told.await;
    egress.stop().await;
}

//! Both roads: everything accepted arrives, whatever breaks, under ids that stay.

use std::collections::{HashMap, HashSet};

use prost::Message;
use zen_proto::delivery::v1::Delivery;
use zen_proto::session::v1::ComponentStatus;
use zen_proto::snapshot::v1::Scheme;

use crate::bridge::FakeBridge;
use crate::egress::FakeEgress;
use crate::harness::{Plane, Running, SOON, endpoint_id, flow_id};

/// Posts so many events to endpoint 1, each with its number as the body; their ids.
async fn post(running: &Running, events: usize) -> HashSet<String> {
    let endpoint = endpoint_id(1);
    let bodies: Vec<String> = (0..events).map(|n| n.to_string()).collect();
    let mut ids = HashSet::new();
    for some in bodies.chunks(50) {
        let posts = some.iter().map(|body| running.post(&endpoint, &[], body));
        let answers = futures::future::join_all(posts).await;
        ids.extend(answers.iter().map(|answer| answer.event_id().to_owned()));
    }
    ids
}

fn events_of(deliveries: &[Delivery]) -> HashSet<String> {
    deliveries
        .iter()
        .map(|d| d.event.as_ref().unwrap().event_id.clone())
        .collect()
}

#[tokio::test]
async fn the_egress_gets_one_delivery_a_flow_of_every_event() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    plane.flow(2, None);
    let egress = FakeEgress::default();
    egress.start(&plane.egress_socket());
    let running = plane.start().await;
    let ids = post(&running, 100).await;
    let deliveries = egress.has(200).await;
    assert_eq!(events_of(&deliveries), ids);
    let first = &deliveries[0];
    assert!([flow_id(1), flow_id(2)].contains(&first.flow_id));
    assert_eq!(first.target_plane_id, plane.snapshot.plane_id);
    let accepted = first.event.as_ref().unwrap().accepted_at_ms;
    assert_eq!(first.expires_at_ms - accepted, 7 * 24 * 60 * 60 * 1000);
    let dispatched = |s: &ComponentStatus| s.counters.iter().map(|c| c.dispatched).sum::<u64>();
    let report = plane
        .agent
        .report(|s| dispatched(s) == 200 && s.queue_depth == 0)
        .await;
    assert_eq!(report.oldest_pending_ms, 0);
    running.stop().await;
}

#[tokio::test]
async fn streams_that_break_lose_nothing_and_ids_stay_the_same() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    let egress = FakeEgress::default();
    egress.break_after(&[1, 2, 1, 3]);
    egress.start(&plane.egress_socket());
    let running = plane.start().await;
    let ids = post(&running, 500).await;
    let deliveries = egress.has(500).await;
    assert_eq!(events_of(&deliveries), ids);
    // What was taken but not acknowledged came again, under its id.
    assert!(egress.repeated() > 0);
    running.stop().await;
}

#[tokio::test]
async fn events_wait_for_an_egress_that_is_not_there_yet() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    let running = plane.start().await;
    let ids = post(&running, 20).await;
    let report = plane
        .agent
        .report(|s| s.queue_depth > 0 && s.oldest_pending_ms > 0)
        .await;
    assert!(report.queue_depth >= 10, "{}", report.queue_depth);
    let egress = FakeEgress::default();
    egress.start(&plane.egress_socket());
    assert_eq!(events_of(&egress.has(20).await), ids);
    running.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_from_the_cursor() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    let first_egress = FakeEgress::default();
    let serving = first_egress.start(&plane.egress_socket());
    let running = plane.start().await;
    post(&running, 60).await;
    first_egress.has(60).await;
    running.stop().await;
    serving.abort();
    let _ended = serving.await;

    // Accepted with nobody there to take it, and stopped.
    std::fs::remove_file(plane.egress_socket()).unwrap();
    let running = plane.start().await;
    let waiting = post(&running, 40).await;
    running.stop().await;

    let second_egress = FakeEgress::default();
    second_egress.start(&plane.egress_socket());
    let running = plane.start().await;
    let deliveries = second_egress.has(40).await;
    assert_eq!(
        events_of(&deliveries),
        waiting,
        "only what was not acknowledged comes"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_was_accepted_last_is_handed_on_before_the_end() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    let egress = FakeEgress::default();
    egress.start(&plane.egress_socket());
    let running = plane.start().await;
    post(&running, 10).await;
    egress.has(10).await;
    post(&running, 200).await;
    running.stop().await;
    assert_eq!(egress.has(210).await.len(), 210);
}

#[tokio::test]
async fn a_delivery_refused_for_good_holds_up_no_other() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    let egress = FakeEgress::default();
    egress.refuse_body(b"3");
    egress.start(&plane.egress_socket());
    let running = plane.start().await;
    post(&running, 10).await;
    assert_eq!(egress.has(9).await.len(), 9);
    let settled = |s: &ComponentStatus| {
        let flow = s.counters.iter().find(|c| c.flow_id == flow_id(1));
        flow.is_some_and(|c| (c.dispatched, c.refused) == (9, 1))
    };
    plane
        .agent
        .report(|s| settled(s) && s.queue_depth == 0)
        .await;
    running.stop().await;
}

#[tokio::test]
async fn a_new_endpoints_first_event_takes_its_flow() {
    let mut plane = Plane::new();
    let egress = FakeEgress::default();
    egress.start(&plane.egress_socket());
    let running = plane.start().await;
    plane.endpoint(9, Scheme::None, &[]);
    plane.flow(1, None);
    plane.snapshot.flows[0].endpoint_id = endpoint_id(9);
    plane.publish();
    let accepted = async {
        while running.post(&endpoint_id(9), &[], "first").await.status != 202 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, accepted).await.unwrap();
    assert_eq!(egress.has(1).await[0].event.as_ref().unwrap().body, "first");
    running.stop().await;
}

#[tokio::test]
async fn the_bridge_gets_parcels_that_name_the_route_whatever_breaks() {
    let mut plane = Plane::new();
    plane.flow(1, Some("pl_there"));
    let bridge = FakeBridge::start(&plane.agent.authority).await;
    bridge.break_after(&[1, 2]);
    plane.snapshot.bridges.push(bridge.entry());
    let running = plane.start().await;
    let ids = post(&running, 300).await;
    let parcels = bridge.has(300).await;
    let mut seen = HashSet::new();
    for parcel in parcels {
        assert_eq!(parcel.plane_id, "pl_there");
        assert_eq!(parcel.tenant_id, plane.snapshot.tenant_id);
        let delivery = Delivery::decode(parcel.content).unwrap();
        assert_eq!(delivery.delivery_id, parcel.delivery_id);
        assert_eq!(delivery.expires_at_ms, parcel.expires_at_ms);
        seen.insert(delivery.event.unwrap().event_id);
    }
    assert_eq!(seen, ids);
    let peers = bridge.peers();
    assert_eq!(peers.len(), 1);
    assert!(peers[0].ends_with("/ingester"), "{peers:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_full_lane_is_asked_again_and_holds_up_no_other_plane() {
    let mut plane = Plane::new();
    plane.flow(1, Some("pl_full"));
    plane.flow(2, Some("pl_free"));
    plane.flow(3, Some("pl_forbidden"));
    let bridge = FakeBridge::start(&plane.agent.authority).await;
    bridge.set_full("pl_full", true);
    bridge.forbid("pl_forbidden");
    plane.snapshot.bridges.push(bridge.entry());
    let running = plane.start().await;
    post(&running, 600).await;
    assert_eq!(bridge.has(600).await.len(), 600);
    bridge.has_refused(601).await;
    let waiting = plane.agent.report(|s| s.queue_depth > 0).await;
    assert!(waiting.oldest_pending_ms > 0);
    bridge.set_full("pl_full", false);
    let parcels = bridge.has(1200).await;
    let mut planes: HashMap<String, usize> = HashMap::new();
    parcels
        .into_iter()
        .for_each(|parcel| *planes.entry(parcel.plane_id).or_default() += 1);
    assert_eq!(planes["pl_full"], 600);
    assert_eq!(planes["pl_free"], 600);
    let dispatched = |s: &ComponentStatus| s.counters.iter().map(|c| c.dispatched).sum::<u64>();
    let report = plane
        .agent
        .report(|s| dispatched(s) == 1200 && s.queue_depth == 0)
        .await;
    let counts = |n| {
        report
            .counters
            .iter()
            .find(|c| c.flow_id == flow_id(n))
            .unwrap()
    };
    assert_eq!(counts(1).dispatched, 600);
    assert_eq!(counts(3).refused, 600);
    running.stop().await;
}

#[tokio::test]
async fn parked_deliveries_outlive_a_restart() {
    let mut plane = Plane::new();
    plane.flow(1, Some("pl_full"));
    plane.flow(2, Some("pl_free"));
    let bridge = FakeBridge::start(&plane.agent.authority).await;
    bridge.set_full("pl_full", true);
    plane.snapshot.bridges.push(bridge.entry());
    let running = plane.start().await;
    post(&running, 30).await;
    bridge.has(30).await;
    bridge.has_refused(1).await;
    running.stop().await;
    bridge.set_full("pl_full", false);
    let running = plane.start().await;
    assert_eq!(bridge.has(60).await.len(), 60);
    running.stop().await;
}

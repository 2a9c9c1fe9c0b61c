//! The way of parcels from ingesters to egresses.

use std::collections::BTreeSet;

use zen_proto::component::Component::{Egress as EgressRole, Ingester};
use zen_proto::query::v1::answer;

use crate::peers::{Egress, Publisher, ids, ids_of, parcel, parcels, soon};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_parcel_reaches_the_attached_egress_and_is_settled_by_its_acknowledgement() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let mut egress = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    egress.grant(10).await;

    let sent = parcels(&world, &plane, 3);
    assert_eq!(publisher.publish(sent.clone()).await, []);
    let taken = egress.take(3).await;
    assert_eq!(
        taken
            .iter()
            .map(|t| t.parcel.clone().unwrap())
            .collect::<Vec<_>>(),
        sent
    );
    world
        .agent
        .reported(|status| status.queue_depth == 3 && status.oldest_pending_ms > 0)
        .await;

    egress.acknowledge(&taken).await;
    world
        .agent
        .reported(|status| status.queue_depth == 0 && status.oldest_pending_ms == 0)
        .await;
    let metrics = bridge.metrics();
    for line in [
        "zen_bridge_parcels_published_total 3",
        "zen_bridge_parcels_relayed_total 3",
        "zen_bridge_parcels_acknowledged_total 3",
        "zen_bridge_lanes 1",
        "zen_bridge_attached 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_whose_agent_is_in_another_container_relays() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config_over_tcp().await).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let mut egress = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    egress.grant(10).await;
    assert_eq!(publisher.publish(parcels(&world, &plane, 2)).await, []);
    let taken = egress.take(2).await;
    egress.acknowledge(&taken).await;
    world
        .agent
        .reported(|status| status.ready && status.queue_depth == 0)
        .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_keep_the_order_of_requests_that_are_under_way_together() {
    let world = World::new();
    let tenant = world.tenant();
    let planes: Vec<_> = (0..4).map(|_| world.served_plane(tenant)).collect();
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    for n in 0..50 {
        let some = &planes[..1 + n % 4];
        publisher
            .send(some.iter().map(|plane| parcel(&world, plane)).collect())
            .await;
    }
    for sequence in 1..=50 {
        let answer = publisher.answer().await.unwrap();
        assert_eq!((answer.sequence, answer.refused), (sequence, Vec::new()));
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_attachments_of_a_plane_share_its_parcels() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let sent = parcels(&world, &plane, 6);
    assert_eq!(publisher.publish(sent.clone()).await, []);

    // Neither has credit for all of them, so both are needed.
    let mut one = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    let mut other = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    one.grant(3).await;
    other.grant(3).await;
    let (first, second) = (one.take(3).await, other.take(3).await);
    let all: BTreeSet<_> = ids(first.iter().chain(&second)).into_iter().collect();
    assert_eq!(
        all,
        ids_of(&sent).into_iter().collect(),
        "each parcel went to one of them"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_more_than_it_granted_credit_for() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let sent = parcels(&world, &plane, 5);
    assert_eq!(publisher.publish(sent.clone()).await, []);

    let mut modest = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    modest.grant(2).await;
    assert_eq!(ids(&modest.take(2).await), ids_of(&sent[..2]));
    // Whatever the first was not sent, another gets.
    let mut eager = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    eager.grant(100).await;
    assert_eq!(ids(&eager.take(3).await), ids_of(&sent[2..]));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attachment_has_more_in_flight_than_the_setting_allows() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let mut config = world.config();
    config.max_in_flight_per_attachment = 2;
    let bridge = world.start(config).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let sent = parcels(&world, &plane, 4);
    assert_eq!(publisher.publish(sent.clone()).await, []);

    let mut greedy = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    greedy.grant(100).await;
    let taken = greedy.take(2).await;
    let mut other = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    other.grant(1).await;
    assert_eq!(ids(&other.take(1).await), ids_of(&sent[2..3]));
    greedy.acknowledge(&taken[..1]).await;
    assert_eq!(ids(&greedy.take(1).await), ids_of(&sent[3..]));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_plane_holds_up_no_other() {
    let world = World::new();
    let tenant = world.tenant();
    let (absent, present) = (world.served_plane(tenant), world.served_plane(tenant));
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let mut egress = Egress::attach(world.client(&bridge, &present, EgressRole))
        .await
        .unwrap();
    egress.grant(1_000).await;
    for _ in 0..20 {
        let mut both = parcels(&world, &absent, 5);
        both.extend(parcels(&world, &present, 5));
        assert_eq!(publisher.publish(both).await, []);
        let taken = egress.take(5).await;
        egress.acknowledge(&taken).await;
    }
    world
        .agent
        .reported(|status| status.queue_depth == 100)
        .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_egress_gives_back_exactly_what_it_did_not_acknowledge() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let sent = parcels(&world, &plane, 5);
    assert_eq!(publisher.publish(sent.clone()).await, []);

    let mut egress = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    egress.grant(10).await;
    let taken = egress.take(5).await;
    // Out of order, and one that nobody knows.
    let mut done = vec![taken[3].clone(), taken[1].clone()];
    done[0].position += 1;
    done.push(taken[3].clone());
    egress.acknowledge(&done).await;
    world.agent.reported(|status| status.queue_depth == 3).await;
    drop(egress);

    let mut next = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    assert_eq!(next.welcome.resume_position, taken[0].position);
    assert_eq!(next.welcome.backlog, 3);
    next.grant(10).await;
    let again = next.take(3).await;
    let left = [&sent[0], &sent[2], &sent[4]].map(|parcel| parcel.delivery_id.clone());
    assert_eq!(ids(&again), left);
    let metrics = bridge.metrics();
    assert!(
        metrics.contains("zen_bridge_parcels_redelivered_total 3"),
        "{metrics}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_advertises_its_address_and_answers_no_questions() {
    let world = World::new();
    let bridge = world.start(world.config()).await;
    let address = bridge.address.to_string();
    world
        .agent
        .reported(|status| status.ready && status.advertised_address == address)
        .await;
    let mut answers = world.agent.answer.subscribe();
    let answer = soon(answers.wait_for(Option::is_some))
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(answer.query_id, "q1");
    match answer.answer {
        Some(answer::Answer::Error(error)) => assert_eq!(error.code, "QUERY_INVALID"),
        other => panic!("{other:?}"),
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_parcels_pass_while_attachments_come_and_go() {
    const PARCELS: usize = 10_000;
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let all = parcels(&world, &plane, PARCELS);
    let mut missing: BTreeSet<_> = ids_of(&all).into_iter().collect();
    let publishing = async {
        for group in all.chunks(200) {
            assert_eq!(publisher.publish(group.to_vec()).await, []);
        }
    };
    let taking = async {
        while !missing.is_empty() {
            let client = world.client(&bridge, &plane, EgressRole);
            let mut egress = Egress::attach(client).await.unwrap();
            egress.grant(1_500).await;
            let mut taken = 0;
            while taken < 1_000 && !missing.is_empty() {
                let batch = egress.batch().await.unwrap();
                taken += batch.len();
                ids(&batch).iter().for_each(|id| _ = missing.remove(id));
                egress.acknowledge(&batch).await;
            }
            // It leaves with what is on its way to it, which the next one gets.
        }
    };
    tokio::join!(publishing, taking);
    // What the last one left behind comes again, until nothing is left.
    let mut last = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    last.grant(u32::MAX).await;
    let emptying = async {
        loop {
            let batch = last.batch().await.unwrap();
            last.acknowledge(&batch).await;
        }
    };
    tokio::select! {
        () = world.agent.reported(|status| status.queue_depth == 0) => {}
        () = emptying => {}
    }
    bridge.stop().await;
}

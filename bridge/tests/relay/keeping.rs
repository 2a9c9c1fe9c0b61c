//! What survives a restart, what expires, what a full lane does, what damage does.

use std::fs;
use std::time::Duration;

use bytesize::ByteSize;
use zen_bridge::Bridge;
use zen_chassis::{App as _, Clock, Stage};
use zen_proto::component::Component::{Egress as EgressRole, Ingester};

use crate::peers::{Egress, Publisher, ids, ids_of, parcel, parcels, soon};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_only_what_was_not_acknowledged_comes_again() {
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
    egress.acknowledge(&taken[..3]).await;
    world.agent.reported(|status| status.queue_depth == 2).await;
    bridge.stop().await;

    let bridge = world.start(world.config()).await;
    // What waits is counted without anybody asking for it.
    world.agent.reported(|status| status.queue_depth == 2).await;
    let mut egress = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    assert_eq!(egress.welcome.resume_position, taken[3].position);
    assert_eq!(egress.welcome.backlog, 2);
    egress.grant(10).await;
    assert_eq!(ids(&egress.take(2).await), ids_of(&sent[3..]));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_expires_is_counted_and_reported() {
    let world = World::at(Clock::manual(Clock::system().unix_ms()));
    let plane = world.served_plane(world.tenant());
    let mut config = world.config();
    config.lane.retention = Duration::from_secs(3_600);
    let bridge = world.start(config).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let mut short = parcel(&world, &plane);
    short.expires_at_ms = world.clock.unix_ms() + 60_000;
    let mut long = parcels(&world, &plane, 2);
    long.iter_mut()
        .for_each(|parcel| parcel.expires_at_ms += 100_000_000);
    assert_eq!(publisher.publish(vec![short]).await, []);
    assert_eq!(publisher.publish(long).await, []);

    world.clock.advance(Duration::from_secs(61));
    let expired = |count| {
        move |status: &zen_proto::session::v1::ComponentStatus| {
            status
                .counters
                .iter()
                .map(|counters| counters.expired)
                .sum::<u64>()
                == count
        }
    };
    world.agent.reported(expired(1)).await;
    world.agent.reported(|status| status.queue_depth == 2).await;
    // Their own expiry is far, the lane's retention is not.
    world.clock.advance(Duration::from_secs(3_600));
    world.agent.reported(expired(3)).await;
    world.agent.reported(|status| status.queue_depth == 0).await;
    let metrics = bridge.metrics();
    assert!(
        metrics.contains("zen_bridge_parcels_expired_total 3"),
        "{metrics}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lane_refuses_for_now_and_recovers_when_its_egress_comes() {
    let world = World::new();
    let (full, other) = (
        world.served_plane(world.tenant()),
        world.served_plane(world.tenant()),
    );
    let mut config = world.config();
    config.lane.segment_size = ByteSize::kib(64);
    config.lane.max_size = ByteSize::kib(64);
    let bridge = world.start(config).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let large = || {
        let mut large = parcel(&world, &full);
        large.content = vec![7; 40_000].into();
        large
    };
    assert_eq!(publisher.publish(vec![large()]).await, []);
    let refused = publisher
        .publish(vec![large(), parcel(&world, &other)])
        .await;
    assert_eq!(
        refused,
        [("LANE_FULL".to_owned(), true)],
        "the other lane is not full"
    );

    let mut egress = Egress::attach(world.client(&bridge, &full, EgressRole))
        .await
        .unwrap();
    egress.grant(100).await;
    // Several times its size goes through a lane that is emptied.
    for _ in 0..8 {
        let taken = egress.take(1).await;
        egress.acknowledge(&taken).await;
        soon(async { while !publisher.publish(vec![large()]).await.is_empty() {} }).await;
    }
    let kept = || -> u64 {
        let files = fs::read_dir(world.lane(&full)).unwrap();
        files
            .map(|file| file.unwrap().metadata().map_or(0, |meta| meta.len()))
            .sum()
    };
    soon(async {
        while kept() > 200_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_is_counted_and_the_others_still_arrive() {
    let world = World::new();
    let plane = world.served_plane(world.tenant());
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let sent = parcels(&world, &plane, 3);
    for parcel in &sent {
        assert_eq!(publisher.publish(vec![parcel.clone()]).await, []);
    }
    bridge.stop().await;

    let damaged = fs::read_dir(world.lane(&plane))
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .unwrap();
    let mut bytes = fs::read(&damaged).unwrap();
    let id = sent[1].delivery_id.as_bytes();
    let place = bytes
        .windows(id.len())
        .position(|window| window == id)
        .unwrap();
    bytes[place] ^= 0xff;
    fs::write(&damaged, bytes).unwrap();

    let bridge = world.start(world.config()).await;
    let mut egress = Egress::attach(world.client(&bridge, &plane, EgressRole))
        .await
        .unwrap();
    egress.grant(10).await;
    let taken = egress.take(2).await;
    assert_eq!(
        ids(&taken),
        [sent[0].delivery_id.clone(), sent[2].delivery_id.clone()]
    );
    egress.acknowledge(&taken).await;
    world.agent.reported(|status| status.queue_depth == 0).await;
    let metrics = bridge.metrics();
    assert!(
        metrics.contains("zen_bridge_records_corrupt_total 1"),
        "{metrics}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_agent_a_bridge_has_its_last_configuration_and_waits_for_a_certificate() {
    let world = World::new();
    world.served_plane(world.tenant());
    let mut config = world.config();
    world.start(config.clone()).await.stop().await;

    config.agent.address = "unix:/nowhere/agent.sock".parse().unwrap();
    let stage = Stage::detached("bridge").unwrap();
    let bridge = Bridge::bind(config, &stage).await.unwrap();
    let pending: Vec<_> = stage
        .ready
        .pending()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(pending, ["identity"]);
    let work = tokio::spawn(bridge.run(stage.clone()));
    stage.shutdown.cancel();
    soon(work).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_does_not_open_is_tried_again_and_holds_up_no_other() {
    let world = World::new();
    let (broken, good) = (
        world.served_plane(world.tenant()),
        world.served_plane(world.tenant()),
    );
    let in_the_way = world.lane(&broken);
    fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    fs::write(&in_the_way, "not a folder").unwrap();
    let bridge = world.start(world.config()).await;
    let ingester = world.client(&bridge, &world.data, Ingester);
    let mut publisher = Publisher::connect(ingester).await.unwrap();
    let both = vec![parcel(&world, &broken), parcel(&world, &good)];
    assert_eq!(
        publisher.publish(both).await,
        [("LANE_FULL".to_owned(), true)]
    );
    let egress = Egress::attach(world.client(&bridge, &broken, EgressRole)).await;
    assert_eq!(
        egress.err().map(|status| status.code()),
        Some(tonic::Code::Unavailable)
    );

    fs::remove_file(&in_the_way).unwrap();
    assert_eq!(publisher.publish(vec![parcel(&world, &broken)]).await, []);
    Egress::attach(world.client(&bridge, &broken, EgressRole))
        .await
        .unwrap();
    bridge.stop().await;
}

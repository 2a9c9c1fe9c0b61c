//! The hand-over over TCP: ingesters of the same plane, by certificate, and nobody else.

use std::time::Duration;

use tokio::net::TcpStream;
use tonic::transport::Channel;
use zen_chassis::net::Address;
use zen_identity::{DialOptions, LiveIdentity, channel};
use zen_proto::component::Component;
use zen_proto::ids::{Id as _, PlaneId};

use crate::target::{Target, status};
use crate::world::{Ingester, Running, World};

const DAY: Duration = Duration::from_secs(86_400);
const LONG: Duration = Duration::from_secs(30);

/// An egress on TCP that is ready, with a target.
async fn start(world: &World, target: &Target) -> Running {
    world.target(1, &target.url);
    let egress = world
        .start_with(|config| config.listen = Address::Tcp("127.0.0.1:0".to_owned()))
        .await;
    let ready = tokio::time::timeout(LONG, egress.stage.ready.wait());
    assert!(ready.await.is_ok(), "{:?}", egress.stage.ready.pending());
    egress
}

/// Dials as this somebody, and expects the egress of the plane.
fn dial(world: &World, egress: &Running, identity: &LiveIdentity) -> Channel {
    let authority = &world.agent.authority;
    let expect =
        zen_identity::Expect::component(authority.tenant, authority.plane, Component::Egress);
    let config = identity.client_config(expect);
    channel(&egress.address.to_string(), config, DialOptions::default())
}

#[tokio::test]
async fn an_ingester_of_the_plane_hands_over_by_certificate_and_nobody_else_does() {
    let world = World::new();
    let target = Target::serve(|_, _| status(204)).await;
    let egress = start(&world, &target).await;
    // Clients that say nothing hold up nobody.
    let mut silent = Vec::new();
    for _ in 0..64 {
        let address = egress.address.to_string();
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let authority = &world.agent.authority;
    let own = authority.plane;
    let ingester = authority.component(Component::Ingester, own, DAY);
    let mut ingester = Ingester::on(dial(&world, &egress, &ingester))
        .await
        .unwrap();
    let answer = ingester.deliver(world.deliveries(1, 0..3)).await;
    assert!(answer.refused.is_empty());
    target.wait(3).await;

    let other = PlaneId::generate(1, [7; 10]);
    for (who, identity) in [
        ("nobody", authority.nobody()),
        ("egress", authority.component(Component::Egress, own, DAY)),
        ("bridge", authority.component(Component::Bridge, own, DAY)),
        (
            "another plane's",
            authority.component(Component::Ingester, other, DAY),
        ),
    ] {
        let refused = Ingester::on(dial(&world, &egress, &identity)).await;
        assert!(refused.is_err(), "{who} was let in");
    }
    egress.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_certificate_and_what_was_sent_is_answered() {
    let world = World::new();
    let target = Target::serve(|_, _| status(204)).await;
    let egress = start(&world, &target).await;
    let authority = &world.agent.authority;
    let short = Duration::from_secs(4);
    let old = authority.component(Component::Ingester, authority.plane, short);
    let channel = dial(&world, &egress, &old);
    let mut ingester = Ingester::on(channel.clone()).await.unwrap();
    ingester.deliver(world.deliveries(1, 0..2)).await;
    assert!(ingester.answer().await.is_none(), "the stream goes on");
    // The connection is still there, and its certificate counts no more.
    let refused = Ingester::on(channel).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused}");

    let new = authority.component(Component::Ingester, authority.plane, DAY);
    let mut ingester = Ingester::on(dial(&world, &egress, &new)).await.unwrap();
    ingester.deliver(world.deliveries(1, 2..4)).await;
    target.wait(4).await;
    egress.stop().await;
}

#[tokio::test]
async fn an_egress_on_tcp_is_not_ready_before_it_has_a_certificate() {
    let world = World::new();
    let egress = world
        .start_with(|config| {
            config.listen = Address::Tcp("127.0.0.1:0".to_owned());
            config.agent.address = Address::Unix(world.path("nobody.sock"));
        })
        .await;
    let pending = egress.stage.ready.pending();
    assert!(
        pending.iter().any(|(name, _)| name == "identity"),
        "{pending:?}"
    );
    egress.stop().await;
}

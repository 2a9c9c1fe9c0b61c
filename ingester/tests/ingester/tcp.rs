//! An egress in a container of its own: reached by certificate, expected to be the one of this plane.

use std::time::Duration;

use zen_chassis::net::Address;
use zen_identity::LiveIdentity;
use zen_proto::component::Component;
use zen_proto::query::v1::{Hop, Probe, answer, query};

use crate::egress::FakeEgress;
use crate::harness::{Plane, Running, SOON, endpoint_id};

/// A plane whose egress is on TCP, and a way to listen there.
fn plane() -> (Plane, impl Fn() -> std::net::TcpListener) {
    let mut plane = Plane::new();
    plane.flow(1, None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    plane.config.egress = Some(Address::Tcp(address.to_string()));
    (plane, move || listener.try_clone().unwrap())
}

async fn post(running: &Running, body: &str) {
    let answer = running.post(&endpoint_id(1), &[], body).await;
    answer.event_id();
}

async fn probe(plane: &Plane) -> Hop {
    let asked = query::Question::Probe(Probe::default());
    match plane.agent.ask(asked).await {
        answer::Answer::Probed(probed) => probed.hops[0].clone(),
        other => panic!("{other:?}"),
    }
}

/// Waits until the road to the egress says why it does not go on.
async fn stuck(plane: &Plane) -> Hop {
    let told = async {
        loop {
            let hop = probe(plane).await;
            if !hop.code.is_empty() {
                return hop;
            }
        }
    };
    tokio::time::timeout(SOON, told).await.unwrap()
}

#[tokio::test]
async fn events_reach_the_egress_of_the_plane_by_certificate_and_no_impostor() {
    let (mut plane, listener) = plane();
    let running = plane.start().await;
    post(&running, "1").await;
    let authority = plane.agent.authority.clone();
    let impostors: [LiveIdentity; 2] = [
        authority.component(Component::Ingester),
        authority.other().component(Component::Egress),
    ];
    for impostor in impostors {
        let egress = FakeEgress::default();
        let serving = egress.start_tls(listener(), &impostor);
        let hop = stuck(&plane).await;
        assert_eq!(hop.code, "EGRESS_UNREACHABLE", "{hop:?}");
        assert_eq!(egress.certificates(), 0, "an impostor was spoken to");
        serving.abort();
        let _aborted = serving.await;
    }
    let egress = FakeEgress::default();
    egress.start_tls(listener(), &authority.component(Component::Egress));
    post(&running, "2").await;
    egress.has(2).await;
    let hop = probe(&plane).await;
    assert_eq!((hop.code.as_str(), hop.to.as_str()), ("", "egress"));
    assert!(hop.rtt_us > 0, "{hop:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_new_stream_is_opened_with_the_newest_certificate() {
    let (mut plane, listener) = plane();
    let egress = FakeEgress::default();
    let own = plane.agent.authority.component(Component::Egress);
    egress.start_tls(listener(), &own);
    plane.agent.validity.send_replace(Duration::from_secs(6));
    egress.break_after(&[2]);
    let running = plane.start().await;
    post(&running, "1").await;
    egress.has(1).await;
    assert_eq!(egress.certificates(), 1);
    let mut certified = plane.agent.certified.subscribe();
    let renewed = certified.wait_for(|count| *count >= 2);
    tokio::time::timeout(SOON, renewed).await.unwrap().unwrap();
    // The connection of before is fine; its certificate will not be for long. This breaks the stream.
    post(&running, "2").await;
    post(&running, "3").await;
    egress.has(3).await;
    let again = async {
        while egress.certificates() < 2 {
            post(&running, "more").await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, again).await.unwrap();
    running.stop().await;
}

//! Who may speak on the socket, asked over a real one.

use tonic::Code;
use zen_chassis::Stage;
use zen_chassis::net::{bind_unix, local_channel};
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;

use super::*;
use crate::applied::Held;

/// Asks for a certificate on a socket that these users may use.
async fn certify_as_admitted(users: &[u32]) -> Status {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let stage = Stage::detached("agent").unwrap();
    let desk = Desk::new(Held::default());
    let live = LiveIdentity::new(stage.clock.time_provider());
    let metrics = Metrics::new(&stage.meter);
    let local = Local {
        admission: Admission::of_users(users, desk.clone(), live.clone(), metrics.clone()),
        live,
        metrics,
        desk,
        roster: Roster::default(),
        router: Router::default(),
        outbox: Outbox::default(),
        clock: stage.clock.clone(),
        stop: stage.shutdown.clone(),
        tasks: stage.tasks.clone(),
    };
    let listener = bind_unix("listen", &path).unwrap();
    let serving = tokio::spawn(local.serve(Listener::Unix(listener)));
    let mut client = AgentServiceClient::new(local_channel(&path).unwrap());
    let request = CertifyRequest {
        component: "egress".to_owned(),
        instance: "0".to_owned(),
        csr: bytes::Bytes::new(),
    };
    let refused = client.certify(request).await.unwrap_err();
    stage.shutdown.cancel();
    serving.await.unwrap().unwrap();
    refused
}

#[tokio::test]
async fn a_user_who_is_not_allowed_is_refused() {
    let status = certify_as_admitted(&[4_242]).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("allowed_uids"), "{status}");
}

#[tokio::test]
async fn the_agents_own_user_gets_past_the_door() {
    let own = rustix::process::geteuid().as_raw();
    let status = certify_as_admitted(&[own]).await;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
}

#[test]
fn own_user_root_and_the_allowed_are_admitted_and_nobody_else() {
    let stage = Stage::detached("agent").unwrap();
    let live = LiveIdentity::new(stage.clock.time_provider());
    let desk = Desk::new(Held::default());
    let admission = Admission::new(1_000, &[2_000], desk, live, Metrics::new(&stage.meter));
    for uid in [0, 1_000, 2_000] {
        assert!(admission.user(Some(uid)).is_ok(), "{uid}");
    }
    assert!(admission.user(Some(3_000)).is_err());
    assert!(admission.user(None).is_err());
}

#[test]
fn the_agent_is_no_neighbour_and_an_instance_has_a_name() {
    assert!(neighbour("egress", "0").is_ok());
    for (component, instance) in [
        ("agent", "0"),
        ("other", "0"),
        ("egress", ""),
        ("egress", &"x".repeat(INSTANCE + 1)),
    ] {
        let refused = neighbour(component, instance).unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "{component} {instance:.8}"
        );
    }
}

//! The agent on Kubernetes: real agents and a real control plane, against an API server over TLS
//! with versions, conflicts, watches, rights by name and bad days.
#![cfg(test)]

mod containers;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tonic::{Code, Request, Status};
use zen_agent::kubernetes::{KubernetesConfig, rights};
use zen_chassis::Clock;
use zen_identity::{
    DialOptions, Expect, PrivateKey, Trust, channel, server_auth_only_client_config,
};
use zen_integration_tests::cluster::{Asked, Cluster, NAMESPACE};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::ports::{self, Port};
use zen_integration_tests::unit::Unit;
use zen_integration_tests::world::{PATIENCE, Seat};
use zen_proto::agent::v1::CertifyRequest;
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;
use zen_proto::component::Component;

const LEASE: Duration = Duration::from_secs(3);

/// An agent as a pod of this name would run it.
fn pod(cluster: &Cluster, folder: &Path, name: &str) -> Unit {
    let kubeconfig = cluster.kubeconfig(folder, name).unwrap();
    Unit::new(
        "zen-agent",
        folder,
        vec![
            format!(
                "listen=unix:{}",
                folder.join(format!("{name}.sock")).display()
            ),
            format!("kubernetes.kubeconfig={}", kubeconfig.display()),
            format!("kubernetes.pod_name={name}"),
            format!("kubernetes.pod_uid=uid-of-{name}"),
            format!("kubernetes.lease_duration={}s", LEASE.as_secs()),
        ],
    )
    .unwrap()
}

async fn issue(seat: &Seat, plane: &str) -> Value {
    let bundles = format!("/v1/planes/{plane}/bundles");
    seat.api.post(&bundles, &json!({})).await.unwrap()
}

/// A control plane with a plane, a cluster with its bundle, and an agent that has enrolled.
async fn enrolled() -> (Seat, String, Cluster, Unit) {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let cluster = Cluster::start().await.unwrap();
    cluster.enrol(&plane, &issue(&seat, &plane).await);
    let mut agent = pod(&cluster, seat.dir.path(), "agent-a");
    agent.start().unwrap();
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
    eventually("the bundle is removed", PATIENCE, || async {
        let left = cluster.names("secrets");
        anyhow::ensure!(
            !left.iter().any(|name| name.starts_with("zen-enrollment")),
            "{left:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
    (seat, plane, cluster, agent)
}

fn identity(cluster: &Cluster) -> Value {
    cluster.get("secrets", "zen-agent-identity").unwrap()["data"].clone()
}

fn holder(cluster: &Cluster) -> Option<String> {
    let lease = cluster.get("leases", "zen-agent")?;
    lease["spec"]["holderIdentity"]
        .as_str()
        .map(ToOwned::to_owned)
}

async fn held_by(cluster: &Cluster, who: &str) {
    eventually(&format!("{who} holds the lease"), PATIENCE, || async {
        let holder = holder(cluster);
        anyhow::ensure!(
            holder.as_deref().is_some_and(|h| h.starts_with(who)),
            "{holder:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

async fn told(cluster: &Cluster, reason: &str) {
    eventually(&format!("an Event says {reason}"), PATIENCE, || async {
        let reasons = cluster.reasons();
        anyhow::ensure!(reasons.iter().any(|r| r == reason), "{reasons:?}");
        Ok(())
    })
    .await
    .unwrap();
}

fn redemptions(shown: &Value) -> usize {
    let timeline = shown["timeline"].as_array().unwrap();
    timeline
        .iter()
        .filter(|e| e["kind"] == "bundle_redeemed")
        .count()
}

#[tokio::test]
async fn an_agent_enrols_from_secrets_and_keeps_its_identity_over_restarts() {
    let (seat, plane, cluster, mut agent) = enrolled().await;
    let first = identity(&cluster);
    eventually("the trust bundle is published", PATIENCE, || async {
        let map = cluster.get("configmaps", "zen-trust-bundle");
        let data = map.map(|map| map["data"].clone()).unwrap_or_default();
        anyhow::ensure!(data["plane-id"] == *plane, "{data}");
        let roots = data["roots.pem"].as_str().unwrap_or_default();
        anyhow::ensure!(roots.contains("BEGIN CERTIFICATE"), "{data}");
        anyhow::ensure!(data["trust-domain"] == "zen-mesh.internal", "{data}");
        Ok(())
    })
    .await
    .unwrap();
    told(&cluster, "Enrolled").await;
    told(&cluster, "Connected").await;
    let enrolled = agent
        .log_text()
        .lines()
        .filter(|l| l.contains("\"enrolled\""))
        .count();
    assert_eq!(enrolled, 1, "one clear line");
    eventually("a snapshot is kept", PATIENCE, || async {
        anyhow::ensure!(
            cluster.get("secrets", "zen-agent-snapshot-0").is_some(),
            "none"
        );
        Ok(())
    })
    .await
    .unwrap();
    // Killed, and asked to stop: the next start goes on, without a bundle.
    agent.kill().await.unwrap();
    let killed = Instant::now();
    agent.start().unwrap();
    agent.ready().await.unwrap();
    assert!(killed.elapsed() < LEASE, "it waited for itself");
    seat.status(&plane, "connected").await.unwrap();
    agent.terminate().await.unwrap();
    assert_eq!(holder(&cluster), None, "the lease was not given back");
    agent.start().unwrap();
    agent.ready().await.unwrap();
    let shown = seat.status(&plane, "connected").await.unwrap();
    assert_eq!(redemptions(&shown), 1, "{shown}");
    assert_eq!(identity(&cluster), first);
}

#[tokio::test]
async fn a_new_bundle_is_noticed_at_once_and_without_asking_for_it() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let cluster = Cluster::start().await.unwrap();
    let mut agent = pod(&cluster, seat.dir.path(), "agent-a");
    agent.start().unwrap();
    agent.pending_with("waiting for a bundle").await.unwrap();
    cluster.asked();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let idle = cluster.asked();
    let others: Vec<_> = idle.iter().filter(|a| a.resource != "leases").collect();
    assert!(
        others.is_empty(),
        "asked while nothing happened: {others:?}"
    );
    assert!(idle.len() <= 6, "{} requests for the lease", idle.len());
    // One that does not open, then a good one, without a restart.
    let issued = issue(&seat, &plane).await;
    let mut wrong = issued.clone();
    wrong["identity"] = issue(&seat, &plane).await["identity"].clone();
    cluster.enrol(&plane, &wrong);
    agent.pending_with("BUNDLE_UNREADABLE").await.unwrap();
    told(&cluster, "BUNDLE_UNREADABLE").await;
    let applied = Instant::now();
    cluster.enrol(&plane, &issue(&seat, &plane).await);
    agent.ready().await.unwrap();
    let took = applied.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    seat.status(&plane, "connected").await.unwrap();
}

#[tokio::test]
async fn a_watch_that_fell_behind_or_lost_its_server_still_sees_a_bundle() {
    let seat = Seat::start(&[]).await.unwrap();
    let mut cluster = Cluster::start().await.unwrap();
    let mut agent = pod(&cluster, seat.dir.path(), "agent-a");
    agent.start().unwrap();
    agent.pending_with("waiting for a bundle").await.unwrap();
    for (round, name) in ["event", "status", "restart"].into_iter().enumerate() {
        match name {
            "event" => cluster.compact(true),
            "status" => cluster.compact(false),
            _ => {
                cluster.stop().await;
                cluster.start_again().await.unwrap();
            }
        }
        let plane = seat.plane(&format!("p{round}"), "edge").await.unwrap();
        cluster.enrol(&plane, &issue(&seat, &plane).await);
        seat.status(&plane, "connected").await.unwrap();
        assert!(agent.is_running());
    }
}

#[tokio::test]
async fn an_api_server_that_throttles_is_left_alone_for_as_long_as_it_asks() {
    let (seat, plane, cluster, mut agent) = enrolled().await;
    cluster.asked();
    cluster.weather(Some((429, 2)));
    tokio::time::sleep(Duration::from_secs(8)).await;
    let asked = cluster.asked();
    // Two ways of asking (the lease, and all else), each for one request in two seconds.
    assert!(asked.len() <= 16, "{} requests: {asked:?}", asked.len());
    cluster.weather(None);
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
    assert!(agent.is_running());
}

#[tokio::test]
async fn an_agent_without_api_server_waits_alive_and_goes_on_when_it_is_there() {
    let (seat, plane, mut cluster, mut agent) = enrolled().await;
    let first = identity(&cluster);
    // A short absence costs nothing.
    cluster.stop().await;
    cluster.start_again().await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(agent.pending().await.unwrap().is_none());
    // A long one costs the lease, and with it the session; never the process.
    cluster.stop().await;
    let pending = agent
        .pending_with("KUBERNETES_API_UNREACHABLE")
        .await
        .unwrap();
    assert!(pending.contains("remedy: "), "{pending}");
    seat.status(&plane, "not_connected").await.unwrap();
    assert!(agent.is_running());
    cluster.start_again().await.unwrap();
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
    assert_eq!(identity(&cluster), first);
    // The same at a start.
    agent.terminate().await.unwrap();
    cluster.stop().await;
    agent.start().unwrap();
    agent
        .pending_with("KUBERNETES_API_UNREACHABLE")
        .await
        .unwrap();
    cluster.start_again().await.unwrap();
    agent.ready().await.unwrap();
    let shown = seat.status(&plane, "connected").await.unwrap();
    assert_eq!(redemptions(&shown), 1, "{shown}");
}

#[tokio::test]
async fn of_two_agents_one_acts_and_the_other_takes_over() {
    let (seat, plane, cluster, mut first) = enrolled().await;
    let mut second = pod(&cluster, seat.dir.path(), "agent-b");
    second.start().unwrap();
    second
        .pending_with("held by agent-a_uid-of-agent-a;")
        .await
        .unwrap();
    cluster.asked();
    first.kill().await.unwrap();
    held_by(&cluster, "agent-b").await;
    second.ready().await.unwrap();
    let shown = seat.status(&plane, "connected").await.unwrap();
    assert_eq!(redemptions(&shown), 1, "{shown}");
    // Nothing is read before the lease is held.
    let asked = cluster.asked();
    let by_second = || asked.iter().filter(|a| a.user == "agent-b");
    let taken = by_second().position(|a| a.verb == "update").unwrap();
    let read = by_second().position(|a| a.resource == "secrets").unwrap();
    assert!(taken < read, "{asked:?}");
    // The other way round, given back: nobody waits for the end.
    first.start().unwrap();
    first.pending_with("held by agent-b").await.unwrap();
    let stopped = Instant::now();
    second.terminate().await.unwrap();
    held_by(&cluster, "agent-a").await;
    assert!(stopped.elapsed() < LEASE, "{:?}", stopped.elapsed());
    first.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_cut_off_stops_before_the_other_begins() {
    let (seat, plane, cluster, mut first) = enrolled().await;
    let mut second = pod(&cluster, seat.dir.path(), "agent-b");
    second.start().unwrap();
    second.pending_with("held by agent-a").await.unwrap();
    // Stopped dead with its session open, as on a machine that hangs.
    let pid = rustix::process::Pid::from_raw(i32::try_from(first.pid().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    held_by(&cluster, "agent-b").await;
    second.ready().await.unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    first.pending_with("held by agent-b").await.unwrap();
    assert!(first.is_running(), "it must wait, not end");
    seat.status(&plane, "connected").await.unwrap();
    assert!(second.pending().await.unwrap().is_none());
}

#[tokio::test]
async fn a_missing_right_is_named_with_verb_and_object_and_granting_it_is_enough() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let cluster = Cluster::start().await.unwrap();
    let all = rights(&KubernetesConfig::default());
    let mut fewer = all.clone();
    fewer[0].verbs = &["list", "delete"];
    cluster.grant(fewer);
    let mut agent = pod(&cluster, seat.dir.path(), "agent-a");
    agent.start().unwrap();
    let pending = agent
        .pending_with("KUBERNETES_API_FORBIDDEN")
        .await
        .unwrap();
    assert!(
        pending.contains("watch secrets zen-enrollment"),
        "{pending}"
    );
    assert!(pending.contains("remedy: "), "{pending}");
    let mut fewer = all.clone();
    fewer[1].verbs = &["get", "delete"];
    cluster.grant(fewer);
    cluster.enrol(&plane, &issue(&seat, &plane).await);
    let pending = agent
        .pending_with("patch secrets zen-agent-pending")
        .await
        .unwrap();
    assert!(pending.contains("KUBERNETES_API_FORBIDDEN"), "{pending}");
    assert!(agent.is_running());
    cluster.grant(all);
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
}

#[tokio::test]
async fn a_large_configuration_is_kept_in_several_secrets_and_read_again() {
    let mut seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let make = |at: usize| {
        // Noise that does not compress.
        let noise: String = (0..25)
            .map(|part| {
                let digest = aws_lc_rs::digest::digest(
                    &aws_lc_rs::digest::SHA256,
                    format!("{at}/{part}").as_bytes(),
                );
                hex::encode(digest)
            })
            .collect();
        json!({ "plane_id": plane, "name": format!("t{at}"), "url": format!("http://10.0.0.1/{noise}") })
    };
    for at in 0..1_300 {
        seat.api.post("/v1/targets", &make(at)).await.unwrap();
    }
    let cluster = Cluster::start().await.unwrap();
    cluster.enrol(&plane, &issue(&seat, &plane).await);
    let mut agent = pod(&cluster, seat.dir.path(), "agent-a");
    agent.start().unwrap();
    eventually("the snapshot lies in several Secrets", PATIENCE, || async {
        let head = cluster
            .get("secrets", "zen-agent-snapshot-0")
            .unwrap_or_default();
        let parts = head["metadata"]["annotations"]["zen-mesh.io/parts"].clone();
        anyhow::ensure!(parts.as_str().is_some_and(|parts| parts != "1"), "{parts}");
        Ok(())
    })
    .await
    .unwrap();
    let applied = eventually("it runs what was published", PATIENCE, || async {
        let shown = seat.show(&plane).await?;
        let applied = shown["applied_revision"].clone();
        anyhow::ensure!(applied == shown["published_revision"], "{applied}");
        Ok(applied)
    })
    .await
    .unwrap();
    // With nobody to send it once more.
    seat.control_plane.kill().await.unwrap();
    agent.terminate().await.unwrap();
    agent.start().unwrap();
    agent.ready().await.unwrap();
    let (_, metrics) = agent.admin_get("/metrics").await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    let revision = format!("zen_agent_snapshot_revision {applied}\n");
    assert!(
        metrics.contains(&revision),
        "{revision} is not in {metrics}"
    );
    assert!(!agent.log_text().contains("passed over"));
}

/// What a component is told that has no certificate and brings this token.
async fn certify(address: &str, trust: &Value, component: &str, token: &str) -> Result<(), Status> {
    let text = |key: &str| trust[key].as_str().unwrap();
    let roots = Trust::new(text("trust-domain").parse().unwrap(), text("roots.pem"), []).unwrap();
    let tenant = text("tenant-id").parse().unwrap();
    let plane = text("plane-id").parse().unwrap();
    let agent = Expect::component(tenant, plane, Component::Agent);
    let config = server_auth_only_client_config(roots, agent, Clock::system().time_provider());
    let mut client = AgentServiceClient::new(channel(address, config, DialOptions::default()));
    let mut request = Request::new(CertifyRequest {
        component: component.to_owned(),
        instance: "0".to_owned(),
        csr: PrivateKey::generate().unwrap().csr("c").unwrap().into(),
    });
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    client.certify(request).await.map(|_| ())
}

/// Has the agent serve its neighbours over TCP; its address, and what is published of its plane.
async fn over_tcp(cluster: &Cluster, agent: &mut Unit, port: &Port) -> (String, Value) {
    agent.terminate().await.unwrap();
    agent.set("listen", port.address);
    agent.start().unwrap();
    agent.ready().await.unwrap();
    let trust = eventually("the trust bundle is published", PATIENCE, || async {
        let map = cluster.get("configmaps", "zen-trust-bundle");
        Ok(map.context("none")?["data"].clone())
    })
    .await
    .unwrap();
    (port.address.to_string(), trust)
}

#[tokio::test]
async fn a_component_is_who_the_api_server_says_its_token_is_of() {
    let (_seat, _plane, cluster, mut agent) = enrolled().await;
    let port = ports::reserve().unwrap();
    let (address, trust) = over_tcp(&cluster, &mut agent, &port).await;
    let account = |name: &str| format!("system:serviceaccount:{NAMESPACE}:{name}");
    let own = ["zen-agent"];
    cluster.token("ingester", &account("zen-ingester"), &own);
    cluster.token("egress", &account("zen-egress"), &own);
    cluster.token("default", &account("default"), &own);
    cluster.token("agent", &account("zen-agent"), &own);
    cluster.token(
        "elsewhere",
        "system:serviceaccount:other:zen-ingester",
        &own,
    );
    cluster.token("person", "zen-ingester", &own);
    cluster.token(
        "api",
        &account("zen-ingester"),
        &["https://kubernetes.default.svc"],
    );
    cluster.asked();
    certify(&address, &trust, "ingester", "ingester")
        .await
        .unwrap();
    certify(&address, &trust, "egress", "egress").await.unwrap();
    let stranger = Code::Unauthenticated;
    for (component, token, code, why) in [
        (
            "egress",
            "ingester",
            Code::PermissionDenied,
            "of the ingester",
        ),
        ("ingester", "default", stranger, "no component's"),
        ("ingester", "agent", stranger, "no component's"),
        ("ingester", "elsewhere", stranger, "namespace"),
        ("ingester", "person", stranger, "not a service account's"),
        ("ingester", "api", stranger, "audiences"),
        ("ingester", "made-up", stranger, "not authenticated"),
    ] {
        let status = certify(&address, &trust, component, token)
            .await
            .unwrap_err();
        assert_eq!(status.code(), code, "{token}: {status}");
        assert!(status.message().contains(why), "{token}: {status}");
    }
    let reviews = cluster.asked();
    let reviews = reviews.iter().filter(|a| a.resource == "tokenreviews");
    assert_eq!(reviews.count(), 9);
    assert!(
        !agent.log_text().contains("made-up"),
        "a token is in the log"
    );
}

/// Waits until the plane is connected and tells of this component.
async fn reported(seat: &Seat, plane: &str, component: &str) {
    eventually(&format!("the {component} reports"), PATIENCE, || async {
        let shown = seat.show(plane).await?;
        let components = shown["components"].as_array().cloned().unwrap_or_default();
        let there = components.iter().any(|c| c["component"] == component);
        anyhow::ensure!(shown["status"] == "connected" && there, "{shown}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_ingester_joins_by_its_token_and_goes_on_while_its_agent_has_no_lease() {
    let (seat, plane, mut cluster, mut agent) = enrolled().await;
    let port = ports::reserve().unwrap();
    let (address, trust) = over_tcp(&cluster, &mut agent, &port).await;
    let account = format!("system:serviceaccount:{NAMESPACE}:zen-ingester");
    cluster.token("projected", &account, &["zen-agent"]);
    // What the chart mounts.
    let folder = seat.dir.path().join("ingester");
    let trust_dir = folder.join("trust");
    std::fs::create_dir_all(&trust_dir).unwrap();
    for (file, content) in trust.as_object().unwrap() {
        std::fs::write(trust_dir.join(file), content.as_str().unwrap()).unwrap();
    }
    std::fs::write(folder.join("token"), "projected").unwrap();
    let listen = ports::reserve().unwrap();
    let mut ingester = Unit::new(
        "zen-ingester",
        &folder,
        vec![
            format!("agent.address={address}"),
            format!("agent.trust_dir={}", trust_dir.display()),
            format!("agent.token_file={}", folder.join("token").display()),
            format!("state_dir={}", folder.join("state").display()),
            format!("listen={}", listen.address),
            "egress=null".to_owned(),
        ],
    )
    .unwrap();
    ingester.start().unwrap();
    ingester.ready().await.unwrap();
    reported(&seat, &plane, "ingester").await;
    // The agent loses its lease: it lets go, and its neighbours go on with what they have.
    cluster.stop().await;
    agent
        .pending_with("KUBERNETES_API_UNREACHABLE")
        .await
        .unwrap();
    certify(&address, &trust, "ingester", "projected")
        .await
        .unwrap_err();
    assert_eq!(ingester.pending().await.unwrap(), None);
    cluster.start_again().await.unwrap();
    agent.ready().await.unwrap();
    reported(&seat, &plane, "ingester").await;
    assert!(ingester.is_running());
}

#[tokio::test]
async fn a_retired_plane_leaves_nothing_and_every_right_is_used_and_none_missing() {
    let (seat, plane, cluster, mut agent) = enrolled().await;
    // What the session tells changes the identity; a second start reads all of it.
    agent.kill().await.unwrap();
    agent.start().unwrap();
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
    // A bundle of the same plane that does not open is left lying there.
    let mut left = issue(&seat, &plane).await;
    left["identity"] = issue(&seat, &plane).await["identity"].clone();
    cluster.enrol(&plane, &left);
    told(&cluster, "BUNDLE_UNREADABLE").await;
    seat.status(&plane, "connected").await.unwrap();
    seat.api
        .delete(&format!("/v1/planes/{plane}"))
        .await
        .unwrap();
    agent.pending_with("PLANE_RETIRED").await.unwrap();
    eventually("its Secrets and ConfigMap are gone", PATIENCE, || async {
        let (secrets, maps) = (cluster.names("secrets"), cluster.names("configmaps"));
        anyhow::ensure!(
            secrets.is_empty() && maps.is_empty(),
            "{secrets:?} {maps:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
    told(&cluster, "PLANE_RETIRED").await;
    told(&cluster, "Retired").await;
    assert!(agent.is_running());
    assert!(agent.log_text().contains("plane retired and forgotten"));
    // Another plane's bundle begins a new life.
    let next = seat.plane("next", "edge").await.unwrap();
    cluster.enrol(&next, &issue(&seat, &next).await);
    seat.status(&next, "connected").await.unwrap();
    agent.ready().await.unwrap();

    let granted = rights(&KubernetesConfig::default());
    // One component asks to be believed.
    let port = ports::reserve().unwrap();
    let (address, trust) = over_tcp(&cluster, &mut agent, &port).await;
    certify(&address, &trust, "ingester", "x")
        .await
        .unwrap_err();

    let asked = cluster.asked();
    let allowed = |asked: &Asked| {
        granted.iter().any(|right| {
            right.verbs.contains(&&*asked.verb)
                && right.group == asked.group
                && right.resource == asked.resource
                && (right.names.is_empty() || right.names.contains(&asked.name))
        })
    };
    let beyond: BTreeSet<_> = asked.iter().filter(|a| !allowed(a)).collect();
    assert!(beyond.is_empty(), "asked for more than it says: {beyond:?}");
    for right in &granted {
        for verb in right.verbs {
            let used = asked.iter().any(|a| {
                a.verb == *verb
                    && a.group == right.group
                    && a.resource == right.resource
                    && (right.names.is_empty() || right.names.contains(&a.name))
            });
            assert!(used, "{verb} {} is never used", right.resource);
        }
    }
}

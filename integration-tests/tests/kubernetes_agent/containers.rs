//! A plane whose agent, ingester and egress speak over TCP, as in containers of their own: each a
//! process with the token of its service account and the trust bundle in a folder.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use zen_integration_tests::cluster::{Cluster, NAMESPACE};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::ports::{self, Port};
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::unit::Unit;
use zen_integration_tests::world::{PATIENCE, Seat, settled};

use crate::{enrolled, over_tcp};

/// What a component's pod has beside its process.
struct Pod {
    folder: PathBuf,
    unit: Unit,
}

impl Pod {
    /// Prepared, with neither trust bundle nor token.
    fn new(seat: &Seat, agent: &str, binary: &'static str, settings: &[String]) -> Self {
        let folder = seat.dir.path().join(binary);
        std::fs::create_dir_all(&folder).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let mut all = vec![
            format!("agent.address={agent}"),
            format!("agent.instance={binary}-0"),
            format!("agent.trust_dir={}", at("trust")),
            format!("agent.token_file={}", at("token")),
            format!("state_dir={}", at("state")),
            format!("secrets_dir={}", at("secrets")),
        ];
        all.extend_from_slice(settings);
        let unit = Unit::new(binary, &folder, all).unwrap();
        Self { folder, unit }
    }

    fn put_trust(&self, trust: &Value) {
        let folder = self.folder.join("trust");
        std::fs::create_dir_all(&folder).unwrap();
        for (file, content) in trust.as_object().unwrap() {
            write(&folder.join(file), content.as_str().unwrap());
        }
    }

    fn put_token(&self, token: &str) {
        write(&self.folder.join("token"), token);
    }
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

/// A token of this service account.
fn give(cluster: &Cluster, token: &str, account: &str) {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    cluster.token(token, &user, &["zen-agent"]);
}

/// A flow to the service within the plane; the answer is its endpoint's id.
async fn flow(seat: &Seat, plane: &str, service: &Service) -> String {
    let target = json!({ "name": "t", "plane_id": plane, "url": service.url() });
    let target = seat.api.post("/v1/targets", &target).await.unwrap();
    let endpoint = json!({ "name": "e", "plane_id": plane, "verification": { "scheme": "none" } });
    let endpoint = seat.api.post("/v1/endpoints", &endpoint).await.unwrap();
    let flow = json!({ "name": "f", "endpoint_id": endpoint["id"], "target_id": target["id"] });
    seat.api.post("/v1/flows", &flow).await.unwrap();
    settled(&seat.api, plane, PATIENCE).await.unwrap();
    endpoint["id"].as_str().unwrap().to_owned()
}

async fn deliver(source: &Source, service: &Service, from: usize, to: usize) {
    for n in from..to {
        let (id, body) = (format!("event-{n}"), format!("{{\"n\":{n}}}").into());
        let posted = source.post_until_accepted(&id, body, PATIENCE);
        posted.await.unwrap();
    }
    let mut received = service.received.clone();
    let all = received.wait_for(|received| received.len() >= to);
    let came = tokio::time::timeout(PATIENCE, all).await.is_ok();
    assert!(came, "{} of {to}", service.received.borrow().len());
}

#[tokio::test]
async fn a_plane_of_components_over_tcp_delivers_whoever_starts_again() {
    let (seat, plane, cluster, mut agent) = enrolled().await;
    let [agent_port, hand_over, webhooks]: [Port; 3] =
        std::array::from_fn(|_| ports::reserve().unwrap());
    let (address, trust) = over_tcp(&cluster, &mut agent, &agent_port).await;
    for component in ["ingester", "egress"] {
        give(&cluster, component, &format!("zen-{component}"));
    }
    let listen = [format!("listen={}", hand_over.address)];
    let mut egress = Pod::new(&seat, &address, "zen-egress", &listen);
    let settings = [
        format!("listen={}", webhooks.address),
        format!("egress={}", hand_over.address),
    ];
    let mut ingester = Pod::new(&seat, &address, "zen-ingester", &settings);
    egress.unit.start().unwrap();
    ingester.unit.start().unwrap();

    // What they wait for is told, and needs no restart.
    for pod in [&egress, &ingester] {
        let roots = pod.folder.join("trust/roots.pem");
        let words = format!(
            "waiting for {} (ConfigMap zen-trust-bundle)",
            roots.display()
        );
        pod.unit.pending_with(&words).await.unwrap();
        pod.put_trust(&trust);
        // The other's token makes nobody the other.
        pod.put_token("ingester");
    }
    let why = "the token is of the ingester, not of the egress";
    egress.unit.pending_with(why).await.unwrap();
    egress.put_token("egress");
    for pod in [&egress, &ingester] {
        pod.unit.ready().await.unwrap();
    }

    let service = Service::start().await.unwrap();
    let id = flow(&seat, &plane, &service).await;
    let url = format!("http://{}/hooks/{id}", webhooks.address);
    let source = Source::new(url, Scheme::None);
    deliver(&source, &service, 0, 20).await;

    // Tokens are rotated; the agent and the egress are killed and come back with new certificates.
    for (pod, token) in [(&egress, "egress-2"), (&ingester, "ingester-2")] {
        give(
            &cluster,
            token,
            &format!("zen-{}", &token[..token.len() - 2]),
        );
        pod.put_token(token);
    }
    agent.kill().await.unwrap();
    deliver(&source, &service, 20, 40).await;
    egress.unit.kill().await.unwrap();
    agent.start().unwrap();
    egress.unit.start().unwrap();
    agent.ready().await.unwrap();
    egress.unit.ready().await.unwrap();
    deliver(&source, &service, 40, 60).await;
    ingester.unit.kill().await.unwrap();
    ingester.unit.start().unwrap();
    ingester.unit.ready().await.unwrap();
    deliver(&source, &service, 60, 80).await;

    eventually("both are seen with their plane", PATIENCE, || async {
        let shown = seat.show(&plane).await?;
        let components = shown["components"].as_array().cloned().unwrap_or_default();
        for name in ["ingester", "egress"] {
            let there = components
                .iter()
                .any(|c| c["component"] == name && c["instance"] == format!("zen-{name}-0"));
            anyhow::ensure!(there, "{name}: {shown}");
        }
        Ok(())
    })
    .await
    .unwrap();
    for unit in [&agent, &egress.unit, &ingester.unit] {
        let log = unit.log_text();
        assert!(!log.contains("Bearer"), "a token is in a log: {log}");
    }
    for mut unit in [ingester.unit, egress.unit, agent] {
        assert!(unit.terminate().await.unwrap().success());
    }
}

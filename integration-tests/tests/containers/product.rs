//! The containers of the product, their networks, and what stands around them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};
use zen_integration_tests::api::Api;
use zen_integration_tests::cluster::{Cluster, NAMESPACE};
use zen_integration_tests::engine::{Engine, Network};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::kubelet::{self, Kubelet};
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::world::settled;

/// Time for a state of the whole product to come about.
const PATIENCE: Duration = Duration::from_secs(120);
const IMAGES: [&str; 5] = [
    "zen-agent",
    "zen-ingester",
    "zen-egress",
    "zen-bridge",
    "zen-control-plane",
];
/// Names in the committed renderings of the charts.
const PLANE: &str = "pl_01k9vpq1x4f2w8s3t6r7y5z0ab";
const CONTROL: &str = "control.example";
const BRIDGE: &str = "bridge.example";

/// How an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Ingester of the data plane, bridge, egress of the edge plane.
    Public,
    /// Ingester and egress of the edge plane.
    Local,
}

/// The product, running.
pub(crate) struct Product {
    /// Told by tests to stop first: its containers go with it.
    pub(crate) engine: Arc<Engine>,
    /// The private service, on an address of the host in the private network.
    pub(crate) service: Service,
    /// The Kubernetes API beside the edge plane.
    pub(crate) edge_cluster: Arc<Cluster>,
    _data_cluster: Arc<Cluster>,
    outside: Network,
    inside: Network,
    api_key: String,
    edge: String,
    planes: [String; 2],
    /// Path of the endpoint of each way.
    endpoints: [String; 2],
}

impl Product {
    /// Starts everything, enrols both planes and waits until they run what was published; nothing
    /// where a tool is missing.
    pub(crate) async fn start() -> anyhow::Result<Option<Self>> {
        let Some(engine) = Engine::start().await? else {
            return Ok(None);
        };
        for image in IMAGES {
            if !engine.load(image)? {
                return Ok(None);
            }
        }
        let engine = Arc::new(engine);
        let outside = engine.network("outside", 1)?;
        let inside = engine.network("inside", 2)?;
        let (api_key, api) = control_plane(&engine, &outside).await?;
        let data = plane(&api, "data", "data").await?;
        let edge = plane(&api, "edge", "edge").await?;
        let data_cluster = Arc::new(Cluster::start_at(outside.gateway).await?);
        let edge_cluster = Arc::new(Cluster::start_at(inside.gateway).await?);
        let rendered = rendering("zen-data-plane/least.yaml", &data)?;
        let kubelet = kubelet(&engine, "data", &outside, &data_cluster, &rendered)?
            .with_name("zen-bridge", BRIDGE);
        run(&api, &kubelet, &data, &data_cluster, &|_| Ok(())).await?;
        let rendered = rendering("zen-edge-plane/both.yaml", &edge)?;
        let kubelet = self::kubelet(&engine, "edge", &inside, &edge_cluster, &rendered)?;
        run(&api, &kubelet, &edge, &edge_cluster, &|container| {
            // The agent and the egress dial out; the ingester has nobody to dial.
            if container != "edge-zen-ingester" {
                engine.docker(&["network", "connect", &outside.name, container])?;
                wall(&engine, container, &outside)?;
            }
            Ok(())
        })
        .await?;
        // Not on the address of the Kubernetes API: the chart has the egress refuse that one.
        let service = Service::start_at(inside.other).await?;
        let target = json!({ "plane_id": edge, "name": "private", "url": service.url() });
        let target = api.post("/v1/targets", &target).await?;
        let mut endpoints = Vec::new();
        for (plane, name) in [(&data, "public"), (&edge, "local")] {
            endpoints.push(endpoint(&api, plane, name, &target).await?);
        }
        let product = Self {
            engine,
            service,
            edge_cluster,
            _data_cluster: data_cluster,
            outside,
            inside,
            api_key,
            edge: edge.clone(),
            planes: [data, edge],
            endpoints: endpoints.try_into().ok().context("two endpoints")?,
        };
        product.well(PATIENCE).await?;
        Ok(Some(product))
    }

    /// The REST API, wherever the control plane is now.
    fn api(&self) -> anyhow::Result<Api> {
        let address = self
            .engine
            .address("control-zen-control-plane", &self.outside)?;
        Ok(Api::new(format!("http://{address}:8080"), &self.api_key))
    }

    /// Every container.
    pub(crate) fn containers(&self) -> Vec<String> {
        let data = ["zen-agent", "zen-ingester", "zen-bridge"].map(|c| format!("data-{c}"));
        let edge = ["zen-agent", "zen-ingester", "zen-egress"].map(|c| format!("edge-{c}"));
        let control = "control-zen-control-plane".to_owned();
        [control].into_iter().chain(data).chain(edge).collect()
    }

    /// What a container has logged.
    pub(crate) fn logs(&self, container: &str) -> anyhow::Result<String> {
        self.engine.docker(&["logs", container])
    }

    /// Ports of the edge plane that somebody on the other network might try.
    pub(crate) const fn private_ports(&self) -> [(&'static str, u16); 4] {
        [
            ("edge-zen-agent", 7443),
            ("edge-zen-agent", 9600),
            ("edge-zen-egress", 7444),
            ("edge-zen-egress", 9600),
        ]
    }

    /// Tries to connect from the control plane's network.
    pub(crate) fn reach_from_outside(&self, container: &str, port: u16) -> anyhow::Result<()> {
        let address = self.engine.address(container, &self.outside)?;
        self.reach("control-zen-control-plane", address, port)
    }

    /// The same from a neighbour on the private network.
    pub(crate) fn reach_from_inside(&self, container: &str, port: u16) -> anyhow::Result<()> {
        let address = self.engine.address(container, &self.inside)?;
        self.reach("edge-zen-ingester", address, port)
    }

    fn reach(&self, from: &str, address: IpAddr, port: u16) -> anyhow::Result<()> {
        let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
        // `timeout` ends with 124 if nobody answers.
        self.engine
            .inside(from, &["timeout", "2", "bash", "-c", &connect])
            .map(|_connected| ())
    }

    /// Posts an event until it is accepted; its id.
    pub(crate) async fn post(
        &self,
        way: Way,
        body: &Bytes,
        patience: Duration,
    ) -> anyhow::Result<String> {
        let (container, network, path) = match way {
            Way::Public => ("data-zen-ingester", &self.outside, &self.endpoints[0]),
            Way::Local => ("edge-zen-ingester", &self.inside, &self.endpoints[1]),
        };
        eventually("the event is accepted", patience, || async {
            // A container that was killed may have another address afterwards.
            let address = self.engine.address(container, network)?;
            let source = Source::new(format!("http://{address}:8080{path}"), Scheme::None);
            let posted =
                tokio::time::timeout(Duration::from_secs(5), source.post("", body.clone()));
            posted.await.context("no answer")?
        })
        .await
    }

    /// Starts a container that was killed.
    pub(crate) fn start_again(&self, container: &str) -> anyhow::Result<()> {
        self.engine.docker(&["start", container])?;
        if container == "edge-zen-agent" || container == "edge-zen-egress" {
            wall(&self.engine, container, &self.outside)?;
        }
        Ok(())
    }

    /// Takes all network links of a container down, or up again.
    pub(crate) fn link(&self, container: &str, state: &str) -> anyhow::Result<String> {
        let all = self.engine.inside(container, &["ip", "-oneline", "link"])?;
        let names = all.lines().filter_map(|line| {
            let name = line.split_whitespace().nth(1)?;
            name.split(['@', ':']).next()
        });
        for name in names.filter(|name| *name != "lo") {
            self.engine
                .inside(container, &["ip", "link", "set", name, state])?;
        }
        Ok(String::new())
    }

    /// Waits until both planes are connected and run what was published.
    pub(crate) async fn well(&self, patience: Duration) -> anyhow::Result<()> {
        for plane in &self.planes {
            settled(&self.api()?, plane, patience).await?;
        }
        Ok(())
    }

    /// Retires the edge plane.
    pub(crate) async fn retire(&self) -> anyhow::Result<()> {
        let path = format!("/v1/planes/{}", self.edge);
        self.api()?.delete(&path).await.map(|_retired| ())
    }

    /// For whoever reads the test's output.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// Lets no new connection into a container from this network: what a private network does.
fn wall(engine: &Engine, container: &str, from: &Network) -> anyhow::Result<()> {
    let interface = engine.interface(container, from)?;
    let rule = ["-A", "INPUT", "-i", &interface, "-p", "tcp", "--syn"];
    let rule = [&["iptables", "--wait"], &rule[..], &["-j", "DROP"]].concat();
    engine.inside(container, &rule).map(|_set| ())
}

/// A committed rendering, for this plane and the namespace of the cluster.
fn rendering(file: &str, plane: &str) -> anyhow::Result<String> {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/golden");
    let text = std::fs::read_to_string(golden.join(file)).with_context(|| file.to_owned())?;
    Ok(text
        .replace(PLANE, plane)
        .replace("namespace: events", &format!("namespace: {NAMESPACE}"))
        .replace(".events.svc", &format!(".{NAMESPACE}.svc")))
}

fn kubelet<'a>(
    engine: &'a Engine,
    name: &str,
    network: &Network,
    cluster: &Arc<Cluster>,
    rendered: &str,
) -> anyhow::Result<Kubelet<'a>> {
    let api = kubelet::Api {
        host: cluster.address().ip(),
        port: cluster.address().port(),
        ca: cluster.ca().to_owned(),
    };
    let tokens = Arc::clone(cluster);
    let mint = move |account: &str, audience: Option<&str>| match audience {
        Some(audience) => {
            let token = format!("token-of-{account}-for-{audience}");
            let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
            tokens.token(&token, &user, &[audience]);
            token
        }
        None => account.to_owned(),
    };
    Kubelet::new(engine, name, network, api, Box::new(mint), rendered)
}

/// Starts the control plane as its chart says; its key and its API.
async fn control_plane(engine: &Engine, outside: &Network) -> anyhow::Result<(String, Api)> {
    let nothing = kubelet::Api {
        host: outside.gateway,
        port: 1,
        ca: String::new(),
    };
    let rendered = rendering("zen-control-plane/sqlite.yaml", "")?;
    let mint = Box::new(|_: &str, _: Option<&str>| String::new());
    let kubelet = Kubelet::new(engine, "control", outside, nothing, mint, &rendered)?
        .with_name("zen-control-plane", CONTROL);
    kubelet.start("zen-control-plane")?;
    let container = kubelet.container("zen-control-plane");
    let config = ["--config", "/etc/zen/config.yaml"];
    let api_key = eventually("the control plane has its key", PATIENCE, || async {
        let words = ["exec", &container, "/zen-control-plane", "show", "api-key"];
        engine.docker(&[&words[..], &config].concat())
    })
    .await?;
    let api_key = api_key.trim().to_owned();
    let api = eventually("the control plane answers", PATIENCE, || async {
        let address = engine.address(&container, outside)?;
        let api = Api::new(format!("http://{address}:8080"), &api_key);
        api.get("/v1/planes").await?;
        Ok(api)
    })
    .await?;
    Ok((api_key, api))
}

async fn plane(api: &Api, name: &str, kind: &str) -> anyhow::Result<String> {
    let plane = json!({ "name": name, "kind": kind });
    let plane = api.post("/v1/planes", &plane).await?;
    Ok(plane["id"].as_str().context("no id")?.to_owned())
}

/// Puts the bundle into the cluster, starts the agent, and after it the others.
async fn run(
    api: &Api,
    kubelet: &Kubelet<'_>,
    plane: &str,
    cluster: &Cluster,
    started: &(dyn Fn(&str) -> anyhow::Result<()> + Sync),
) -> anyhow::Result<()> {
    let bundles = format!("/v1/planes/{plane}/bundles");
    cluster.enrol(plane, &api.post(&bundles, &json!({})).await?);
    kubelet.start("zen-agent")?;
    started(&kubelet.container("zen-agent"))?;
    let published = eventually("the agent publishes what is trusted", PATIENCE, || async {
        let map = cluster.get("configmaps", "zen-trust-bundle");
        map.context("no ConfigMap yet")
    })
    .await?;
    let data = published["data"].as_object().context("no data")?;
    let data: BTreeMap<_, _> = data
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    kubelet.publish("zen-trust-bundle", &data)?;
    for component in kubelet.workloads() {
        if component != "zen-agent" {
            kubelet.start(&component)?;
            started(&kubelet.container(&component))?;
        }
    }
    Ok(())
}

/// An endpoint with a flow to the target; the path of its URL.
async fn endpoint(api: &Api, plane: &str, name: &str, target: &Value) -> anyhow::Result<String> {
    let endpoint = json!({ "plane_id": plane, "name": name,
        "verification": { "scheme": "none" } });
    let endpoint = api.post("/v1/endpoints", &endpoint).await?;
    let flow = json!({ "name": name, "endpoint_id": endpoint["id"], "target_id": target["id"],
        "retry": { "max_attempts": 50, "initial_backoff_ms": 100, "max_backoff_ms": 1_000 } });
    api.post("/v1/flows", &flow).await?;
    let id = endpoint["id"].as_str().context("no id")?;
    Ok(format!("/hooks/{id}"))
}

//! A whole product: control plane, data plane (agent, bridge, ingester) and edge plane (agent,
//! egress, ingester), each component its own process, each plane enrolled through a real bundle.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use zen_chassis::files;

use crate::api::Api;
use crate::eventually::eventually;
use crate::ports::{self, Port};
use crate::unit::Unit;

/// Time for a state of the whole product to come about.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The product, running.
pub struct World {
    /// Everything on disk; removed with the world.
    pub dir: TempDir,
    /// The control plane's process.
    pub control_plane: Unit,
    /// Its REST listener.
    pub http: Port,
    /// Its listener for agents.
    pub agents: Port,
    /// Its REST API, as the owner.
    pub api: Api,
    /// The data plane.
    pub data: Plane,
    /// The edge plane.
    pub edge: Plane,
    _bridge_port: Port,
}

/// One plane's processes.
pub struct Plane {
    /// `pl_…`
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its agent.
    pub agent: Unit,
    /// Its ingester.
    pub ingester: Unit,
    /// The bridge of a data plane, the egress of an edge plane.
    pub far: Unit,
    /// Where its ingester listens.
    pub ingest: Port,
}

impl Plane {
    /// Its processes in the order of their start.
    pub fn units(&mut self) -> [&mut Unit; 3] {
        [&mut self.agent, &mut self.far, &mut self.ingester]
    }

    /// Writes a secret that `file:<name>` means in this plane.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn secret(&self, name: &str, value: &[u8]) -> anyhow::Result<()> {
        let folder = self.folder.join("secrets");
        files::make_private_folder(&folder)?;
        Ok(files::write_durable(&folder.join(name), value, 0o600)?)
    }
}

/// Only a control plane: for tests that bring their own agents.
pub struct Seat {
    /// Everything on disk.
    pub dir: TempDir,
    /// The process.
    pub control_plane: Unit,
    /// REST listener.
    pub http: Port,
    /// Listener for agents.
    pub agents: Port,
    /// REST API, as the owner.
    pub api: Api,
}

impl Seat {
    /// Starts a control plane; `settings` are added to its own.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(settings: &[String]) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("zen").tempdir()?;
        let (http, agents) = (ports::reserve()?, ports::reserve()?);
        let mut own = vec![
            format!("state_dir={}", dir.path().join("cp").display()),
            format!("http.listen={}", http.address),
            format!("agents.listen={}", agents.address),
        ];
        own.extend_from_slice(settings);
        let mut control_plane = Unit::new("zen-control-plane", dir.path(), own)?;
        control_plane.start()?;
        control_plane.ready().await?;
        let key = std::fs::read_to_string(dir.path().join("cp/api-key"))?;
        let api = Api::new(format!("http://{}", http.address), key.trim());
        Ok(Self {
            dir,
            control_plane,
            http,
            agents,
            api,
        })
    }

    /// Registers a plane.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn plane(&self, name: &str, kind: &str) -> anyhow::Result<String> {
        let plane = self
            .api
            .post("/v1/planes", &json!({ "name": name, "kind": kind }))
            .await?;
        Ok(plane["id"].as_str().context("no id")?.to_owned())
    }

    /// Issues a bundle into a folder as an agent expects it.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn bundle(&self, plane: &str, into: &Path) -> anyhow::Result<Value> {
        let issued = self
            .api
            .post(&format!("/v1/planes/{plane}/bundles"), &json!({}))
            .await?;
        write_bundle(&issued, into)?;
        Ok(issued)
    }

    /// A process for this plane's agent, not started; its folder holds `agent/enrollment`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn agent(&self, folder: &Path) -> anyhow::Result<Unit> {
        files::make_private_folder(folder)?;
        Unit::new(
            "zen-agent",
            folder,
            vec![
                format!("state_dir={}", folder.join("agent").display()),
                format!("listen=unix:{}", folder.join("a.sock").display()),
            ],
        )
    }

    /// What the API shows of a plane.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn show(&self, plane: &str) -> anyhow::Result<Value> {
        self.api.get(&format!("/v1/planes/{plane}")).await
    }

    /// Waits until a plane has this status.
    ///
    /// # Errors
    /// What it has instead.
    pub async fn status(&self, plane: &str, status: &str) -> anyhow::Result<Value> {
        eventually(&format!("plane is {status}"), PATIENCE, || async {
            let seen = self.show(plane).await?;
            anyhow::ensure!(seen["status"] == status, "{seen}");
            Ok(seen)
        })
        .await
    }
}

/// Waits until a plane is connected and all its components run what was published last: an event
/// that comes before its flow is nobody's.
///
/// # Errors
/// What the plane shows instead.
pub async fn settled(api: &Api, plane: &str, patience: Duration) -> anyhow::Result<()> {
    eventually("the plane runs what was published", patience, || async {
        let seen = api.get(&format!("/v1/planes/{plane}")).await?;
        let components = seen["components"].as_array().cloned().unwrap_or_default();
        let published = &seen["published_revision"];
        let runs = |c: &Value| c["component"] == "agent" || c["applied_revision"] == *published;
        let done = seen["status"] == "connected"
            && components.len() >= 3
            && seen["applied_revision"] == *published
            && components.iter().all(runs);
        anyhow::ensure!(done, "{seen}");
        Ok(())
    })
    .await
}

/// Writes the two files of a bundle, the identity first.
///
/// # Errors
/// When they cannot be written.
pub fn write_bundle(issued: &Value, into: &Path) -> anyhow::Result<()> {
    files::make_private_folder(into)?;
    let text = |key: &str| issued[key].as_str().context("the API sent no bundle");
    files::write_durable(
        &into.join("identity.txt"),
        text("identity")?.as_bytes(),
        0o600,
    )?;
    Ok(files::write_durable(
        &into.join("bundle.age"),
        text("bundle")?.as_bytes(),
        0o600,
    )?)
}

impl World {
    /// Starts everything and waits until it is connected and configured.
    ///
    /// # Errors
    /// What did not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same; `settings` go to every component but the control plane.
    ///
    /// # Errors
    /// What did not come up.
    pub async fn start_with(settings: &[String]) -> anyhow::Result<Self> {
        let seat = Seat::start(&[]).await?;
        let bridge_port = ports::reserve()?;
        let far = vec![format!("listen={}", bridge_port.address)];
        let mut data = plane(&seat, "data", "data", ("zen-bridge", far), settings).await?;
        let socket = seat.dir.path().join("edge/e.sock");
        let far = vec![
            format!("listen=unix:{}", socket.display()),
            format!(
                "secrets_dir={}",
                seat.dir.path().join("edge/secrets").display()
            ),
        ];
        let mut edge = plane(&seat, "edge", "edge", ("zen-egress", far), settings).await?;
        edge.ingester
            .set("egress", format!("unix:{}", socket.display()));
        data.ingester.set("egress", "null");
        for unit in data.units().into_iter().chain(edge.units()) {
            unit.start()?;
        }
        let Seat {
            dir,
            control_plane,
            http,
            agents,
            api,
        } = seat;
        let mut world = Self {
            dir,
            control_plane,
            http,
            agents,
            api,
            data,
            edge,
            _bridge_port: bridge_port,
        };
        world.settled().await?;
        Ok(world)
    }

    /// Every process of the product.
    pub fn units(&mut self) -> Vec<&mut Unit> {
        let Self {
            control_plane,
            data,
            edge,
            ..
        } = self;
        let mut all = vec![control_plane];
        all.extend(data.units());
        all.extend(edge.units());
        all
    }

    /// Waits until both planes and all their components run what was published last.
    ///
    /// # Errors
    /// What is still on its way.
    pub async fn settled(&mut self) -> anyhow::Result<()> {
        for unit in self.units() {
            unit.ready().await?;
        }
        for id in [&self.data.id, &self.edge.id] {
            settled(&self.api, id, PATIENCE).await?;
        }
        Ok(())
    }

    /// Creates a target in the edge plane.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn target(&self, body: Value) -> anyhow::Result<Value> {
        let mut body = body;
        body["plane_id"] = self.edge.id.clone().into();
        self.api.post("/v1/targets", &body).await
    }

    /// Creates an endpoint in a plane and a flow from it to `target`; the answer is the endpoint.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn endpoint(
        &self,
        plane: &str,
        name: &str,
        verification: Value,
        target: &Value,
        retry: Value,
    ) -> anyhow::Result<Value> {
        let body = json!({ "plane_id": plane, "name": name, "verification": verification });
        let endpoint = self.api.post("/v1/endpoints", &body).await?;
        let flow = json!({ "name": name, "endpoint_id": endpoint["id"],
            "target_id": target["id"], "retry": retry });
        self.api.post("/v1/flows", &flow).await?;
        Ok(endpoint)
    }
}

/// Registers a plane, issues its bundle and prepares its three processes.
async fn plane(
    seat: &Seat,
    name: &str,
    kind: &str,
    (far, far_settings): (&'static str, Vec<String>),
    settings: &[String],
) -> anyhow::Result<Plane> {
    let id = seat.plane(name, kind).await?;
    let folder = seat.dir.path().join(name);
    let mut agent = seat.agent(&folder)?;
    for setting in settings
        .iter()
        .filter(|setting| setting.starts_with("otlp."))
    {
        let (key, value) = setting.split_once('=').context("key=value")?;
        agent.set(key, value);
    }
    seat.bundle(&id, &folder.join("agent/enrollment")).await?;
    let ingest = ports::reserve()?;
    let common = |component: &str| {
        let mut all = vec![
            format!("state_dir={}", folder.join(component).display()),
            format!("agent.address=unix:{}", folder.join("a.sock").display()),
        ];
        all.extend_from_slice(settings);
        all
    };
    let mut own = common("far");
    own.extend(far_settings);
    let far = Unit::new(far, &folder, own)?;
    let mut own = common("ingester");
    own.push(format!("listen={}", ingest.address));
    own.push(format!("secrets_dir={}", folder.join("secrets").display()));
    let ingester = Unit::new("zen-ingester", &folder, own)?;
    Ok(Plane {
        id,
        folder,
        agent,
        ingester,
        far,
        ingest,
    })
}

//! Two control planes on one PostgreSQL database, each its own process: one is killed or stopped,
//! and its agents are back on the other, with nothing lost.
#![cfg(test)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zen_chassis::files;
use zen_integration_tests::api::Api;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::ports::{self, Port};
use zen_integration_tests::postgres::postgres;
use zen_integration_tests::unit::Unit;
use zen_integration_tests::world::{PATIENCE, write_bundle};

/// Time until the agents of a dead control plane are back on another.
const BACK: Duration = Duration::from_secs(15);
/// Agents that have to move.
const AGENTS: usize = 4;

/// One control plane of several.
struct Replica {
    process: Unit,
    api: Api,
    http: Port,
    agents: Port,
}

/// Two control planes and some enrolled agents.
struct Stage {
    one: Replica,
    two: Replica,
    planes: Vec<String>,
    agents: Vec<Unit>,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// Starts everything; nothing where there is no PostgreSQL.
    async fn start() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
        let database = postgres().unwrap()?;
        std::fs::write(dir.path().join("url"), database.url()).unwrap();
        let reserve = || ports::reserve().unwrap();
        let ports = [(reserve(), reserve()), (reserve(), reserve())];
        let advertised = format!("{},{}", ports[0].1.address, ports[1].1.address);
        let mut started = Vec::new();
        for (number, (http, agents)) in ports.into_iter().enumerate() {
            let settings = vec![
                format!(
                    "state_dir={}",
                    dir.path().join(format!("cp{number}")).display()
                ),
                format!("database.url_file={}", dir.path().join("url").display()),
                format!(
                    "root_identity_file={}",
                    dir.path().join("cp0/root.agekey").display()
                ),
                format!("http.listen={}", http.address),
                format!("agents.listen={}", agents.address),
                format!("agents.advertise={advertised}"),
            ];
            files::make_private_folder(&dir.path().join("cp0")).unwrap();
            let mut process = Unit::new("zen-control-plane", dir.path(), settings).unwrap();
            process.start().unwrap();
            process.ready().await.unwrap();
            let key = std::fs::read_to_string(dir.path().join("cp0/api-key")).unwrap();
            let api = Api::new(format!("http://{}", http.address), key.trim());
            started.push(Replica {
                process,
                api,
                http,
                agents,
            });
        }
        let two = started.pop().unwrap();
        let one = started.pop().unwrap();
        let mut stage = Self {
            one,
            two,
            planes: Vec::new(),
            agents: Vec::new(),
            _dir: dir,
        };
        for number in 0..AGENTS {
            stage.enrol(number).await;
        }
        Some(stage)
    }

    async fn enrol(&mut self, number: usize) {
        let folder = self._dir.path().join(format!("p{number}"));
        let body = json!({"name": format!("p{number}"), "kind": "edge"});
        let plane = self.one.api.post("/v1/planes", &body).await.unwrap();
        let id = plane["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/planes/{id}/bundles");
        let issued = self.one.api.post(&path, &json!({})).await.unwrap();
        write_bundle(&issued, &folder.join("agent/enrollment")).unwrap();
        let mut agent = agent(&folder);
        agent.start().unwrap();
        agent.ready().await.unwrap();
        self.planes.push(id);
        self.agents.push(agent);
    }

    /// Waits until every plane is connected, as `api` sees it.
    async fn all_connected(&self, api: &Api, patience: Duration) {
        eventually("all planes are connected", patience, || async {
            for plane in &self.planes {
                let seen = api.get(&format!("/v1/planes/{plane}")).await?;
                anyhow::ensure!(seen["status"] == "connected", "{seen}");
            }
            Ok(())
        })
        .await
        .unwrap();
    }

    /// A change through `api` is applied by every plane.
    async fn change_all(&self, api: &Api, name: &str) {
        for plane in &self.planes {
            let body = json!({
                "plane_id": plane, "name": name, "verification": {"scheme": "none"},
            });
            api.post("/v1/endpoints", &body).await.unwrap();
        }
        eventually("all planes have applied it", PATIENCE, || async {
            for plane in &self.planes {
                let seen: Value = api.get(&format!("/v1/planes/{plane}")).await?;
                let (published, applied) = (&seen["published_revision"], &seen["applied_revision"]);
                anyhow::ensure!(published == applied && *published != 0, "{seen}");
            }
            Ok(())
        })
        .await
        .unwrap();
    }
}

fn agent(folder: &Path) -> Unit {
    let settings = vec![
        format!("state_dir={}", folder.join("agent").display()),
        format!("listen=unix:{}", folder.join("a.sock").display()),
    ];
    Unit::new("zen-agent", folder, settings).unwrap()
}

#[tokio::test]
async fn agents_of_a_killed_control_plane_are_back_on_the_other_within_15_seconds() {
    let Some(mut stage) = Stage::start().await else {
        return;
    };
    stage.all_connected(&stage.two.api, PATIENCE).await;
    stage.one.process.kill().await.unwrap();
    let killed = Instant::now();
    stage.all_connected(&stage.two.api, BACK).await;
    assert!(killed.elapsed() < BACK);
    stage.change_all(&stage.two.api, "after").await;
    // What died comes back, and the other may die in turn.
    stage.one.process.start().unwrap();
    stage.one.process.ready().await.unwrap();
    stage.two.process.kill().await.unwrap();
    stage.all_connected(&stage.one.api, BACK).await;
    stage.change_all(&stage.one.api, "again").await;
}

#[tokio::test]
async fn agents_of_a_stopped_control_plane_are_told_when_to_come_to_the_other() {
    let Some(mut stage) = Stage::start().await else {
        return;
    };
    stage.all_connected(&stage.two.api, PATIENCE).await;
    assert!(stage.one.http.address != stage.two.http.address);
    assert!(stage.one.agents.address != stage.two.agents.address);
    stage.one.process.terminate().await.unwrap();
    stage.all_connected(&stage.two.api, BACK).await;
    stage.change_all(&stage.two.api, "after").await;
}

/// Waits until the next step of the root waits for nobody, as `api` sees it.
async fn root_is_ready(api: &Api, id: &str) {
    eventually("the root's next step can be taken", PATIENCE, || async {
        let roots = api.get("/v1/roots").await?;
        let mut all = roots["items"].as_array().into_iter().flatten();
        let root = all.find(|root| root["id"] == id);
        anyhow::ensure!(
            root.is_some_and(|root| root["waits_for"] == json!([])),
            "{roots}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_is_rotated_through_both_and_every_plane_follows() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let (one, two) = (&stage.one.api, &stage.two.api);
    stage.all_connected(two, PATIENCE).await;
    let before = one.get("/v1/roots").await.unwrap();
    let old = before["items"][0]["id"].as_str().unwrap().to_owned();
    let begun = one.post("/v1/roots", &json!({})).await.unwrap();
    let new = begun["id"].as_str().unwrap().to_owned();
    root_is_ready(two, &new).await;
    let path = format!("/v1/roots/{new}/sign");
    two.post(&path, &json!({})).await.unwrap();
    root_is_ready(one, &old).await;
    one.delete(&format!("/v1/roots/{old}")).await.unwrap();
    stage.all_connected(two, PATIENCE).await;
    // A CA is asked for through the control plane that has no session of the plane, or has it.
    for (plane, api) in stage.planes.iter().zip([one, two].into_iter().cycle()) {
        let path = format!("/v1/planes/{plane}/rotate-ca");
        eventually("the plane has a new CA", PATIENCE, || async {
            api.post(&path, &json!({})).await.map(|_| ())
        })
        .await
        .unwrap();
    }
}

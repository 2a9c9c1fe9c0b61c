//! A control plane in the test's own process, so that its clock can be set.

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use zen_chassis::{App, Clock, Stage};
use zen_control_plane::ControlPlane;
use zen_integration_tests::api::Api;

use crate::visit::Visit;

/// The control plane, and a browser at its dashboard.
pub(crate) struct Set {
    pub(crate) api: Api,
    pub(crate) visit: Visit,
    pub(crate) clock: Clock,
    _dir: TempDir,
    stage: Stage,
    run: JoinHandle<anyhow::Result<()>>,
}

impl Set {
    /// Starts it; its owner is signed in. `name` is the test's.
    pub(crate) async fn start(name: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
        let clock = Clock::manual(Clock::system().unix_ms());
        let stage = Stage::detached("control-plane").unwrap();
        let stage = stage.with_clock(clock.clone());
        let mut config = zen_control_plane::Config {
            state_dir: dir.path().to_owned(),
            ..zen_control_plane::Config::default()
        };
        config.http.listen = "127.0.0.1:0".parse().unwrap();
        config.agents.listen = "127.0.0.1:0".parse().unwrap();
        let app = ControlPlane::bind(config, &stage).await.unwrap();
        let key = std::fs::read_to_string(app.api_key_file()).unwrap();
        let http = app.http_address();
        let run = tokio::spawn(app.run(stage.clone()));
        let visit = Visit::start(name, http, dir.path()).await;
        visit.take_the_link().await;
        Self {
            api: Api::new(format!("http://{http}"), key.trim()),
            visit,
            clock,
            _dir: dir,
            stage,
            run,
        }
    }

    /// Stops it as a signal does.
    pub(crate) async fn stop(self) {
        drop(self.visit);
        self.stage.shutdown.cancel();
        self.run.await.unwrap().unwrap();
    }

    /// Registers an edge plane.
    pub(crate) async fn plane(&self, name: &str) -> String {
        let body = json!({ "name": name, "kind": "edge" });
        let plane = self.api.post("/v1/planes", &body).await.unwrap();
        plane["id"].as_str().unwrap().to_owned()
    }
}

//! An agent under test: on its own directory, with its own stage, stopped and started at will.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use zen_agent::{Agent, Config, Directory, PlaneState, State, Store, TokenReviewer};
use zen_chassis::net::{Address, local_channel};
use zen_chassis::{App, Clock, Stage};
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;
use zen_proto::codes::RefusalCode;

use crate::control_plane::Issued;

const LONG: Duration = Duration::from_secs(20);

/// The machine an agent lives on.
pub(crate) struct Home {
    _folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// Who judges tokens, if anybody.
    pub(crate) reviewer: Option<Arc<dyn TokenReviewer>>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            state_dir: folder.path().join("state"),
            listen: Address::Unix(folder.path().join("agent.sock")),
            ..Config::default()
        };
        config.enrollment.poll = Duration::from_millis(50);
        Self {
            _folder: folder,
            config,
            clock: Clock::system(),
            reviewer: None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.config.state_dir.join(name)
    }

    /// Puts a bundle where the agent looks for one.
    pub(crate) fn put(&self, issued: &Issued) {
        std::fs::create_dir_all(self.path("enrollment")).unwrap();
        std::fs::write(self.path("enrollment/identity.txt"), &issued.identity).unwrap();
        std::fs::write(self.path("enrollment/bundle.age"), &issued.bundle).unwrap();
    }

    pub(crate) fn directory(&self) -> Directory {
        Directory::open(
            self.path(""),
            self.path("enrollment/bundle.age"),
            self.path("enrollment/identity.txt"),
        )
        .unwrap()
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(Arc::new(self.directory())).await
    }

    pub(crate) async fn start_with(&self, store: Arc<dyn Store>) -> Running {
        let stage = Stage::detached("agent")
            .unwrap()
            .with_clock(self.clock.clone());
        let agent = Agent::bind_with(self.config.clone(), store, &stage)
            .await
            .unwrap();
        let agent = match &self.reviewer {
            Some(reviewer) => agent.with_reviewer(Arc::clone(reviewer)),
            None => agent,
        };
        let (state, address) = (agent.plane(), agent.address().clone());
        let running = tokio::spawn(agent.run(stage.clone()));
        Running {
            stage,
            state,
            address,
            running,
        }
    }

    /// What the agent keeps, as it stands on the disk.
    pub(crate) fn stored_identity(&self) -> Option<serde_json::Value> {
        let text = std::fs::read(self.path("identity.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// Whether nothing of an enrolment is left behind, soon.
    pub(crate) async fn is_tidy(&self) -> bool {
        let wait = async {
            while !self.leftovers().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.is_ok()
    }

    pub(crate) fn leftovers(&self) -> Vec<&'static str> {
        [
            "enrollment/bundle.age",
            "enrollment/identity.txt",
            "pending.json",
        ]
        .into_iter()
        .filter(|name| self.path(name).exists())
        .collect()
    }
}

/// An agent that runs.
pub(crate) struct Running {
    pub(crate) stage: Stage,
    pub(crate) state: watch::Receiver<PlaneState>,
    pub(crate) address: Address,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn reaches(&mut self, wanted: State) {
        self.until(&format!("{wanted}"), |shown| shown.state == wanted)
            .await;
    }

    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut(&PlaneState) -> bool) {
        let wait = self.state.wait_for(|shown| holds(shown));
        let outcome = tokio::time::timeout(LONG, wait)
            .await
            .map(|seen| seen.unwrap().clone());
        if outcome.is_err() {
            panic!("never {what}: {:?}", *self.state.borrow());
        }
    }

    /// Waits for a refusal to stand in `/readyz`, with its remedy, while the agent stays up.
    pub(crate) async fn shows(&mut self, code: RefusalCode) {
        let mut changes = self.stage.ready.changes();
        let said = |pending: &std::collections::BTreeMap<String, String>| {
            pending.get("enrollment").is_some_and(|line| {
                line.starts_with(&format!("{code}: "))
                    && line.ends_with(&format!("; remedy: {}", code.remedy()))
            })
        };
        if tokio::time::timeout(LONG, changes.wait_for(said))
            .await
            .is_err()
        {
            panic!("{code} never shown: {:?}", self.stage.ready.pending());
        }
        assert!(!self.running.is_finished());
    }

    /// The socket that neighbours are served on.
    pub(crate) fn socket(&self) -> &Path {
        match &self.address {
            Address::Unix(path) => path,
            Address::Tcp(address) => panic!("serves on {address}"),
        }
    }

    pub(crate) fn client(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(local_channel(self.socket()).unwrap())
    }

    /// Stops in good order.
    pub(crate) async fn stop(self) {
        self.stage.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.stage.tasks.finish(LONG).await.unwrap();
    }
}

/// Waits until a plain fact holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

//! A component's side of the agent next to it: configuration and identity down, status and
//! answers up. Every stream reconnects by itself; the last good slice is kept on disk, so that a
//! component starts without its agent.

mod agent;
mod link;
#[cfg(test)]
mod tests;
mod upward;
mod way;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use zen_identity::LiveIdentity;
use zen_proto::agent::v1::Slice;
use zen_proto::component::Component;
use zen_proto::limits;
use zen_proto::query::v1::{Query, answer};
use zen_proto::session::v1::ComponentStatus;
use zen_proto::snapshot::v1::Snapshot;

use crate::config::default_state_dir;
use crate::files;
use crate::neighbour::agent::Agent;
use crate::neighbour::link::{Link, trust_slice};
use crate::net::Address;
use crate::ready::Condition;
use crate::stage::Stage;

pub use upward::Upward;
pub use way::Way;

/// Where the agent is and who this component is beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighbourSettings {
    /// The agent's address, `unix:/path` or `host:port`; default `unix:/run/zen/agent.sock`.
    pub address: Address,
    /// Names this replica among those of its component; default `0`.
    pub instance: String,
    /// Over TCP, the folder of the trust bundle by which the agent is judged at first: `roots.pem`,
    /// `trust-domain`, `tenant-id`, `plane-id`; default `/etc/zen/trust`.
    pub trust_dir: PathBuf,
    /// Over TCP, the token of this component's service account for the audience `zen-agent`, by
    /// which it proves itself at first; default `/var/run/secrets/zen/token`.
    pub token_file: PathBuf,
}

impl Default for NeighbourSettings {
    fn default() -> Self {
        Self {
            address: Address::Unix("/run/zen/agent.sock".into()),
            instance: "0".to_owned(),
            trust_dir: "/etc/zen/trust".into(),
            token_file: "/var/run/secrets/zen/token".into(),
        }
    }
}

/// A question of the control plane, and where its answer goes. Dropping `reply` answers that the
/// query failed.
pub struct Question {
    /// What is asked.
    pub query: Query,
    /// Takes the answer; the query id is filled in by the receiver.
    pub reply: oneshot::Sender<answer::Answer>,
}

/// Questions waiting at the most; more are answered with QUERY_FAILED.
const QUESTIONS: usize = 16;
const SLICE_FILE: &str = "slice.pb";

/// The agent next door.
pub struct Neighbour {
    /// This component's part of the configuration; none until one was ever received.
    pub slice: watch::Receiver<Option<Arc<Slice>>>,
    /// This component's certificate and whom it trusts; empty until the agent certified it.
    pub identity: LiveIdentity,
    /// What the control plane wants to know.
    pub questions: mpsc::Receiver<Question>,
    tasks: Link,
    slice_in: watch::Sender<Option<Arc<Slice>>>,
    questions_in: mpsc::Sender<Question>,
    configured: Condition,
    /// Does not hold before the first certificate, if somebody waits for it.
    identified: Option<Condition>,
}

impl Neighbour {
    /// Reads the last good slice and prepares the connection; starts nothing.
    ///
    /// # Errors
    /// When the state directory cannot be used, or its slice is damaged.
    pub fn open(
        component: Component,
        settings: &NeighbourSettings,
        state_dir: Option<&std::path::Path>,
        stage: &Stage,
    ) -> anyhow::Result<Self> {
        let state_dir =
            state_dir.map_or_else(|| default_state_dir(component.as_str()), ToOwned::to_owned);
        files::make_private_folder(&state_dir)?;
        let slice_file = state_dir.join(SLICE_FILE);
        let kept = files::read_if_there(&slice_file, limits::SNAPSHOT * 2)?
            .map(|bytes| Slice::decode(bytes.as_slice()))
            .transpose()
            .with_context(|| format!("{} is damaged; remove it", slice_file.display()))?;
        let identity = LiveIdentity::new(stage.clock.time_provider());
        if let Some(slice) = &kept {
            trust_slice(&identity, slice);
        }
        let configured = stage
            .ready
            .condition("configuration", "no configuration received yet");
        if kept.is_some() {
            configured.ready();
        }
        // With a configuration from before, work can begin without a certificate.
        let over_tcp = matches!(settings.address, Address::Tcp(_));
        let identified = (over_tcp && kept.is_none()).then(|| unidentified(stage));
        let (slice_in, slice) = watch::channel(kept.map(Arc::new));
        let (questions_in, questions) = mpsc::channel(QUESTIONS);
        let agent = Agent::new(settings, &identity, &stage.clock).context("agent.address")?;
        let boot: [u8; 8] = stage.random.bytes();
        let boot_id = boot.iter().map(|byte| format!("{byte:02x}")).collect();
        let tasks = Link {
            component,
            instance: settings.instance.clone(),
            boot_id,
            agent,
            identity: identity.clone(),
            slice_file,
            stage: stage.clone(),
        };
        Ok(Self {
            slice,
            identity,
            questions,
            tasks,
            slice_in,
            questions_in,
            configured,
            identified,
        })
    }

    /// Is ready only with a certificate: for a component that cannot be spoken to without.
    pub fn require_identity(&mut self) {
        let stage = &self.tasks.stage;
        self.identified.get_or_insert_with(|| unidentified(stage));
    }

    /// A way to another component of this plane. Nothing is dialled yet.
    ///
    /// # Errors
    /// When a socket's path cannot be written as an address.
    pub fn way(
        &self,
        component: Component,
        address: &Address,
    ) -> Result<Way, tonic::transport::Error> {
        Way::new(component, address, &self.identity)
    }

    /// The way up for secrets that were sealed again, which is zen-lock's alone.
    #[must_use]
    pub fn upward(&self) -> Upward {
        Upward(self.tasks.agent.clone())
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn snapshot(slice: &Option<Arc<Slice>>) -> Option<&Snapshot> {
        slice.as_ref().and_then(|slice| slice.snapshot.as_ref())
    }

    /// Starts the streams. `fill` adds to a status what only the component knows: address, queue,
    /// counters; the rest is filled in here.
    pub fn start(self, fill: impl Fn(&mut ComponentStatus) + Send + Sync + 'static) -> Started {
        let Self {
            slice,
            identity,
            questions,
            tasks,
            slice_in,
            questions_in,
            configured,
            identified,
        } = self;
        let spawn = tasks.stage.tasks.clone();
        spawn.spawn(
            "agent certify",
            tasks.clone().keep_certified(slice.clone(), identified),
        );
        spawn.spawn(
            "agent watch",
            tasks.clone().keep_watching(slice_in, configured),
        );
        spawn.spawn(
            "agent report",
            tasks.clone().keep_reporting(slice.clone(), fill),
        );
        spawn.spawn("agent ask", tasks.keep_answering(questions_in));
        Started {
            slice,
            identity,
            questions,
        }
    }
}

/// The agent next door, with its streams running.
pub struct Started {
    /// This component's part of the configuration; none until one was ever received.
    pub slice: watch::Receiver<Option<Arc<Slice>>>,
    /// This component's certificate and whom it trusts.
    pub identity: LiveIdentity,
    /// What the control plane wants to know.
    pub questions: mpsc::Receiver<Question>,
}

fn unidentified(stage: &Stage) -> Condition {
    stage
        .ready
        .condition("identity", "no certificate from the agent yet")
}

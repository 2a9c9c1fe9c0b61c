//! A component's side of the agent next to it: configuration and identity down, status and
//! answers up. Every stream reconnects by itself; the last good slice is kept on disk, so that a
//! component starts without its agent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use zen_identity::{LiveIdentity, PrivateKey, Trust};
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, ReportRequest, Slice, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::limits;
use zen_proto::query::v1::{Answer, Query, QueryError, answer};
use zen_proto::session::v1::ComponentStatus;
use zen_proto::snapshot::v1::Snapshot;

use crate::backoff::Backoff;
use crate::chain::Chain;
use crate::config::default_state_dir;
use crate::files;
use crate::net::{Address, local_channel};
use crate::ready::Condition;
use crate::stage::Stage;

/// Where the agent is and who this component is beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeighbourSettings {
    /// The agent's local address; default `unix:/run/zen/agent.sock`.
    pub address: Address,
    /// Names this replica among those of its component; default `0`.
    pub instance: String,
}

impl Default for NeighbourSettings {
    fn default() -> Self {
        Self {
            address: Address::Unix("/run/zen/agent.sock".into()),
            instance: "0".to_owned(),
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
const REPORT_EVERY: Duration = Duration::from_secs(2);

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
}

/// What every task towards the agent needs.
#[derive(Clone)]
struct Link {
    component: Component,
    instance: String,
    boot_id: String,
    client: AgentServiceClient<Channel>,
    identity: LiveIdentity,
    slice_file: PathBuf,
    stage: Stage,
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
        let Address::Unix(socket) = &settings.address else {
            anyhow::bail!("agent.address: this version speaks to its agent by unix:/path only");
        };
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
        let (slice_in, slice) = watch::channel(kept.map(Arc::new));
        let (questions_in, questions) = mpsc::channel(QUESTIONS);
        let client = AgentServiceClient::new(local_channel(socket)?)
            .max_decoding_message_size(limits::SNAPSHOT * 2);
        let boot: [u8; 8] = stage.random.bytes();
        let boot_id = boot.iter().map(|byte| format!("{byte:02x}")).collect();
        let tasks = Link {
            component,
            instance: settings.instance.clone(),
            boot_id,
            client,
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
        })
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
        } = self;
        let spawn = tasks.stage.tasks.clone();
        spawn.spawn(
            "agent watch",
            tasks.clone().keep_watching(slice_in, configured),
        );
        spawn.spawn("agent certify", tasks.clone().keep_certified());
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

/// Takes the trusted roots and revocations of a slice into force.
fn trust_slice(identity: &LiveIdentity, slice: &Slice) {
    if slice.trust_bundle_pem.is_empty() {
        return;
    }
    let revoked = slice.snapshot.iter().flat_map(|s| &s.revoked_plane_ids);
    match trust(&slice.trust_domain, &slice.trust_bundle_pem, revoked) {
        Ok(trust) => identity.set_trust(trust),
        Err(error) => tracing::warn!(error = %Chain(error.as_ref()), "trust bundle not usable"),
    }
}

fn trust<'a>(
    domain: &str,
    roots_pem: &str,
    revoked: impl Iterator<Item = &'a String>,
) -> anyhow::Result<Trust> {
    let revoked = revoked
        .map(|id| id.parse())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Trust::new(domain.parse()?, roots_pem, revoked)?)
}

impl Link {
    fn hello(&self) -> WatchRequest {
        WatchRequest {
            component: self.component.as_str().to_owned(),
            instance: self.instance.clone(),
        }
    }

    /// Runs `once` again and again until shutdown, with pauses after failures.
    async fn again<F>(&self, what: &'static str, mut once: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let mut failed = 0;
        loop {
            let outcome = tokio::select! {
                () = self.stage.shutdown.cancelled() => return Ok(()),
                outcome = once() => outcome,
            };
            match outcome {
                Ok(()) => failed = 0,
                Err(error) => {
                    failed += 1;
                    if failed == 3 {
                        tracing::warn!(what, error = %Chain(error.as_ref()), "agent not reached");
                    } else {
                        tracing::debug!(what, error = %Chain(error.as_ref()), "agent not reached");
                    }
                }
            }
            let pause = Backoff::NEAR.pause(failed.max(1), self.stage.random.fraction());
            tokio::select! {
                () = self.stage.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn keep_watching(
        self,
        slices: watch::Sender<Option<Arc<Slice>>>,
        configured: Condition,
    ) -> anyhow::Result<()> {
        self.again("watch", || self.watch(&slices, &configured))
            .await
    }

    async fn watch(
        &self,
        slices: &watch::Sender<Option<Arc<Slice>>>,
        configured: &Condition,
    ) -> anyhow::Result<()> {
        let mut stream = self.client.clone().watch(self.hello()).await?.into_inner();
        while let Some(slice) = stream.message().await? {
            let bytes = slice.encode_to_vec();
            let file = self.slice_file.clone();
            tokio::task::spawn_blocking(move || files::write_durable(&file, &bytes, 0o600))
                .await??;
            trust_slice(&self.identity, &slice);
            let revision = slice
                .snapshot
                .as_ref()
                .map_or(0, |snapshot| snapshot.revision);
            slices.send_replace(Some(Arc::new(slice)));
            configured.ready();
            tracing::info!(revision, "configuration applied");
        }
        Ok(())
    }

    async fn keep_certified(self) -> anyhow::Result<()> {
        self.again("certify", || self.certify_and_hold()).await
    }

    /// Gets a leaf certificate and comes back when it is time for the next one.
    async fn certify_and_hold(&self) -> anyhow::Result<()> {
        let key = PrivateKey::generate()?;
        let request = CertifyRequest {
            component: self.component.as_str().to_owned(),
            instance: self.instance.clone(),
            csr: key.csr(self.component.as_str())?.into(),
        };
        let answer = self.client.clone().certify(request).await?.into_inner();
        let trust = trust(
            &answer.trust_domain,
            &answer.trust_bundle_pem,
            answer.revoked_plane_ids.iter(),
        )?;
        self.identity.set_trust(trust);
        let chain = answer.chain.iter().map(|der| der.to_vec().into()).collect();
        self.identity.set_leaf(chain, &key)?;
        let left = self
            .identity
            .leaf_not_after()
            .and_then(|end| end.duration_since(self.stage.clock.now()).ok())
            .unwrap_or_default();
        tracing::info!(valid_for_s = left.as_secs(), "certificate issued");
        tokio::time::sleep((left / 2).max(Duration::from_secs(1))).await;
        Ok(())
    }

    async fn keep_reporting(
        self,
        slice: watch::Receiver<Option<Arc<Slice>>>,
        fill: impl Fn(&mut ComponentStatus) + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        self.again("report", || self.report(&slice, &fill)).await
    }

    async fn report(
        &self,
        slice: &watch::Receiver<Option<Arc<Slice>>>,
        fill: &(impl Fn(&mut ComponentStatus) + Send + Sync),
    ) -> anyhow::Result<()> {
        let (reports, queue) = mpsc::channel(1);
        let call = self.client.clone();
        let sending = async {
            let mut ready = self.stage.ready.changes();
            let mut slice = slice.clone();
            loop {
                let report = ReportRequest {
                    status: Some(self.status(&slice, fill)),
                };
                if reports.send(report).await.is_err() {
                    return anyhow::Ok(());
                }
                tokio::select! {
                    () = tokio::time::sleep(REPORT_EVERY) => {}
                    changed = ready.changed() => changed?,
                    changed = slice.changed() => changed?,
                }
            }
        };
        let answering = async {
            call.clone().report(ReceiverStream::new(queue)).await?;
            anyhow::Ok(())
        };
        tokio::select! {
            outcome = sending => outcome,
            outcome = answering => outcome,
        }
    }

    fn status(
        &self,
        slice: &watch::Receiver<Option<Arc<Slice>>>,
        fill: &impl Fn(&mut ComponentStatus),
    ) -> ComponentStatus {
        let pending = self.stage.ready.pending();
        let applied_revision = Neighbour::snapshot(&slice.borrow()).map_or(0, |s| s.revision);
        let mut status = ComponentStatus {
            component: self.component.as_str().to_owned(),
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id.clone(),
            ready: pending.is_empty(),
            pending: pending
                .into_iter()
                .map(|(name, why)| format!("{name}: {why}"))
                .collect(),
            applied_revision,
            certificate_not_after_ms: self
                .identity
                .leaf_not_after()
                .map_or(0, crate::clock::to_unix_ms),
            ..ComponentStatus::default()
        };
        fill(&mut status);
        status
    }

    async fn keep_answering(self, questions: mpsc::Sender<Question>) -> anyhow::Result<()> {
        self.again("ask", || self.answer(&questions)).await
    }

    async fn answer(&self, questions: &mpsc::Sender<Question>) -> anyhow::Result<()> {
        let (answers, queue) = mpsc::channel(QUESTIONS);
        let hello = AskRequest {
            message: Some(ask_request::Message::Hello(self.hello())),
        };
        answers.send(hello).await?;
        let mut asked = self
            .client
            .clone()
            .ask(ReceiverStream::new(queue))
            .await?
            .into_inner();
        let mut under_way = futures::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                query = asked.message() => match query? {
                    Some(query) => under_way.push(put(query, questions)),
                    None => return Ok(()),
                },
                Some(answer) = under_way.next() => {
                    let message = Some(ask_request::Message::Answer(answer));
                    answers.send(AskRequest { message }).await?;
                }
            }
        }
    }
}

/// Puts a query to the component and waits for its answer.
async fn put(query: Query, questions: &mpsc::Sender<Question>) -> Answer {
    let query_id = query.query_id.clone();
    let (reply, answer) = oneshot::channel();
    let failed = |detail: &str| {
        answer::Answer::Error(QueryError {
            code: "QUERY_FAILED".to_owned(),
            detail: detail.to_owned(),
        })
    };
    let answer = match questions.try_send(Question { query, reply }) {
        Ok(()) => answer
            .await
            .unwrap_or_else(|_| failed("the component gave no answer")),
        Err(_) => failed("the component has too many questions waiting"),
    };
    Answer {
        query_id,
        answer: Some(answer),
    }
}

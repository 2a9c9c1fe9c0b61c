//! The streams between a component and its agent, each a task that reconnects by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use zen_identity::{LiveIdentity, PrivateKey, Trust};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, ReportRequest, Slice, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::query::v1::{Answer, Query, QueryError, answer};
use zen_proto::session::v1::ComponentStatus;

use super::agent::Agent;
use super::{Neighbour, QUESTIONS, Question};
use crate::backoff::Backoff;
use crate::chain::Chain;
use crate::files;
use crate::ready::Condition;
use crate::stage::Stage;

/// Longest silence towards the agent.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Pause between looks at the certificate's age.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(30);
/// Pause, about, before a certificate is asked for because the plane has a new CA: replicas do not
/// come all at once, and a slice kept from before cannot make anybody ask without end.
const NEW_CA_PAUSE: Duration = Duration::from_secs(1);
/// Shortest time between two certificates if the first is refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// What every task towards the agent needs.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) component: Component,
    pub(super) instance: String,
    pub(super) boot_id: String,
    pub(super) agent: Agent,
    pub(super) identity: LiveIdentity,
    pub(super) slice_file: PathBuf,
    pub(super) stage: Stage,
}

/// Takes the trusted roots and revocations of a slice into force.
pub(super) fn trust_slice(identity: &LiveIdentity, slice: &Slice) {
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
                    self.agent.failed(&error);
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

    pub(super) async fn keep_watching(
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
        self.agent.open().await;
        let mut stream = self.agent.client().watch(self.hello()).await?.into_inner();
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

    /// Keeps the certificate fresh; `identified`, if anybody waits for it, holds from the first on.
    pub(super) async fn keep_certified(
        self,
        slice: watch::Receiver<Option<Arc<Slice>>>,
        identified: Option<Condition>,
    ) -> anyhow::Result<()> {
        self.again("certify", || {
            self.certify_and_hold(&slice, identified.as_ref())
        })
        .await
    }

    /// Gets a leaf certificate and comes back when it is time for the next one.
    async fn certify_and_hold(
        &self,
        slice: &watch::Receiver<Option<Arc<Slice>>>,
        identified: Option<&Condition>,
    ) -> anyhow::Result<()> {
        let certified = self.certify().await;
        match (&certified, identified) {
            (Ok(()), Some(identified)) => identified.ready(),
            (Err(error), Some(identified)) if !self.identity.has_leaf() => {
                identified.not_ready(Chain(error.as_ref()).to_string());
            }
            _ => {}
        }
        certified?;
        let now = self.stage.clock.now();
        let end = self.identity.leaf_not_after().unwrap_or(now);
        let left = end.duration_since(now).unwrap_or_default();
        tracing::info!(valid_for_s = left.as_secs(), "certificate issued");
        let half = (left / 2).max(Duration::from_secs(1));
        let renew_at = now + half;
        let may_be_refused = Instant::now() + REFUSED_PAUSE;
        let mut slices = slice.clone();
        // Looked at again and again: a machine that slept has its timers stand still.
        while self.stage.clock.now() < renew_at && self.is_of(slice) {
            if !self.is_by_ca_in_force(slice) {
                let pause = self.stage.random.jitter(NEW_CA_PAUSE, 0.9);
                tokio::time::sleep(pause).await;
                return Ok(());
            }
            tokio::select! {
                Ok(()) = slices.changed() => {}
                () = tokio::time::sleep(CERTIFICATE_LOOK.min(half)) => {}
                () = self.agent.refused() => {
                    tokio::time::sleep_until(may_be_refused).await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether the certificate is of the plane that the configuration is for: an agent that was
    /// enrolled anew may speak for another.
    fn is_of(&self, slice: &watch::Receiver<Option<Arc<Slice>>>) -> bool {
        let slice = slice.borrow();
        let configured = Neighbour::snapshot(&slice).and_then(|s| s.plane_id.parse().ok());
        let certified = self.identity.id().and_then(|id| id.plane());
        configured.is_none() || configured == certified
    }

    /// Whether the certificate is by the plane CA that the agent says to have now. An agent that
    /// says nothing of it is content.
    fn is_by_ca_in_force(&self, slice: &watch::Receiver<Option<Arc<Slice>>>) -> bool {
        let slice = slice.borrow();
        let mut named = slice.iter().map(|slice| &slice.plane_ca_sha256[..]);
        let named = named.next_back().unwrap_or_default();
        let issuer = self.identity.leaf_issuer();
        named.is_empty() || issuer.is_none_or(|issuer| issuer[..] == *named)
    }

    async fn certify(&self) -> anyhow::Result<()> {
        let key = PrivateKey::generate()?;
        let request = CertifyRequest {
            component: self.component.as_str().to_owned(),
            instance: self.instance.clone(),
            csr: key.csr(self.component.as_str())?.into(),
        };
        let answer = self.agent.certify(request).await?;
        let trust = trust(
            &answer.trust_domain,
            &answer.trust_bundle_pem,
            answer.revoked_plane_ids.iter(),
        )?;
        self.identity.set_trust(trust);
        let chain = answer.chain.iter().map(|der| der.to_vec().into()).collect();
        self.identity.set_leaf(chain, &key)?;
        self.agent.renewed();
        Ok(())
    }

    pub(super) async fn keep_reporting(
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
        self.agent.open().await;
        let mut call = self.agent.client();
        let sending = async {
            let mut ready = self.stage.ready.changes();
            let mut slice = slice.clone();
            let mut identity = self.identity.changed();
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
                    changed = identity.changed() => changed?,
                }
            }
        };
        let answering = async {
            call.report(ReceiverStream::new(queue)).await?;
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
            trusted_roots: self
                .identity
                .trusted_roots()
                .iter()
                .map(|root| root.to_vec().into())
                .collect(),
            certificate_root: self
                .identity
                .leaf_root()
                .map_or_else(Default::default, |root| root.to_vec().into()),
            ..ComponentStatus::default()
        };
        fill(&mut status);
        status
    }

    pub(super) async fn keep_answering(
        self,
        questions: mpsc::Sender<Question>,
    ) -> anyhow::Result<()> {
        self.again("ask", || self.answer(&questions)).await
    }

    async fn answer(&self, questions: &mpsc::Sender<Question>) -> anyhow::Result<()> {
        let (answers, queue) = mpsc::channel(QUESTIONS);
        let hello = AskRequest {
            message: Some(ask_request::Message::Hello(self.hello())),
        };
        answers.send(hello).await?;
        self.agent.open().await;
        let mut asked = self
            .agent
            .client()
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

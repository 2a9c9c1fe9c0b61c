//! What the agent serves to the components next to it: on a Unix socket, or over TCP in TLS.

pub(crate) mod admission;
pub(crate) mod ask;
mod reviews;
pub(crate) mod roster;
pub(crate) mod slice;
mod strangers;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::chain::Chain;
use zen_chassis::net::Listener;
use zen_chassis::tasks::Tasks;
use zen_chassis::{CancellationToken, Clock};
use zen_identity::{AcceptOptions, ClientAuth, IssueError, LiveIdentity, accept};
use zen_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, CertifyResponse, ReportRequest, ReportResponse, ResealRequest,
    ResealResponse, Slice, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::limits;
use zen_proto::query::v1::{Answer, Query};

use crate::applied::{Desk, Held};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use admission::{Admission, Caller};
use ask::{Place, Router};
use roster::Roster;
use slice::slice;

/// Longest name of an instance, bytes.
const INSTANCE: usize = 128;
/// Connections over TCP at once: each replica of a component needs one or two. Handshakes and
/// strangers are far fewer, so that they never fill it.
const CONNECTIONS: usize = 1024;
const HANDSHAKES: usize = 128;
/// Calls of one connection at once; a component needs four.
const CALLS: u32 = 16;
/// Pause between pings that find out whether the other side is still there, and time to answer.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Time for the first message of a stream.
const HELLO: Duration = Duration::from_secs(10);
/// Time for open connections to end after shutdown; their streams have ended then.
const GOODBYE: Duration = Duration::from_secs(5);

/// What the local service needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) desk: Desk,
    pub(crate) roster: Roster,
    pub(crate) router: Router,
    pub(crate) outbox: Outbox,
    pub(crate) clock: Clock,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: Tasks,
    pub(crate) admission: Admission,
    /// What is shown over TCP.
    pub(crate) live: LiveIdentity,
    pub(crate) metrics: Metrics,
}

impl Local {
    /// Serves until it is told to stop; who does not end by then is left.
    pub(crate) async fn serve(self, listener: Listener) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::select! {
            served = self.serve_on(listener) => served,
            () = late => {
                tracing::warn!("connections of neighbours were still open at the end");
                Ok(())
            }
        }
    }

    async fn serve_on(self, listener: Listener) -> anyhow::Result<()> {
        let stop = self.stop.clone().cancelled_owned();
        let (live, metrics) = (self.live.clone(), self.metrics.clone());
        let admission = self.admission.clone();
        // A certificate of another plane ends in the handshake.
        let own = admission.own_components();
        let service = AgentServiceServer::new(self)
            .max_decoding_message_size(limits::SESSION_MESSAGE)
            .max_encoding_message_size(limits::SNAPSHOT * 2);
        let admitted = InterceptedService::new(service, admission);
        let mut server = Server::builder();
        match listener {
            Listener::Unix(listener) => {
                server
                    .add_service(admitted)
                    .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
                    .await?;
            }
            Listener::Tcp(listener) => {
                let tls = live.server_config(own, ClientAuth::Optional)?;
                let options = AcceptOptions {
                    max_connections: CONNECTIONS,
                    max_handshakes: HANDSHAKES,
                    on_refused: Some(Arc::new(move |code| metrics.handshake_refused(code))),
                    ..AcceptOptions::default()
                };
                let guests = strangers::bounded(accept(listener, tls, options));
                server
                    .max_concurrent_streams(CALLS)
                    .http2_keepalive_interval(Some(PING))
                    .http2_keepalive_timeout(Some(PONG))
                    .add_service(admitted)
                    .serve_with_incoming_shutdown(guests, stop)
                    .await?;
            }
        }
        Ok(())
    }

    /// Sends the component its part, now and at each change, until one of both goes away. A slow
    /// component misses what was replaced before it could be sent.
    async fn keep_sending(
        self,
        component: Component,
        caller: Caller,
        slices: mpsc::Sender<Result<Slice, Status>>,
    ) {
        let mut unwelcome = std::pin::pin!(self.admission.until_unwelcome(&caller));
        let mut held = self.desk.watch();
        let mut sent = Held::default();
        loop {
            let now = held.borrow_and_update().clone();
            if !same_slices(&now, &sent)
                && let Some(slice) = slice_for(&now, component)
            {
                sent = now;
                if slices.send(Ok(slice)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = held.changed() => if changed.is_err() { return },
                () = slices.closed() => return,
                status = &mut unwelcome => {
                    // A slow one finds the stream ended without a word.
                    let _told = slices.try_send(Err(status));
                    return;
                }
                () = self.desk.cleared() => return,
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Takes answers until one of both goes away.
    async fn keep_taking(self, place: Place, caller: Caller, mut answers: Streaming<AskRequest>) {
        let mut unwelcome = std::pin::pin!(self.admission.until_unwelcome(&caller));
        loop {
            let message = tokio::select! {
                message = answers.message() => message,
                _status = &mut unwelcome => return,
                () = self.desk.cleared() => return,
                () = self.stop.cancelled() => return,
            };
            match message {
                Ok(Some(AskRequest {
                    message: Some(ask_request::Message::Answer(answer)),
                })) => {
                    place.answer(answer);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// The component's part of what the plane holds, once there is anything.
fn slice_for(held: &Held, component: Component) -> Option<Slice> {
    let (identity, applied) = (held.identity.as_ref()?, held.applied.as_ref()?);
    let mut part = slice(&applied.snapshot, component);
    // What the session told since may be newer than the snapshot.
    for plane in &identity.stored.revoked_plane_ids {
        let plane = plane.to_string();
        if !part.revoked_plane_ids.contains(&plane) {
            part.revoked_plane_ids.push(plane);
        }
    }
    Some(Slice {
        snapshot: Some(part),
        trust_domain: identity.stored.trust_domain.clone(),
        trust_bundle_pem: identity.stored.roots_pem.clone(),
        plane_ca_sha256: identity.ca_sha256().to_vec().into(),
    })
}

/// Whether what the plane holds gives the same slices as before.
fn same_slices(now: &Held, before: &Held) -> bool {
    let trust = |held: &Held| {
        held.identity.as_ref().map(|identity| {
            let stored = &identity.stored;
            let revoked = stored.revoked_plane_ids.clone();
            (stored.roots_pem.clone(), revoked, identity.ca_sha256())
        })
    };
    let applied = |held: &Held| held.applied.as_ref().map(Arc::as_ptr);
    applied(now) == applied(before) && trust(now) == trust(before)
}

type Downward<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Local {
    type WatchStream = Downward<Slice>;
    type AskStream = Downward<Query>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::known(&request)?;
        let hello = request.into_inner();
        let component = neighbour(&hello.component, &hello.instance)?;
        caller.must_be(component)?;
        let (slices, queue) = mpsc::channel(1);
        // Ends with the stream, with the desk, or at shutdown.
        self.tasks.spawn_side(
            "slices to a neighbour",
            self.clone().keep_sending(component, caller, slices),
        );
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (metadata, _, request) = request.into_parts();
        let component = neighbour(&request.component, &request.instance)?;
        if !matches!(caller, Caller::Stranger(_)) {
            caller.must_be(component)?;
        }
        let identity = self.desk.now().identity.ok_or_else(|| {
            Status::failed_precondition("the plane is not enrolled; see the agent's /readyz")
        })?;
        // Last, since it costs others something.
        if let Caller::Stranger(from) = caller {
            let contact = self.admission.first_contact(component, from, &metadata);
            contact.await?;
        }
        let chain = identity
            .leaf(&request.csr, component, self.clock.now())
            .map_err(|error| match error {
                IssueError::Csr(_) => Status::invalid_argument(Chain(&error).to_string()),
                IssueError::Expired => Status::failed_precondition(Chain(&error).to_string()),
                other => Status::internal(Chain(&other).to_string()),
            })?;
        let stored = &identity.stored;
        tracing::info!(%component, instance = request.instance, "certificate issued");
        Ok(Response::new(CertifyResponse {
            chain: chain.iter().map(|der| der.to_vec().into()).collect(),
            trust_bundle_pem: stored.roots_pem.clone(),
            trust_domain: stored.trust_domain.clone(),
            revoked_plane_ids: stored
                .revoked_plane_ids
                .iter()
                .map(ToString::to_string)
                .collect(),
        }))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let caller = Caller::known(&request)?;
        let mut unwelcome = std::pin::pin!(self.admission.until_unwelcome(&caller));
        let mut reports = request.into_inner();
        loop {
            let report = tokio::select! {
                report = reports.message() => report?,
                status = &mut unwelcome => return Err(status),
                () = self.desk.cleared() => None,
                () = self.stop.cancelled() => None,
            };
            let Some(report) = report else {
                return Ok(Response::new(ReportResponse {}));
            };
            if let Some(status) = report.status {
                caller.must_be(neighbour(&status.component, &status.instance)?)?;
                self.roster.report(status, Instant::now());
            }
        }
    }

    async fn ask(
        &self,
        request: Request<Streaming<AskRequest>>,
    ) -> Result<Response<Self::AskStream>, Status> {
        let caller = Caller::known(&request)?;
        let mut answers = request.into_inner();
        let first = tokio::select! {
            first = tokio::time::timeout(HELLO, answers.message()) => first,
            () = self.stop.cancelled() => return Err(Status::unavailable("the agent is ending")),
        };
        let first = first.map_err(|_late| Status::deadline_exceeded("no hello came"))?;
        let Some(AskRequest {
            message: Some(ask_request::Message::Hello(hello)),
        }) = first?
        else {
            return Err(Status::invalid_argument(
                "the first message must be a hello",
            ));
        };
        let component = neighbour(&hello.component, &hello.instance)?;
        caller.must_be(component)?;
        let (place, questions) = self
            .router
            .enter(component, &hello.instance)
            .ok_or_else(|| Status::resource_exhausted("too many instances"))?;
        // Ends with the stream or at shutdown; its end gives up the place, which ends `questions`.
        self.tasks.spawn_side(
            "answers of a neighbour",
            self.clone().keep_taking(place, caller, answers),
        );
        Ok(Response::new(Box::pin(
            ReceiverStream::new(questions).map(Ok),
        )))
    }

    async fn reseal(
        &self,
        request: Request<ResealRequest>,
    ) -> Result<Response<ResealResponse>, Status> {
        Caller::known(&request)?.must_be(Component::Lock)?;
        let resealed = request.into_inner().secret;
        let resealed = resealed.ok_or_else(|| Status::invalid_argument("there is no secret"))?;
        self.outbox.hand_in(resealed).await?;
        Ok(Response::new(ResealResponse {}))
    }
}

/// A component next to the agent, which is never the agent itself.
fn neighbour(component: &str, instance: &str) -> Result<Component, Status> {
    let parsed: Component = component.parse().map_err(|_| {
        Status::invalid_argument("the component is not ingester, egress, lock or bridge")
    })?;
    if parsed == Component::Agent {
        return Err(Status::invalid_argument(
            "the agent is no neighbour of itself",
        ));
    }
    if instance.is_empty() || instance.len() > INSTANCE {
        return Err(Status::invalid_argument(format!(
            "the instance must be named, in at most {INSTANCE} bytes"
        )));
    }
    Ok(parsed)
}

/// An answer to a question that could not even be put.
pub(crate) fn crowded(query: &Query) -> Answer {
    let error = zen_proto::query::v1::QueryError {
        code: "QUERY_FAILED".to_owned(),
        detail: "too many questions are under way".to_owned(),
    };
    Answer {
        query_id: query.query_id.clone(),
        answer: Some(zen_proto::query::v1::answer::Answer::Error(error)),
    }
}

#[cfg(test)]
#[path = "local/tests.rs"]
mod tests;

//! An agent with behaviour: serves a slice that a test can change, certifies, takes reports, asks.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::Clock;
use zen_identity::{AcceptOptions, ClientAuth, Expect, LiveIdentity, Peer, PlaneCa, accept};
use zen_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, CertifyResponse, ReportRequest, ReportResponse, ResealRequest,
    ResealResponse, Slice, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::query::v1::{Answer, ListDeliveries, Query, query};
use zen_proto::session::v1::ComponentStatus;

/// The fake; clones share everything.
#[derive(Clone)]
pub(crate) struct FakeAgent {
    pub(crate) slice: watch::Sender<Slice>,
    pub(crate) status: watch::Sender<ComponentStatus>,
    pub(crate) answer: watch::Sender<Option<Answer>>,
    ca: PlaneCa,
    clock: Clock,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl FakeAgent {
    pub(crate) fn serve(socket: &Path, slice: Slice, ca: PlaneCa, clock: Clock) -> Self {
        let agent = Self {
            slice: watch::Sender::new(slice),
            status: watch::Sender::default(),
            answer: watch::Sender::default(),
            ca,
            clock,
        };
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(AgentServiceServer::new(agent.clone()))
            .serve_with_incoming(UnixListenerStream::new(listener));
        tokio::spawn(server);
        agent
    }

    /// Serves over TCP as well, as the agent that this identity names: a first certificate is given
    /// for the token, everything else by certificate.
    pub(crate) async fn serve_tcp(&self, live: &LiveIdentity, token: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let bridges = Expect::any_component(&[Component::Bridge]);
        let tls = live.server_config(bridges, ClientAuth::Optional).unwrap();
        let service =
            AgentServiceServer::with_interceptor(self.clone(), move |call: Request<()>| {
                let peer = call.extensions().get::<Peer>().unwrap();
                let shown = call.metadata().get("authorization");
                let right = shown.is_some_and(|shown| *shown == format!("Bearer {token}"));
                if peer.id.is_some() || right {
                    return Ok(call);
                }
                Err(Status::unauthenticated("neither certificate nor token"))
            });
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(accept(listener, tls, AcceptOptions::default()));
        tokio::spawn(server);
        address
    }

    /// Changes the configuration under the bridge.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut Slice)) {
        self.slice.send_modify(change);
    }

    /// Waits until the bridge has reported this of itself.
    pub(crate) async fn reported(&self, wanted: impl FnMut(&ComponentStatus) -> bool) {
        let mut status = self.status.subscribe();
        let waiting = status.wait_for(wanted);
        let outcome = tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .is_ok();
        assert!(
            outcome,
            "the bridge last reported {:?}",
            self.status.borrow()
        );
    }
}

#[tonic::async_trait]
impl AgentService for FakeAgent {
    type WatchStream = Answers<Slice>;
    type AskStream = Answers<Query>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(
            WatchStream::new(self.slice.subscribe()).map(Ok).boxed(),
        ))
    }

    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let component: Component = request.get_ref().component.parse().unwrap();
        let (now, day) = (self.clock.now(), Duration::from_secs(86_400));
        let chain = self
            .ca
            .sign_leaf(&request.get_ref().csr, component, now, day)
            .unwrap();
        let slice = self.slice.borrow().clone();
        Ok(Response::new(CertifyResponse {
            chain: chain.iter().map(|der| der.to_vec().into()).collect(),
            trust_bundle_pem: slice.trust_bundle_pem,
            trust_domain: slice.trust_domain,
            revoked_plane_ids: Vec::new(),
        }))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let mut reports = request.into_inner();
        while let Some(report) = reports.message().await? {
            self.status.send_replace(report.status.unwrap());
        }
        Ok(Response::new(ReportResponse {}))
    }

    async fn ask(
        &self,
        request: Request<Streaming<AskRequest>>,
    ) -> Result<Response<Self::AskStream>, Status> {
        let mut said = request.into_inner();
        let answers = self.answer.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = said.message().await {
                if let Some(ask_request::Message::Answer(answer)) = message.message {
                    answers.send_replace(Some(answer));
                }
            }
        });
        let query = Query {
            query_id: "q1".to_owned(),
            timeout_ms: 1_000,
            question: Some(query::Question::ListDeliveries(ListDeliveries::default())),
        };
        let asked = futures::stream::once(async { Ok(query) });
        Ok(Response::new(
            asked.chain(futures::stream::pending()).boxed(),
        ))
    }

    async fn reseal(
        &self,
        _request: Request<ResealRequest>,
    ) -> Result<Response<ResealResponse>, Status> {
        Err(Status::unimplemented("no secret is sealed again here"))
    }
}

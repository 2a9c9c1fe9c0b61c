//! An agent that serves whatever slice a test puts, signs leaves, and keeps the newest report.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};
use zen_identity::{LiveIdentity, PlaneCa, PrivateKey, RootCa, Trust};
use zen_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, CertifyResponse, ReportRequest, ReportResponse, ResealRequest,
    ResealResponse, Slice, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::ids::{Id, PlaneId, TenantId};
use zen_proto::query::v1::{Query, answer, query};
use zen_proto::session::v1::ComponentStatus;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const DOMAIN: &str = "mesh.test";

/// A plane's certificates.
pub(crate) struct Authority {
    pub(crate) root: RootCa,
    pub(crate) tenant: TenantId,
    pub(crate) plane: PlaneId,
    pub(crate) ca: PlaneCa,
}

pub(crate) fn now() -> SystemTime {
    zen_chassis::Clock::system().now()
}

impl Authority {
    pub(crate) fn new() -> Self {
        let root = RootCa::generate(DOMAIN.parse().unwrap(), now(), DAY).unwrap();
        let tenant = TenantId::generate(1_700_000_000_000, [1; 10]);
        let plane = PlaneId::generate(1_700_000_000_000, [2; 10]);
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("plane").unwrap();
        let chain = root.sign_plane_ca(&csr, tenant, plane, now(), DAY).unwrap();
        let ca = PlaneCa::new(key, chain, DOMAIN.parse().unwrap()).unwrap();
        Self {
            root,
            tenant,
            plane,
            ca,
        }
    }

    /// What a component of this plane shows and trusts.
    pub(crate) fn component(&self, component: Component) -> LiveIdentity {
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr(component.as_str()).unwrap();
        let chain = self.ca.sign_leaf(&csr, component, now(), DAY).unwrap();
        let identity = LiveIdentity::new(zen_chassis::Clock::system().time_provider());
        identity.set_trust(self.trust());
        identity.set_leaf(chain, &key).unwrap();
        identity
    }

    /// Another plane under the same root.
    pub(crate) fn other(&self) -> Self {
        let root = RootCa::generate(DOMAIN.parse().unwrap(), now(), DAY).unwrap();
        let plane = PlaneId::generate(1_700_000_000_000, [7; 10]);
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("plane").unwrap();
        let chain = self
            .root
            .sign_plane_ca(&csr, self.tenant, plane, now(), DAY)
            .unwrap();
        let ca = PlaneCa::new(key, chain, DOMAIN.parse().unwrap()).unwrap();
        Self {
            root,
            tenant: self.tenant,
            plane,
            ca,
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::new(DOMAIN.parse().unwrap(), &self.root.cert_pem(), []).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct FakeAgent {
    pub(crate) authority: Arc<Authority>,
    slices: watch::Sender<Option<Slice>>,
    reports: watch::Sender<ComponentStatus>,
    asking: Arc<Mutex<Option<Asking>>>,
    /// How long its certificates last.
    pub(crate) validity: watch::Sender<Duration>,
    /// Certificates given.
    pub(crate) certified: watch::Sender<u32>,
}

/// The ingester's open stream for questions.
struct Asking {
    queries: mpsc::Sender<Result<Query, Status>>,
    answers: Streaming<AskRequest>,
}

impl FakeAgent {
    pub(crate) fn start(socket: &Path) -> Self {
        let agent = Self {
            authority: Arc::new(Authority::new()),
            slices: watch::Sender::new(None),
            reports: watch::Sender::new(ComponentStatus::default()),
            asking: Arc::default(),
            validity: watch::Sender::new(DAY),
            certified: watch::Sender::new(0),
        };
        let listener = UnixListenerStream::new(tokio::net::UnixListener::bind(socket).unwrap());
        let service = AgentServiceServer::new(agent.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(listener));
        agent
    }

    pub(crate) fn publish(&self, slice: Slice) {
        self.slices.send_replace(Some(slice));
    }

    /// Asks the ingester and waits for its answer.
    pub(crate) async fn ask(&self, question: query::Question) -> answer::Answer {
        let asked = async {
            loop {
                if let Some(asking) = self.asking.lock().await.as_mut() {
                    let query = Query {
                        query_id: "q".to_owned(),
                        timeout_ms: 5_000,
                        question: Some(question.clone()),
                    };
                    asking.queries.send(Ok(query)).await.unwrap();
                    let message = asking.answers.message().await.unwrap().unwrap().message;
                    let Some(ask_request::Message::Answer(answer)) = message else {
                        panic!("no answer: {message:?}")
                    };
                    return answer.answer.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(20), asked).await;
        answered.expect("no answer in time")
    }

    /// The first report that the test wants to see.
    pub(crate) async fn report(
        &self,
        wanted: impl FnMut(&ComponentStatus) -> bool,
    ) -> ComponentStatus {
        let mut reports = self.reports.subscribe();
        let report = tokio::time::timeout(Duration::from_secs(20), reports.wait_for(wanted));
        report.await.expect("no such report").unwrap().clone()
    }
}

#[tonic::async_trait]
impl AgentService for FakeAgent {
    type WatchStream = BoxStream<'static, Result<Slice, Status>>;
    type AskStream = BoxStream<'static, Result<Query, Status>>;

    async fn watch(
        &self,
        _request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let slices = WatchStream::new(self.slices.subscribe());
        let slices = slices.filter_map(|slice| async move { slice.map(Ok) });
        Ok(Response::new(slices.boxed()))
    }

    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let csr = request.into_inner().csr;
        let chain = self
            .authority
            .ca
            .sign_leaf(&csr, Component::Ingester, now(), *self.validity.borrow())
            .unwrap();
        self.certified.send_modify(|count| *count += 1);
        Ok(Response::new(CertifyResponse {
            chain: chain.iter().map(|der| der.to_vec().into()).collect(),
            trust_bundle_pem: self.authority.root.cert_pem(),
            trust_domain: DOMAIN.to_owned(),
            revoked_plane_ids: Vec::new(),
        }))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let mut reports = request.into_inner();
        while let Some(report) = reports.message().await? {
            self.reports.send_replace(report.status.unwrap());
        }
        Ok(Response::new(ReportResponse {}))
    }

    async fn ask(
        &self,
        request: Request<Streaming<AskRequest>>,
    ) -> Result<Response<Self::AskStream>, Status> {
        let mut answers = request.into_inner();
        let _hello = answers.message().await?;
        let (queries, queue) = mpsc::channel(4);
        *self.asking.lock().await = Some(Asking { queries, answers });
        Ok(Response::new(ReceiverStream::new(queue).boxed()))
    }

    async fn reseal(
        &self,
        _request: Request<ResealRequest>,
    ) -> Result<Response<ResealResponse>, Status> {
        Err(Status::unimplemented("no secret is sealed again here"))
    }
}

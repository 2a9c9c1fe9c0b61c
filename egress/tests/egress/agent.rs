//! An agent on a Unix socket: serves a slice that a test changes, certifies, asks.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::Clock;
use zen_identity::{LiveIdentity, PlaneCa, PrivateKey, RootCa, SpiffeId, Trust, TrustDomain};
use zen_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, CertifyResponse, ReportRequest, ReportResponse, ResealRequest,
    ResealResponse, Slice, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::ids::{Id, PlaneId, TenantId};
use zen_proto::query::v1::{Answer, Query, answer, query};
use zen_proto::session::v1::ComponentStatus;

const DAY: Duration = Duration::from_secs(86_400);

/// The authorities of a plane, and whatever is to be trusted.
pub(crate) struct Authority {
    root: RootCa,
    pub(crate) tenant: TenantId,
    pub(crate) plane: PlaneId,
    ca: PlaneCa,
}

impl Authority {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates are judged by the real time"
    )]
    pub(crate) fn new() -> Self {
        let domain: TrustDomain = "zen.test".parse().unwrap();
        let now = SystemTime::now();
        let root = RootCa::generate(domain.clone(), now, DAY).unwrap();
        let (tenant, plane) = (
            TenantId::generate(1, [1; 10]),
            PlaneId::generate(1, [2; 10]),
        );
        let ca = Self::plane_ca(&root, tenant, plane, now);
        Self {
            root,
            tenant,
            plane,
            ca,
        }
    }

    fn plane_ca(root: &RootCa, tenant: TenantId, plane: PlaneId, now: SystemTime) -> PlaneCa {
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("agent").unwrap();
        let chain = root.sign_plane_ca(&csr, tenant, plane, now, DAY).unwrap();
        PlaneCa::new(key, chain, root.trust_domain().clone()).unwrap()
    }

    /// What a component of this plane, or of another one, shows and trusts.
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates are judged by the real time"
    )]
    pub(crate) fn component(
        &self,
        component: Component,
        plane: PlaneId,
        validity: Duration,
    ) -> LiveIdentity {
        let now = SystemTime::now();
        let ca = Self::plane_ca(&self.root, self.tenant, plane, now);
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr(component.as_str()).unwrap();
        let chain = ca.sign_leaf(&csr, component, now, validity).unwrap();
        let identity = self.nobody();
        identity.set_leaf(chain, &key).unwrap();
        identity
    }

    /// Somebody who trusts this domain and has no certificate.
    pub(crate) fn nobody(&self) -> LiveIdentity {
        let identity = LiveIdentity::new(Clock::system().time_provider());
        let domain = self.root.trust_domain().clone();
        identity.set_trust(Trust::new(domain, &self.root.cert_pem(), []).unwrap());
        identity
    }

    /// The identity of a bridge in another plane of the same domain.
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates are judged by the real time"
    )]
    pub(crate) fn bridge(&self) -> (LiveIdentity, SpiffeId, PlaneId) {
        let now = SystemTime::now();
        let (tenant, plane) = (
            TenantId::generate(1, [8; 10]),
            PlaneId::generate(1, [9; 10]),
        );
        let ca = Self::plane_ca(&self.root, tenant, plane, now);
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("bridge").unwrap();
        let chain = ca.sign_leaf(&csr, Component::Bridge, now, DAY).unwrap();
        let identity = LiveIdentity::new(Clock::system().time_provider());
        let domain = self.root.trust_domain().clone();
        identity.set_trust(Trust::new(domain, &self.root.cert_pem(), []).unwrap());
        identity.set_leaf(chain, &key).unwrap();
        let id = identity.id().unwrap();
        (identity, id, plane)
    }
}

/// The agent, as a test holds it.
pub(crate) struct Agent {
    pub(crate) authority: Arc<Authority>,
    slices: watch::Sender<Slice>,
    statuses: watch::Receiver<Option<ComponentStatus>>,
    asking: Arc<Mutex<Option<Asking>>>,
}

struct Asking {
    queries: mpsc::Sender<Result<Query, Status>>,
    answers: Streaming<AskRequest>,
}

struct Desk {
    authority: Arc<Authority>,
    slices: watch::Receiver<Slice>,
    statuses: watch::Sender<Option<ComponentStatus>>,
    asking: Arc<Mutex<Option<Asking>>>,
}

impl Agent {
    pub(crate) fn serve(socket: &Path) -> Self {
        let authority = Arc::new(Authority::new());
        let slice = Slice {
            trust_domain: "zen.test".to_owned(),
            trust_bundle_pem: authority.root.cert_pem(),
            ..Slice::default()
        };
        let (slices, slices_out) = watch::channel(slice);
        let (statuses_in, statuses) = watch::channel(None);
        let asking = Arc::new(Mutex::new(None));
        let desk = Desk {
            authority: authority.clone(),
            slices: slices_out,
            statuses: statuses_in,
            asking: asking.clone(),
        };
        let listener = UnixListenerStream::new(tokio::net::UnixListener::bind(socket).unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(AgentServiceServer::new(desk))
            .serve_with_incoming(listener);
        tokio::spawn(server);
        Self {
            authority,
            slices,
            statuses,
            asking,
        }
    }

    /// Publishes another snapshot.
    pub(crate) fn change(&self, change: impl FnOnce(&mut zen_proto::snapshot::v1::Snapshot)) {
        self.slices.send_modify(|slice| {
            let snapshot = slice.snapshot.get_or_insert_default();
            snapshot.version = 1;
            snapshot.revision += 1;
            change(snapshot);
        });
    }

    /// Waits for a status that says what is wanted.
    pub(crate) async fn status(
        &self,
        wanted: impl Fn(&ComponentStatus) -> bool,
    ) -> ComponentStatus {
        let mut statuses = self.statuses.clone();
        let found = statuses.wait_for(|status| status.as_ref().is_some_and(&wanted));
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        found
            .expect("no such status in time")
            .unwrap()
            .clone()
            .unwrap()
    }

    /// Asks the egress and waits for its answer.
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
                    let Some(ask_request::Message::Answer(Answer { answer, query_id })) = message
                    else {
                        panic!("no answer: {message:?}")
                    };
                    assert_eq!(query_id, "q");
                    return answer.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .expect("no answer in time")
    }
}

type Down<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Desk {
    type WatchStream = Down<Slice>;
    type AskStream = Down<Query>;

    async fn watch(
        &self,
        _request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let slices = WatchStream::new(self.slices.clone());
        let known = slices.filter(|slice| std::future::ready(slice.snapshot.is_some()));
        Ok(Response::new(Box::pin(known.map(Ok))))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "certificates are judged by the real time"
    )]
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let csr = request.into_inner().csr;
        let chain = self
            .authority
            .ca
            .sign_leaf(&csr, Component::Egress, SystemTime::now(), DAY);
        let chain = chain.map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(CertifyResponse {
            chain: chain.iter().map(|der| der.to_vec().into()).collect(),
            trust_bundle_pem: self.authority.root.cert_pem(),
            trust_domain: "zen.test".to_owned(),
            revoked_plane_ids: Vec::new(),
        }))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let mut reports = request.into_inner();
        while let Some(report) = reports.message().await? {
            self.statuses.send_replace(report.status);
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
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn reseal(
        &self,
        _request: Request<ResealRequest>,
    ) -> Result<Response<ResealResponse>, Status> {
        Err(Status::unimplemented("no secret is sealed again here"))
    }
}

//! An agent that serves configuration to the components next to it, and does what a test says: for
//! one or a few components without a control plane.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};
use zen_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, CertifyResponse, ReportRequest, ReportResponse, ResealRequest,
    ResealResponse, Slice, WatchRequest,
};
use zen_proto::query::v1::Query;
use zen_proto::session::v1::{ComponentStatus, Resealed};
use zen_proto::snapshot::v1::Snapshot;

type Held<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What components report, by the word for each.
pub type Statuses = BTreeMap<String, ComponentStatus>;

/// A running fake; gone when it is dropped.
pub struct FakeAgent {
    served: Arc<Served>,
    _task: JoinSet<()>,
}

impl FakeAgent {
    /// Serves `slice` to whoever watches, on a Unix socket.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start(socket: &Path, slice: Slice) -> anyhow::Result<Self> {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket)?);
        let served = Arc::new(Served {
            slice: watch::Sender::new(slice),
            statuses: watch::Sender::default(),
            resealed: watch::Sender::new(Vec::new()),
            connected: watch::Sender::new(true),
        });
        let service = AgentServiceServer::from_arc(Arc::clone(&served));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            // Ends with the measurement.
            let _ended = server.serve_with_incoming(incoming).await;
        });
        Ok(Self {
            served,
            _task: task,
        })
    }

    /// Publishes the configuration changed, under the next revision.
    pub fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        self.served.publish(change);
    }

    /// What each component reported last, by its word.
    #[must_use]
    pub fn statuses(&self) -> watch::Receiver<Statuses> {
        self.served.statuses.subscribe()
    }

    /// The secrets that came to be stored anew, in their order.
    #[must_use]
    pub fn resealed(&self) -> watch::Receiver<Vec<Resealed>> {
        self.served.resealed.subscribe()
    }

    /// Whether secrets that were sealed again are taken, and stored as a control plane does.
    pub fn connect(&self, connected: bool) {
        self.served.connected.send_replace(connected);
    }
}

struct Served {
    slice: watch::Sender<Slice>,
    statuses: watch::Sender<Statuses>,
    resealed: watch::Sender<Vec<Resealed>>,
    connected: watch::Sender<bool>,
}

impl Served {
    fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        self.slice.send_modify(|slice| {
            let snapshot = slice.snapshot.get_or_insert_default();
            snapshot.revision += 1;
            change(snapshot);
        });
    }
}

#[tonic::async_trait]
impl AgentService for Served {
    type WatchStream = Held<Slice>;
    type AskStream = Held<Query>;

    async fn watch(
        &self,
        _request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let slices = WatchStream::new(self.slice.subscribe()).map(Ok);
        Ok(Response::new(Box::pin(slices)))
    }

    async fn certify(
        &self,
        _request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        Err(Status::failed_precondition("this agent has no identity"))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let mut reports = request.into_inner();
        while let Some(report) = reports.message().await? {
            if let Some(status) = report.status {
                self.statuses.send_modify(|all| {
                    all.insert(status.component.clone(), status);
                });
            }
        }
        Ok(Response::new(ReportResponse {}))
    }

    async fn ask(
        &self,
        _request: Request<Streaming<AskRequest>>,
    ) -> Result<Response<Self::AskStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }

    async fn reseal(
        &self,
        request: Request<ResealRequest>,
    ) -> Result<Response<ResealResponse>, Status> {
        if !*self.connected.borrow() {
            return Err(Status::unavailable("there is no session"));
        }
        let resealed = request.into_inner().secret.unwrap_or_default();
        self.publish(|snapshot| {
            let stored = snapshot.secrets.iter_mut();
            let mut stored = stored.filter(|stored| {
                (&stored.id, stored.version) == (&resealed.secret_id, resealed.version)
            });
            if let Some(stored) = stored.next() {
                stored.sealed.clone_from(&resealed.sealed);
                stored.version += 1;
            }
        });
        self.resealed.send_modify(|all| all.push(resealed));
        Ok(Response::new(ResealResponse {}))
    }
}

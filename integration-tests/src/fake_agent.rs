//! An agent that only serves one slice of configuration: for measuring a component by itself.

use std::path::Path;
use std::pin::Pin;

use futures::Stream;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};
use zen_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, CertifyResponse, ReportRequest, ReportResponse, ResealRequest,
    ResealResponse, Slice, WatchRequest,
};
use zen_proto::query::v1::Query;

type Held<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A running fake; gone when it is dropped.
pub struct FakeAgent {
    _task: JoinSet<()>,
}

impl FakeAgent {
    /// Serves `slice` to whoever watches, on a Unix socket.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn start(socket: &Path, slice: Slice) -> anyhow::Result<Self> {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket)?);
        let service = AgentServiceServer::new(Served(slice));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            // Ends with the measurement.
            let _ended = server.serve_with_incoming(incoming).await;
        });
        Ok(Self { _task: task })
    }
}

struct Served(Slice);

#[tonic::async_trait]
impl AgentService for Served {
    type WatchStream = Held<Slice>;
    type AskStream = Held<Query>;

    async fn watch(
        &self,
        _request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let once = tokio_stream::once(Ok(self.0.clone())).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(once)))
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
        while reports.message().await?.is_some() {}
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
        _request: Request<ResealRequest>,
    ) -> Result<Response<ResealResponse>, Status> {
        Err(Status::unimplemented("no secret is sealed again here"))
    }
}

//! An OTLP collector that keeps every span it is sent.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span with the service that sent it.
pub type Sent = (String, Span);

/// A running collector; gone when it is dropped.
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    /// All spans so far.
    pub spans: watch::Receiver<Vec<Sent>>,
    _task: JoinSet<()>,
}

impl Collector {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (kept, spans) = watch::channel(Vec::new());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let service = TraceServiceServer::new(Keeper(kept));
            let server = tonic::transport::Server::builder().add_service(service);
            // Ends with the test.
            let _ended = server
                .serve_with_incoming(TcpIncoming::from(listener))
                .await;
        });
        Ok(Self {
            address,
            spans,
            _task: task,
        })
    }
}

struct Keeper(watch::Sender<Vec<Sent>>);

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for from in request.into_inner().resource_spans {
            let service = from
                .resource
                .iter()
                .flat_map(|resource| &resource.attributes)
                .find(|attribute| attribute.key == "service.name")
                .map(|attribute| format!("{:?}", attribute.value))
                .unwrap_or_default();
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let named: Vec<Sent> = spans.map(|span| (service.clone(), span)).collect();
            self.0.send_modify(|kept| kept.extend(named));
        }
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success: None,
        }))
    }
}

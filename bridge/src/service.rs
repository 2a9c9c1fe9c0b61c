//! The relay's two calls: who is it, may it, and then a task of its own for each stream, cut off
//! when its peer loses the right to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::Clock;
use zen_chassis::tasks::Tasks;
use zen_identity::{LiveIdentity, Peer, SpiffeId};
use zen_proto::relay::v1::relay_service_server::RelayService;
use zen_proto::relay::v1::{AttachRequest, AttachResponse, PublishRequest, PublishResponse};

use crate::attach;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::publish;
use crate::served::{Served, Unwelcome};

/// Answers that wait for a peer to read them.
const ANSWERS: usize = 2;
/// How often a peer's certificate is looked at without a reason: it may have run out.
const RECHECK: Duration = Duration::from_secs(60);

/// What the streams share.
pub(crate) struct Relay {
    pub(crate) lanes: Lanes,
    pub(crate) served: watch::Receiver<Arc<Served>>,
    pub(crate) identity: LiveIdentity,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: CancellationToken,
    pub(crate) places: Arc<Semaphore>,
}

/// Somebody on a stream, with its place among those.
pub(crate) struct Guest {
    peer: Peer,
    pub(crate) id: SpiffeId,
    _place: OwnedSemaphorePermit,
}

/// The service as tonic calls it.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Arc<Relay>);

#[tonic::async_trait]
impl RelayService for Service {
    type PublishStream = ReceiverStream<Result<PublishResponse, Status>>;
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let guest = self.0.receive(&request)?;
        let publisher = self.0.judge(&guest, Served::publisher)?;
        let (answers, queue) = mpsc::channel(ANSWERS);
        let requests = request.into_inner();
        let work = publish::serve(Arc::clone(&self.0), guest, publisher, requests, answers);
        self.0.tasks.spawn_side("publish stream", work);
        Ok(Response::new(ReceiverStream::new(queue)))
    }

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let guest = self.0.receive(&request)?;
        let plane = self.0.judge(&guest, Served::attached)?;
        let (answers, queue) = mpsc::channel(ANSWERS);
        let work = attach::serve(
            Arc::clone(&self.0),
            guest,
            plane,
            request.into_inner(),
            answers,
        );
        self.0.tasks.spawn_side("attach stream", work);
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

impl Relay {
    /// Who is calling, if there is a place for one more.
    fn receive<T>(&self, request: &Request<T>) -> Result<Guest, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the connection has no peer"))?;
        let id = peer.id.clone();
        let id = id.ok_or_else(|| Status::unauthenticated("a client certificate is needed"))?;
        if self.shutdown.is_cancelled() {
            return Err(Status::unavailable("SHUTTING_DOWN: this bridge is ending"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            tracing::warn!(peer = %id, "stream refused, max_streams are open");
            Status::resource_exhausted("TOO_MANY_STREAMS: max_streams are open")
        })?;
        Ok(Guest {
            peer,
            id,
            _place: place,
        })
    }

    /// Whether the guest may do this, by certificate and configuration as they are now.
    fn judge<T>(
        &self,
        guest: &Guest,
        may: impl Fn(&Served, &SpiffeId) -> Result<T, Unwelcome>,
    ) -> Result<T, Status> {
        self.identity.check(&guest.peer).map_err(|error| {
            tracing::info!(peer = %guest.id, code = error.code(), "peer no longer trusted");
            Status::unauthenticated(format!("{}: {error}", error.code()))
        })?;
        may(&self.served.borrow(), &guest.id).map_err(|unwelcome| {
            let code = unwelcome.code();
            tracing::info!(peer = %guest.id, code, "peer not served");
            let text = format!("{code}: {unwelcome}");
            match unwelcome {
                Unwelcome::NotConfigured => Status::unavailable(text),
                _ => Status::permission_denied(text),
            }
        })
    }

    /// Judges the guest again whenever trust or configuration change; resolves with what to tell
    /// it once the judgement is another than `granted`.
    pub(crate) async fn until_unwelcome<T: PartialEq>(
        &self,
        guest: &Guest,
        granted: T,
        may: impl Fn(&Served, &SpiffeId) -> Result<T, Unwelcome>,
    ) -> Status {
        let mut trust = self.identity.changed();
        let mut served = self.served.clone();
        loop {
            let status = match self.judge(guest, &may) {
                Ok(now) if now == granted => None,
                Ok(_) => Some(Status::unavailable("CONFIGURATION_CHANGED: connect again")),
                Err(status) => Some(status),
            };
            if let Some(status) = status {
                self.metrics.cut.add(1, &[]);
                return status;
            }
            // Both senders live as long as the bridge; if not, the stream ends with it anyway.
            tokio::select! {
                changed = trust.changed() => if changed.is_err() { std::future::pending().await },
                changed = served.changed() => if changed.is_err() { std::future::pending().await },
                () = tokio::time::sleep(RECHECK) => {}
            }
        }
    }
}

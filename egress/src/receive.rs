//! Takes deliveries from the ingesters of the same plane, over a Unix socket: batch → ledger →
//! answer. Batches are taken while earlier ones are still on their way to the disk.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::CancellationToken;
use zen_chassis::chain::Chain;
use zen_proto::delivery::v1::delivery_service_server::{DeliveryService, DeliveryServiceServer};
use zen_proto::delivery::v1::{DeliverRequest, DeliverResponse};
use zen_proto::limits;

use crate::intake::Intake;
use crate::ledger::{Incoming, LedgerError};

/// Batches of one stream on their way into the ledger at once.
const PIPELINE: usize = 32;
/// The largest message taken: a batch around one largest delivery.
const MESSAGE: usize = limits::DELIVERY_MESSAGE
    + limits::DELIVERY_BATCH_BYTES
    + limits::DELIVERY_BATCH * limits::HEADER_BLOCK;
/// Flow control windows of a connection and of a stream, so that batches need not wait for one
/// another's window updates.
const WINDOW: u32 = 8 << 20;

/// Serves until `shutdown`; then answers what was taken and ends.
///
/// # Errors
/// When the socket fails.
pub(crate) async fn serve(
    listener: UnixListener,
    intake: Intake,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let desk = Desk {
        intake,
        shutdown: shutdown.clone(),
        own_uid: rustix::process::geteuid().as_raw(),
    };
    let service = DeliveryServiceServer::new(desk).max_decoding_message_size(MESSAGE);
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(service)
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            shutdown.cancelled_owned(),
        )
        .await
}

struct Desk {
    intake: Intake,
    shutdown: CancellationToken,
    own_uid: u32,
}

#[tonic::async_trait]
impl DeliveryService for Desk {
    type DeliverStream = Pin<Box<dyn Stream<Item = Result<DeliverResponse, Status>> + Send>>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        self.admit(&request)?;
        let intake = self.intake.clone();
        let answers = request
            .into_inner()
            .take_until(self.shutdown.clone().cancelled_owned())
            .map(move |batch| {
                let intake = intake.clone();
                async move { take(&intake, batch?).await }
            })
            .buffered(PIPELINE);
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Desk {
    /// Only this process's own user and root may hand deliveries over.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let peer = request
            .extensions()
            .get::<UdsConnectInfo>()
            .and_then(|info| info.peer_cred);
        match peer.map(|peer| peer.uid()) {
            Some(uid) if uid == self.own_uid || uid == 0 => Ok(()),
            Some(uid) => {
                tracing::warn!(uid, "a process of another user was refused");
                Err(Status::permission_denied(
                    "only processes of the same user may deliver",
                ))
            }
            None => Err(Status::permission_denied("the peer's user is not known")),
        }
    }
}

/// One batch, from the wire to its answer.
async fn take(intake: &Intake, batch: DeliverRequest) -> Result<DeliverResponse, Status> {
    let mut deliveries = Vec::with_capacity(batch.deliveries.len());
    let mut refused = Vec::new();
    for delivery in &batch.deliveries {
        match Incoming::from_delivery(delivery) {
            Ok(incoming) => deliveries.push(incoming),
            Err(why) => {
                tracing::error!(
                    delivery = why.delivery_id,
                    detail = why.detail,
                    "delivery refused"
                );
                refused.push(why);
            }
        }
    }
    intake.metrics.refused(refused.len());
    intake.take(deliveries).await.map_err(|error| {
        tracing::warn!(error = %Chain(&error), "deliveries not taken");
        match error {
            LedgerError::Append(_) => Status::resource_exhausted(error.to_string()),
            _ => Status::unavailable(error.to_string()),
        }
    })?;
    Ok(DeliverResponse {
        sequence: batch.sequence,
        refused,
    })
}

//! Takes deliveries from the ingesters of the same plane, over a Unix socket or in mutual
//! TLS: batch → ledger → answer. Batches are taken while earlier ones are still on their way to the disk.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::CancellationToken;
use zen_chassis::chain::Chain;
use zen_chassis::net::Listener;
use zen_identity::{AcceptOptions, ClientAuth, LiveIdentity, Peer, Usage, accept};
use zen_proto::component::Component;
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
/// Connections over TCP at once: each replica of the ingester needs one or two.
const CONNECTIONS: usize = 512;
/// Pause between pings that find out whether the other side is still there, and time to answer.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Time for open connections to end after shutdown; what was taken is answered long before.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`; then answers what was taken and ends.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(
    listener: Listener,
    identity: &LiveIdentity,
    intake: Intake,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let desk = Desk {
        intake,
        shutdown: shutdown.clone(),
        own_uid: rustix::process::geteuid().as_raw(),
        identity: identity.clone(),
    };
    let metrics = desk.intake.metrics.clone();
    let stop = shutdown.clone().cancelled_owned();
    let service = DeliveryServiceServer::new(desk).max_decoding_message_size(MESSAGE);
    let server = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG))
        .add_service(service);
    let serving = async {
        match listener {
            Listener::Unix(listener) => {
                let connections = UnixListenerStream::new(listener);
                server
                    .serve_with_incoming_shutdown(connections, stop)
                    .await?;
            }
            Listener::Tcp(listener) => {
                let ingesters = identity.neighbour(Component::Ingester);
                let tls = identity.server_config(ingesters, ClientAuth::Required)?;
                let options = AcceptOptions {
                    max_connections: CONNECTIONS,
                    on_refused: Some(Arc::new(move |code| metrics.handshake_refused(code))),
                    ..AcceptOptions::default()
                };
                let connections = accept(listener, tls, options);
                server
                    .serve_with_incoming_shutdown(connections, stop)
                    .await?;
            }
        }
        anyhow::Ok(())
    };
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        served = serving => served,
        () = late => {
            tracing::warn!("connections of ingesters were still open at the end");
            Ok(())
        }
    }
}

struct Desk {
    intake: Intake,
    shutdown: CancellationToken,
    own_uid: u32,
    identity: LiveIdentity,
}

#[tonic::async_trait]
impl DeliveryService for Desk {
    type DeliverStream = Pin<Box<dyn Stream<Item = Result<DeliverResponse, Status>> + Send>>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let peer = self.admit(&request)?;
        let intake = self.intake.clone();
        let (shutdown, identity) = (self.shutdown.clone(), self.identity.clone());
        // What was taken is answered; the ingester comes back for the rest.
        let end = async move {
            let unwelcome = async {
                match &peer {
                    Some(peer) => {
                        let ingester = identity.neighbour(Component::Ingester);
                        let why = identity.until_refused(peer, &ingester).await;
                        tracing::info!(why = %Chain(&why), "an ingester is not let in any more");
                    }
                    None => std::future::pending().await,
                }
            };
            shutdown.run_until_cancelled_owned(unwelcome).await
        };
        let answers = request
            .into_inner()
            .take_until(Box::pin(end))
            .map(move |batch| {
                let intake = intake.clone();
                async move { take(&intake, batch?).await }
            })
            .buffered(PIPELINE);
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Desk {
    /// On a socket only this process's own user and root may hand deliveries over; over TCP only
    /// an ingester of the same plane, which is the answer.
    fn admit<T>(&self, request: &Request<T>) -> Result<Option<Peer>, Status> {
        if let Some(peer) = request.extensions().get::<Peer>() {
            // The connection may be older than the end of its certificate, or than this plane.
            let ingester = self.identity.neighbour(Component::Ingester);
            let judged = self
                .identity
                .verify(&peer.chain, Usage::Client, &ingester)
                .map_err(|error| {
                    Status::unauthenticated(format!(
                        "the certificate does not hold any more: {}",
                        Chain(&error)
                    ))
                });
            return judged.map(|_id| Some(peer.clone()));
        }
        let peer = request
            .extensions()
            .get::<UdsConnectInfo>()
            .and_then(|info| info.peer_cred);
        match peer.map(|peer| peer.uid()) {
            Some(uid) if uid == self.own_uid || uid == 0 => Ok(None),
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

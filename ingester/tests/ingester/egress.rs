//! An egress that keeps what it is handed, and breaks its stream or is silent as a test wants.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};
use zen_identity::{AcceptOptions, ClientAuth, Expect, LiveIdentity, Peer, accept};
use zen_proto::component::Component;
use zen_proto::delivery::v1::delivery_service_server::{DeliveryService, DeliveryServiceServer};
use zen_proto::delivery::v1::{DeliverRequest, DeliverResponse, Delivery, Refused};

#[derive(Clone, Default)]
pub(crate) struct FakeEgress(Arc<Inner>);

#[derive(Default)]
struct Inner {
    taken: Mutex<HashMap<String, Delivery>>,
    /// How often each delivery came.
    times: Mutex<HashMap<String, usize>>,
    /// Break the stream after so many batches, this time taking the last without saying so.
    breaks: Mutex<Vec<usize>>,
    /// Refuse for good what an event's body says.
    refuse_body: Mutex<Option<Vec<u8>>>,
    count: watch::Sender<usize>,
    /// Who opened a stream over TCP, by its leaf.
    leaves: Mutex<HashSet<Vec<u8>>>,
}

impl FakeEgress {
    pub(crate) fn start(&self, socket: &Path) -> tokio::task::JoinHandle<()> {
        let _left = std::fs::remove_file(socket);
        let listener = UnixListenerStream::new(tokio::net::UnixListener::bind(socket).unwrap());
        let service = DeliveryServiceServer::new(self.clone())
            .max_decoding_message_size(zen_proto::limits::DELIVERY_MESSAGE);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(async move { server.serve_with_incoming(listener).await.unwrap() })
    }

    /// Serves over TCP as whoever this is, to anybody with a certificate of the plane.
    pub(crate) fn start_tls(
        &self,
        listener: std::net::TcpListener,
        identity: &LiveIdentity,
    ) -> tokio::task::JoinHandle<()> {
        let expect = Expect::any_component(&[Component::Ingester]);
        let tls = identity.server_config(expect, ClientAuth::Required);
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let connections = accept(listener, tls.unwrap(), AcceptOptions::default());
        let service = DeliveryServiceServer::new(self.clone())
            .max_decoding_message_size(zen_proto::limits::DELIVERY_MESSAGE);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(async move { server.serve_with_incoming(connections).await.unwrap() })
    }

    /// Different certificates that streams were opened with.
    pub(crate) fn certificates(&self) -> usize {
        self.0.leaves.lock().len()
    }

    /// The next streams break after so many batches each.
    pub(crate) fn break_after(&self, batches: &[usize]) {
        *self.0.breaks.lock() = batches.to_vec();
    }

    pub(crate) fn refuse_body(&self, body: &[u8]) {
        *self.0.refuse_body.lock() = Some(body.to_vec());
    }

    /// Waits until so many different deliveries are here.
    pub(crate) async fn has(&self, deliveries: usize) -> Vec<Delivery> {
        let mut count = self.0.count.subscribe();
        let enough = count.wait_for(|count| *count >= deliveries);
        if tokio::time::timeout(Duration::from_secs(30), enough)
            .await
            .is_err()
        {
            panic!(
                "{} of {deliveries} deliveries came",
                self.0.taken.lock().len()
            );
        }
        self.0.taken.lock().values().cloned().collect()
    }

    /// Deliveries that came more than once.
    pub(crate) fn repeated(&self) -> usize {
        self.0
            .times
            .lock()
            .values()
            .filter(|times| **times > 1)
            .count()
    }

    fn take(&self, request: DeliverRequest) -> DeliverResponse {
        let mut refused = Vec::new();
        for delivery in request.deliveries {
            let body = &delivery.event.as_ref().unwrap().body;
            if self.0.refuse_body.lock().as_deref() == Some(body.as_ref()) {
                refused.push(Refused {
                    delivery_id: delivery.delivery_id,
                    code: "DELIVERY_INVALID".to_owned(),
                    detail: String::new(),
                });
                continue;
            }
            *self
                .0
                .times
                .lock()
                .entry(delivery.delivery_id.clone())
                .or_default() += 1;
            let earlier = self
                .0
                .taken
                .lock()
                .insert(delivery.delivery_id.clone(), delivery.clone());
            assert!(
                earlier.is_none_or(|earlier| earlier == delivery),
                "an id for two deliveries"
            );
        }
        self.0.count.send_replace(self.0.taken.lock().len());
        DeliverResponse {
            sequence: request.sequence,
            refused,
        }
    }
}

#[tonic::async_trait]
impl DeliveryService for FakeEgress {
    type DeliverStream = BoxStream<'static, Result<DeliverResponse, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        if let Some(peer) = request.extensions().get::<Peer>() {
            self.0.leaves.lock().insert(peer.chain[0].to_vec());
        }
        let left = {
            let mut breaks = self.0.breaks.lock();
            if breaks.is_empty() {
                usize::MAX
            } else {
                breaks.remove(0)
            }
        };
        let state = (self.clone(), request.into_inner(), left);
        let answers = futures::stream::unfold(state, |(egress, mut requests, left)| async move {
            let request = match requests.message().await {
                Ok(Some(request)) => request,
                Ok(None) => return None,
                Err(error) => return Some((Err(error), (egress, requests, left))),
            };
            let answer = egress.take(request);
            if left <= 1 {
                let broken = Err(Status::unavailable("broken by the test"));
                return Some((broken, (egress, requests, usize::MAX)));
            }
            Some((Ok(answer), (egress, requests, left - 1)))
        });
        Ok(Response::new(answers.boxed()))
    }
}

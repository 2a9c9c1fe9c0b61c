//! A bridge over mutual TLS that keeps parcels, refuses planes and breaks its stream as a test wants.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::Clock;
use zen_identity::{AcceptOptions, ClientAuth, Expect, LiveIdentity, Peer, PrivateKey, accept};
use zen_proto::component::Component;
use zen_proto::relay::v1::relay_service_server::{RelayService, RelayServiceServer};
use zen_proto::relay::v1::{
    AttachRequest, AttachResponse, Parcel, PublishRequest, PublishResponse, RefusedParcel,
};
use zen_proto::snapshot::v1::Bridge;

use crate::agent::{Authority, now};

#[derive(Clone)]
pub(crate) struct FakeBridge(Arc<Inner>);

struct Inner {
    address: String,
    spiffe_id: String,
    parcels: Mutex<HashMap<String, Parcel>>,
    full: Mutex<HashSet<String>>,
    forbidden: Mutex<HashSet<String>>,
    refusals: watch::Sender<usize>,
    breaks: Mutex<Vec<usize>>,
    count: watch::Sender<usize>,
    peers: Mutex<HashSet<String>>,
}

impl FakeBridge {
    pub(crate) async fn start(authority: &Authority) -> Self {
        let identity = LiveIdentity::new(Clock::system().time_provider());
        identity.set_trust(authority.trust());
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("bridge").unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        let chain = authority
            .ca
            .sign_leaf(&csr, Component::Bridge, now(), day)
            .unwrap();
        identity.set_leaf(chain, &key).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bridge = Self(Arc::new(Inner {
            address: listener.local_addr().unwrap().to_string(),
            spiffe_id: identity.id().unwrap().to_string(),
            parcels: Mutex::default(),
            full: Mutex::default(),
            forbidden: Mutex::default(),
            refusals: watch::Sender::new(0),
            breaks: Mutex::default(),
            count: watch::Sender::new(0),
            peers: Mutex::default(),
        }));
        let expect = Expect::any_component(&[Component::Ingester]);
        let config = identity
            .server_config(expect, ClientAuth::Required)
            .unwrap();
        let incoming = accept(listener, config, AcceptOptions::default());
        let service = RelayServiceServer::new(bridge.clone())
            .max_decoding_message_size(zen_proto::limits::DELIVERY_MESSAGE);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        bridge
    }

    /// As a snapshot names it.
    pub(crate) fn entry(&self) -> Bridge {
        Bridge {
            address: self.0.address.clone(),
            spiffe_id: self.0.spiffe_id.clone(),
        }
    }

    pub(crate) fn break_after(&self, batches: &[usize]) {
        *self.0.breaks.lock() = batches.to_vec();
    }

    /// Refuses a plane's parcels as LANE_FULL, to be tried again.
    pub(crate) fn set_full(&self, plane: &str, full: bool) {
        let mut planes = self.0.full.lock();
        if full {
            planes.insert(plane.to_owned())
        } else {
            planes.remove(plane)
        };
    }

    /// Refuses a plane's parcels for good.
    pub(crate) fn forbid(&self, plane: &str) {
        self.0.forbidden.lock().insert(plane.to_owned());
    }

    pub(crate) async fn has_refused(&self, times: usize) {
        let mut refusals = self.0.refusals.subscribe();
        let enough = refusals.wait_for(|count| *count >= times);
        tokio::time::timeout(Duration::from_secs(30), enough)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn has(&self, parcels: usize) -> Vec<Parcel> {
        let mut count = self.0.count.subscribe();
        let enough = count.wait_for(|count| *count >= parcels);
        if tokio::time::timeout(Duration::from_secs(30), enough)
            .await
            .is_err()
        {
            panic!("{} of {parcels} parcels came", self.0.parcels.lock().len());
        }
        self.0.parcels.lock().values().cloned().collect()
    }

    pub(crate) fn peers(&self) -> Vec<String> {
        self.0.peers.lock().iter().cloned().collect()
    }

    fn take(&self, request: PublishRequest) -> PublishResponse {
        let mut refused = Vec::new();
        for parcel in request.parcels {
            let retry = self.0.full.lock().contains(&parcel.plane_id);
            if retry || self.0.forbidden.lock().contains(&parcel.plane_id) {
                let code = if retry {
                    "LANE_FULL"
                } else {
                    "TENANT_MISMATCH"
                };
                let delivery_id = parcel.delivery_id;
                refused.push(RefusedParcel {
                    delivery_id,
                    code: code.to_owned(),
                    retry,
                });
                self.0.refusals.send_modify(|count| *count += 1);
                continue;
            }
            self.0
                .parcels
                .lock()
                .insert(parcel.delivery_id.clone(), parcel);
        }
        self.0.count.send_replace(self.0.parcels.lock().len());
        PublishResponse {
            sequence: request.sequence,
            refused,
        }
    }
}

#[tonic::async_trait]
impl RelayService for FakeBridge {
    type PublishStream = BoxStream<'static, Result<PublishResponse, Status>>;
    type AttachStream = BoxStream<'static, Result<AttachResponse, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .unwrap()
            .id
            .clone()
            .unwrap();
        self.0.peers.lock().insert(peer.to_string());
        let left = {
            let mut breaks = self.0.breaks.lock();
            if breaks.is_empty() {
                usize::MAX
            } else {
                breaks.remove(0)
            }
        };
        let state = (self.clone(), request.into_inner(), left);
        let answers = futures::stream::unfold(state, |(bridge, mut requests, left)| async move {
            let request = match requests.message().await {
                Ok(Some(request)) => request,
                Ok(None) => return None,
                Err(error) => return Some((Err(error), (bridge, requests, left))),
            };
            let answer = bridge.take(request);
            if left <= 1 {
                let broken = Err(Status::unavailable("broken by the test"));
                return Some((broken, (bridge, requests, usize::MAX)));
            }
            Some((Ok(answer), (bridge, requests, left - 1)))
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn attach(
        &self,
        _request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("only ingesters here"))
    }
}

//! A bridge with behaviour: one lane, credits counted, acks noted, streams cut on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures::Stream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use zen_identity::{AcceptOptions, ClientAuth, Expect, LiveIdentity, Peer, accept};
use zen_proto::component::Component;
use zen_proto::relay::v1::relay_service_server::{RelayService, RelayServiceServer};
use zen_proto::relay::v1::{
    AttachRequest, AttachResponse, AttachWelcome, Parcel, ParcelBatch, PositionedParcel,
    PublishRequest, PublishResponse, attach_request, attach_response,
};

/// What the bridge knows at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Streams that were opened.
    pub(crate) attached: usize,
    pub(crate) acknowledged: BTreeSet<u64>,
    /// Parcels granted and sent on the newest stream.
    pub(crate) granted: u64,
    pub(crate) sent: u64,
    /// Who attached.
    pub(crate) peer: String,
    pub(crate) open: bool,
}

#[derive(Clone)]
pub(crate) struct Bridge {
    pub(crate) address: String,
    lane: Arc<Mutex<BTreeMap<u64, Parcel>>>,
    known: watch::Sender<Known>,
    /// Streams of an older generation end.
    generation: watch::Sender<u64>,
    more: watch::Sender<u64>,
}

impl Bridge {
    pub(crate) async fn serve(identity: &LiveIdentity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bridge = Self {
            address: listener.local_addr().unwrap().to_string(),
            lane: Arc::default(),
            known: watch::Sender::default(),
            generation: watch::Sender::default(),
            more: watch::Sender::default(),
        };
        let config = identity
            .server_config(
                Expect::any_component(&[Component::Egress]),
                ClientAuth::Required,
            )
            .unwrap();
        let incoming = accept(listener, config, AcceptOptions::default());
        let server = tonic::transport::Server::builder()
            .add_service(RelayServiceServer::new(bridge.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        bridge
    }

    pub(crate) fn put(&self, parcels: impl IntoIterator<Item = Parcel>) {
        let mut lane = self.lane.lock().unwrap();
        for parcel in parcels {
            let next = lane
                .last_key_value()
                .map_or(1, |(position, _)| position + 1);
            lane.insert(next, parcel);
        }
        drop(lane);
        self.more.send_modify(|more| *more += 1);
    }

    /// Ends every stream that is open.
    pub(crate) fn cut(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    pub(crate) async fn wait(&self, what: &str, wanted: impl FnMut(&Known) -> bool) -> Known {
        let mut known = self.known.subscribe();
        let reached = known.wait_for(wanted);
        match tokio::time::timeout(Duration::from_secs(30), reached).await {
            Ok(known) => known.unwrap().clone(),
            Err(_) => panic!("not in time: {what}; {:?}", self.known.borrow()),
        }
    }

    async fn talk(
        &self,
        mut up: Streaming<AttachRequest>,
        down: mpsc::Sender<Result<AttachResponse, Status>>,
    ) -> Result<(), Status> {
        let mut generation = self.generation.subscribe();
        let mut more = self.more.subscribe();
        let mut from = 0;
        loop {
            tokio::select! {
                message = up.message() => match message?.and_then(|message| message.message) {
                    Some(attach_request::Message::Hello(_)) => {
                        let welcome = attach_response::Message::Welcome(AttachWelcome::default());
                        let _sent = down.send(Ok(AttachResponse { message: Some(welcome) })).await;
                    }
                    Some(attach_request::Message::Credit(credit)) => {
                        self.known.send_modify(|known| known.granted += u64::from(credit.parcels));
                    }
                    Some(attach_request::Message::Ack(ack)) => {
                        self.known.send_modify(|known| known.acknowledged.extend(&ack.positions));
                    }
                    None => return Ok(()),
                },
                _ = more.changed() => {}
                _ = generation.changed() => return Ok(()),
            }
            if let Some(batch) = self.next(&mut from) {
                let batch = attach_response::Message::Batch(batch);
                let _sent = down
                    .send(Ok(AttachResponse {
                        message: Some(batch),
                    }))
                    .await;
                self.more.send_modify(|more| *more += 1);
            }
        }
    }

    /// What the credit allows of the lane, at most ten.
    fn next(&self, from: &mut u64) -> Option<ParcelBatch> {
        let known = self.known.borrow().clone();
        let room = usize::try_from(known.granted - known.sent).unwrap().min(10);
        let parcels: Vec<_> = self
            .lane
            .lock()
            .unwrap()
            .range(*from + 1..)
            .filter(|(position, _)| !known.acknowledged.contains(position))
            .take(room)
            .map(|(position, parcel)| PositionedParcel {
                position: *position,
                parcel: Some(parcel.clone()),
            })
            .collect();
        *from = parcels.last()?.position;
        self.known
            .send_modify(|known| known.sent += parcels.len() as u64);
        Some(ParcelBatch { parcels })
    }
}

#[tonic::async_trait]
impl RelayService for Bridge {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<PublishResponse, Status>> + Send>>;
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn publish(
        &self,
        _request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .and_then(|peer| peer.id.clone());
        self.known.send_modify(|known| {
            known.attached += 1;
            known.granted = 0;
            known.sent = 0;
            known.open = true;
            known.peer = peer.map(|id| id.to_string()).unwrap_or_default();
        });
        let (down, queue) = mpsc::channel(4);
        let this = self.clone();
        tokio::spawn(async move {
            let _ended = this.talk(request.into_inner(), down).await;
            this.known.send_modify(|known| known.open = false);
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

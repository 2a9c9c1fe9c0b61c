//! An ingester that publishes and an egress that attaches, as far as the bridge sees them.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use zen_proto::ids::DeliveryId;
use zen_proto::relay::v1::relay_service_client::RelayServiceClient;
use zen_proto::relay::v1::{
    Ack, AttachHello, AttachRequest, AttachResponse, AttachWelcome, Credit, Parcel,
    PositionedParcel, PublishRequest, PublishResponse, attach_request, attach_response,
};

use crate::world::{Plane, World};

/// What must happen, happens in this time.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it happens in time")
}

/// A parcel for the plane, good for an hour.
pub(crate) fn parcel(world: &World, plane: &Plane) -> Parcel {
    Parcel {
        version: 1,
        delivery_id: world.new_id::<DeliveryId>().to_string(),
        tenant_id: plane.tenant.to_string(),
        plane_id: plane.id.to_string(),
        expires_at_ms: world.clock.unix_ms() + 3_600_000,
        sealing: 0,
        content: b"not for the bridge".to_vec().into(),
    }
}

/// So many parcels for the plane.
pub(crate) fn parcels(world: &World, plane: &Plane, count: usize) -> Vec<Parcel> {
    (0..count).map(|_| parcel(world, plane)).collect()
}

/// A publishing stream.
pub(crate) struct Publisher {
    requests: mpsc::Sender<PublishRequest>,
    answers: Streaming<PublishResponse>,
    sequence: u64,
}

impl Publisher {
    pub(crate) async fn connect(mut client: RelayServiceClient<Channel>) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(64);
        let answers = soon(client.publish(ReceiverStream::new(queue)))
            .await?
            .into_inner();
        Ok(Self {
            requests,
            answers,
            sequence: 0,
        })
    }

    /// Sends without waiting for the answer.
    pub(crate) async fn send(&mut self, parcels: Vec<Parcel>) {
        self.sequence += 1;
        let request = PublishRequest {
            sequence: self.sequence,
            parcels,
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Result<PublishResponse, Status> {
        soon(self.answers.message())
            .await
            .map(|answer| answer.expect("the stream goes on"))
    }

    /// Publishes and gives back the codes of what was refused, with whether to try again.
    pub(crate) async fn publish(&mut self, parcels: Vec<Parcel>) -> Vec<(String, bool)> {
        self.send(parcels).await;
        let answer = self.answer().await.unwrap();
        assert_eq!(answer.sequence, self.sequence);
        answer
            .refused
            .into_iter()
            .map(|refused| (refused.code, refused.retry))
            .collect()
    }
}

/// An attached egress.
pub(crate) struct Egress {
    requests: mpsc::Sender<AttachRequest>,
    answers: Streaming<AttachResponse>,
    pub(crate) welcome: AttachWelcome,
}

impl Egress {
    pub(crate) async fn attach(mut client: RelayServiceClient<Channel>) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(64);
        let hello = attach_request::Message::Hello(AttachHello {
            instance: "0".to_owned(),
        });
        requests
            .send(AttachRequest {
                message: Some(hello),
            })
            .await
            .unwrap();
        let mut answers = soon(client.attach(ReceiverStream::new(queue)))
            .await?
            .into_inner();
        match soon(answers.message())
            .await?
            .and_then(|answer| answer.message)
        {
            Some(attach_response::Message::Welcome(welcome)) => Ok(Self {
                requests,
                answers,
                welcome,
            }),
            other => panic!("no welcome but {other:?}"),
        }
    }

    pub(crate) async fn grant(&self, parcels: u32) {
        let credit = attach_request::Message::Credit(Credit { parcels });
        self.requests
            .send(AttachRequest {
                message: Some(credit),
            })
            .await
            .unwrap();
    }

    pub(crate) async fn acknowledge(&self, parcels: &[PositionedParcel]) {
        let positions = parcels.iter().map(|parcel| parcel.position).collect();
        let ack = attach_request::Message::Ack(Ack { positions });
        self.requests
            .send(AttachRequest { message: Some(ack) })
            .await
            .unwrap();
    }

    /// The next message, which must be a batch.
    pub(crate) async fn batch(&mut self) -> Result<Vec<PositionedParcel>, Status> {
        match soon(self.answers.message())
            .await?
            .and_then(|answer| answer.message)
        {
            Some(attach_response::Message::Batch(batch)) => Ok(batch.parcels),
            other => panic!("no batch but {other:?}"),
        }
    }

    /// Exactly so many parcels, in as many batches as they come.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<PositionedParcel> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.extend(self.batch().await.unwrap());
        }
        assert_eq!(taken.len(), count);
        taken
    }
}

/// The delivery ids, in order.
pub(crate) fn ids<'a>(parcels: impl IntoIterator<Item = &'a PositionedParcel>) -> Vec<String> {
    let id = |parcel: &PositionedParcel| parcel.parcel.clone().unwrap().delivery_id;
    parcels.into_iter().map(id).collect()
}

/// The same of parcels before they were published.
pub(crate) fn ids_of(parcels: &[Parcel]) -> Vec<String> {
    parcels
        .iter()
        .map(|parcel| parcel.delivery_id.clone())
        .collect()
}

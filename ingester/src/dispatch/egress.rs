//! The road to the egress of this plane: deliveries as they are, over a Unix socket or, to a container of
//! its own, over mutual TLS.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use zen_chassis::neighbour::Way;
use zen_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use zen_proto::delivery::v1::{DeliverRequest, DeliverResponse, Delivery};

use super::carrier::{Answer, Carrier, Failure, Line, Refused, WINDOW};
use crate::plan::{Plan, Road};

const OPEN_TIME: Duration = Duration::from_secs(10);

/// Opens lines to the egress next door, if there is one.
pub(crate) struct ToEgress(pub(crate) Option<Way>);

impl Carrier for ToEgress {
    const ROAD: Road = Road::Egress;
    type Line = EgressLine;

    async fn open(&mut self, _plan: &Plan) -> Result<EgressLine, Failure> {
        let way = self.0.as_ref().ok_or(Failure::Nobody(Self::ROAD))?;
        if !way.is_open() {
            return Err(Failure::NoCertificate);
        }
        let (requests, queue) = mpsc::channel(WINDOW);
        let mut client = DeliveryServiceClient::new(way.channel());
        let call = client.deliver(ReceiverStream::new(queue));
        let answers = tokio::time::timeout(OPEN_TIME, call)
            .await
            .map_err(|_| Failure::Silent(Self::ROAD))?
            .map_err(|status| Failure::call(Self::ROAD, status))?
            .into_inner();
        Ok(EgressLine { requests, answers })
    }

    fn suits(&self, _plan: &Plan) -> bool {
        true
    }
}

/// An open stream to the egress.
pub(crate) struct EgressLine {
    requests: mpsc::Sender<DeliverRequest>,
    answers: Streaming<DeliverResponse>,
}

impl Line for EgressLine {
    fn send(&mut self, sequence: u64, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        let request = DeliverRequest {
            sequence,
            deliveries,
        };
        Failure::sent(Road::Egress, self.requests.try_send(request))
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        let answer = self.answers.message().await;
        let answer = answer.map_err(|status| Failure::call(Road::Egress, status))?;
        let DeliverResponse { sequence, refused } = answer.ok_or(Failure::Ended(Road::Egress))?;
        let refused = refused
            .into_iter()
            .map(|one| Refused {
                delivery_id: one.delivery_id,
                code: one.code,
                retry: false,
            })
            .collect();
        Ok(Answer { sequence, refused })
    }
}

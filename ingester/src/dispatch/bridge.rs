//! The road to a bridge: each delivery in a parcel that names only its route, over mutual TLS with exactly the
//! bridge that the configuration names.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use zen_identity::{DialOptions, Expect, LiveIdentity};
use zen_proto::delivery::v1::Delivery;
use zen_proto::relay::v1::relay_service_client::RelayServiceClient;
use zen_proto::relay::v1::{Parcel, PublishRequest, PublishResponse, Sealing};

use super::carrier::{Answer, Carrier, Failure, Line, Refused, WINDOW};
use crate::plan::{Bridge, Plan, Road};

const OPEN_TIME: Duration = Duration::from_secs(15);

/// Opens lines to one of the plan's bridges, the next one after each failure.
pub(crate) struct ToBridge {
    identity: LiveIdentity,
    current: Option<Bridge>,
    turn: usize,
}

impl ToBridge {
    pub(crate) const fn new(identity: LiveIdentity) -> Self {
        Self {
            identity,
            current: None,
            turn: 0,
        }
    }
}

impl Carrier for ToBridge {
    const ROAD: Road = Road::Bridge;
    type Line = BridgeLine;

    async fn open(&mut self, plan: &Plan) -> Result<BridgeLine, Failure> {
        if plan.bridges.is_empty() {
            return Err(Failure::Nobody(Self::ROAD));
        }
        if !self.identity.has_leaf() {
            return Err(Failure::NoCertificate);
        }
        let bridge = plan.bridges[self.turn % plan.bridges.len()].clone();
        self.turn = self.turn.wrapping_add(1);
        let config = self
            .identity
            .client_config(Expect::exactly(bridge.spiffe_id.clone()));
        let channel = zen_identity::channel(&bridge.address, config, DialOptions::default());
        self.current = Some(bridge);
        let (requests, queue) = mpsc::channel(WINDOW);
        let mut client = RelayServiceClient::new(channel);
        let call = client.publish(ReceiverStream::new(queue));
        let answers = tokio::time::timeout(OPEN_TIME, call)
            .await
            .map_err(|_| Failure::Silent(Self::ROAD))?
            .map_err(|status| Failure::call(Self::ROAD, status))?
            .into_inner();
        Ok(BridgeLine { requests, answers })
    }

    fn suits(&self, plan: &Plan) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| plan.bridges.contains(current))
    }
}

/// An open stream to a bridge.
pub(crate) struct BridgeLine {
    requests: mpsc::Sender<PublishRequest>,
    answers: Streaming<PublishResponse>,
}

impl Line for BridgeLine {
    fn send(&mut self, sequence: u64, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        let parcels = deliveries.iter().map(parcel).collect();
        let request = PublishRequest { sequence, parcels };
        Failure::sent(Road::Bridge, self.requests.try_send(request))
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        let answer = self.answers.message().await;
        let answer = answer.map_err(|status| Failure::call(Road::Bridge, status))?;
        let PublishResponse { sequence, refused } = answer.ok_or(Failure::Ended(Road::Bridge))?;
        let refused = refused
            .into_iter()
            .map(|one| Refused {
                delivery_id: one.delivery_id,
                code: one.code,
                retry: one.retry,
            })
            .collect();
        Ok(Answer { sequence, refused })
    }
}

fn parcel(delivery: &Delivery) -> Parcel {
    let tenant_id = delivery.event.as_ref().map(|event| event.tenant_id.clone());
    Parcel {
        version: 1,
        delivery_id: delivery.delivery_id.clone(),
        tenant_id: tenant_id.unwrap_or_default(),
        plane_id: delivery.target_plane_id.clone(),
        expires_at_ms: delivery.expires_at_ms,
        sealing: Sealing::None as i32,
        content: Bytes::from(delivery.encode_to_vec()),
    }
}

//! Answers what the control plane asks of an ingester: test events and probes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use zen_chassis::neighbour::{Question, Way};
use zen_proto::delivery::v1::DeliverRequest;
use zen_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use zen_proto::ids::EndpointId;
use zen_proto::query::v1::{Hop, Probed, Query, QueryError, TestEvent, answer, query};

use crate::intake::Intake;
use crate::plan::Road;
use crate::status::Progress;

/// Questions answered at once.
const AT_ONCE: usize = 4;
/// Time for one hop.
const ONE: Duration = Duration::from_secs(5);
/// Flows lead to other planes, and no bridge is configured that could carry them.
const BRIDGE_ABSENT: &str = "BRIDGE_ABSENT";
/// Nobody answers at the bridge's address.
const BRIDGE_UNREACHABLE: &str = "BRIDGE_UNREACHABLE";
/// The bridge's address answers, and hands nothing on.
const BRIDGE_NOT_ATTACHED: &str = "BRIDGE_NOT_ATTACHED";
/// Flows end in this plane, and no egress is configured that could deliver them.
const EGRESS_ABSENT: &str = "EGRESS_ABSENT";
/// The egress next door does not answer.
const EGRESS_UNREACHABLE: &str = "EGRESS_UNREACHABLE";

/// Whatever answers are made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) intake: Arc<Intake>,
    /// The egress next door, if there is one.
    pub(crate) egress: Option<Way>,
    /// To the egress, to the bridge.
    pub(crate) progress: [Progress; 2],
    /// Names this replica.
    pub(crate) instance: String,
}

impl Answers {
    /// Answers questions until nobody can ask any more.
    pub(crate) async fn give(self, mut questions: mpsc::Receiver<Question>) {
        let mut under_way = FuturesUnordered::<BoxFuture<'static, ()>>::new();
        loop {
            tokio::select! {
                question = questions.recv(), if under_way.len() < AT_ONCE => match question {
                    Some(question) => under_way.push(Box::pin(self.clone().take(question))),
                    None => return,
                },
                Some(()) = under_way.next() => {}
            }
        }
    }

    async fn take(self, Question { query, reply }: Question) {
        let answered = self.answer(query).await;
        // Nobody waits any more if the agent has gone.
        let _sent = reply.send(answered.unwrap_or_else(answer::Answer::Error));
    }

    async fn answer(&self, query: Query) -> Result<answer::Answer, QueryError> {
        use query::Question;
        match query.question {
            Some(Question::TestEvent(asked)) => {
                let TestEvent {
                    endpoint_id,
                    tenant_id,
                } = asked;
                let id: EndpointId = endpoint_id.parse().map_err(invalid)?;
                let accepted = self.intake.sample(id, &tenant_id).await;
                Ok(answer::Answer::TestAccepted(accepted))
            }
            Some(Question::Probe(_)) => {
                let hops = self.probe().await;
                Ok(answer::Answer::Probed(Probed { hops }))
            }
            _ => Err(invalid("the question is not one for an ingester")),
        }
    }

    /// How this ingester reaches the egress next door, and the bridges if flows lead to other
    /// planes.
    async fn probe(&self) -> Vec<Hop> {
        let from = format!("ingester/{}", self.instance);
        let hop = |to: &str| Hop {
            from: from.clone(),
            to: to.to_owned(),
            ..Hop::default()
        };
        let plan = self.intake.configuration.plan().borrow().clone();
        let uses = |road| plan.as_ref().is_some_and(|plan| !plan.is_idle(road));
        let mut hops: Vec<BoxFuture<'_, Hop>> = Vec::new();
        match &self.egress {
            Some(way) => {
                let hop = Hop {
                    address: way.address().to_string(),
                    ..hop("egress")
                };
                hops.push(Box::pin(to_egress(hop, way.channel())));
            }
            None if uses(Road::Egress) => {
                let detail = "flows end in this plane, and the setting egress is not given";
                let ended = ill(hop("egress"), EGRESS_ABSENT, detail);
                hops.push(Box::pin(std::future::ready(ended)));
            }
            None => {}
        }
        let bridges = plan.as_ref().map_or(&[][..], |plan| &plan.bridges);
        if uses(Road::Bridge) && bridges.is_empty() {
            let detail = "flows lead to other planes, and no bridge is configured";
            let ended = ill(hop("bridge"), BRIDGE_ABSENT, detail);
            hops.push(Box::pin(std::future::ready(ended)));
        }
        if uses(Road::Bridge) {
            let (failure, since_ms) = self.progress[1].failure();
            for bridge in bridges {
                let hop = Hop {
                    address: bridge.address.clone(),
                    since_ms,
                    ..hop("bridge")
                };
                hops.push(Box::pin(to_bridge(hop, failure.clone())));
            }
        }
        futures::future::join_all(hops).await
    }
}

/// A round trip on a stream like that of deliveries, with nothing in it: opened first, then
/// measured.
async fn to_egress(hop: Hop, channel: Channel) -> Hop {
    let round_trips = async {
        let (requests, queue) = mpsc::channel(1);
        let mut client = DeliveryServiceClient::new(channel);
        let empty = |sequence| DeliverRequest {
            sequence,
            deliveries: Vec::new(),
        };
        // There is room, and the receiver is here.
        let _sent = requests.send(empty(1)).await;
        let mut answers = client
            .deliver(ReceiverStream::new(queue))
            .await?
            .into_inner();
        answers.message().await?;
        let began = Instant::now();
        let _sent = requests.send(empty(2)).await;
        answers.message().await?;
        Ok::<_, tonic::Status>(began.elapsed())
    };
    match tokio::time::timeout(ONE, round_trips).await {
        Ok(Ok(took)) => well(hop, took),
        Ok(Err(status)) => ill(hop, EGRESS_UNREACHABLE, status.message()),
        Err(_) => ill(hop, EGRESS_UNREACHABLE, &no_answer()),
    }
}

/// A connection to the bridge's address, and whether the road there is open.
async fn to_bridge(hop: Hop, failure: Option<String>) -> Hop {
    let began = Instant::now();
    let connected = tokio::time::timeout(ONE, TcpStream::connect(&*hop.address)).await;
    match (connected, failure) {
        (Ok(Ok(_)), None) => well(hop, began.elapsed()),
        (Ok(Ok(_)), Some(why)) => ill(well(hop, began.elapsed()), BRIDGE_NOT_ATTACHED, &why),
        (Ok(Err(error)), _) => ill(hop, BRIDGE_UNREACHABLE, &error.to_string()),
        (Err(_), _) => ill(hop, BRIDGE_UNREACHABLE, &no_answer()),
    }
}

fn well(hop: Hop, took: Duration) -> Hop {
    let rtt_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
    Hop { rtt_us, ..hop }
}

fn ill(hop: Hop, code: &str, detail: &str) -> Hop {
    Hop {
        code: code.to_owned(),
        detail: detail.to_owned(),
        ..hop
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", ONE.as_secs())
}

fn invalid(why: impl ToString) -> QueryError {
    QueryError {
        code: "QUERY_INVALID".to_owned(),
        detail: why.to_string(),
    }
}

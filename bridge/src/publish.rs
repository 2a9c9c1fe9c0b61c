//! The way of published parcels: who publishes → each parcel's checks → its plane's lane → answer
//! when durable. Several requests of a stream are under way at once; answers keep their order.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};
use zen_chassis::chain::Chain;
use zen_proto::ids::PlaneId;
use zen_proto::relay::v1::{Parcel, PublishRequest, PublishResponse, RefusedParcel};

use crate::lane::record;
use crate::parcel::{self, Refusal};
use crate::served::{Publisher, Served};
use crate::service::{Guest, Relay};

/// Requests of one stream under way at once; beyond them it is not read.
const PIPELINE: usize = 32;
/// Bytes of one stream's parcels under way at once; beyond them it is not read.
const IN_HAND: usize = 16 << 20;
/// Time to finish what was begun when a stream ends.
const FINISH: Duration = Duration::from_secs(5);

type Answers = mpsc::Sender<Result<PublishResponse, Status>>;

/// Serves one publisher until it ends, loses its right, or the bridge stops.
pub(crate) async fn serve(
    relay: Arc<Relay>,
    guest: Guest,
    publisher: Publisher,
    mut requests: Streaming<PublishRequest>,
    answers: Answers,
) {
    tracing::debug!(peer = %guest.id, "publisher connected");
    let mut unwelcome = pin!(relay.until_unwelcome(&guest, publisher, Served::publisher));
    let mut under_way = FuturesOrdered::new();
    let mut in_hand = 0;
    let mut answer = None;
    let farewell = loop {
        tokio::select! {
            request = requests.message(), if under_way.len() < PIPELINE && in_hand < IN_HAND => {
                let Ok(Some(request)) = request else { break None };
                let bytes = request.encoded_len();
                in_hand += bytes;
                under_way.push_back(take(&relay, publisher, request).map(move |done| (done, bytes)));
            }
            Some((done, bytes)) = under_way.next(), if answer.is_none() => {
                in_hand -= bytes;
                answer = Some(done);
            }
            place = answers.reserve(), if answer.is_some() => match place {
                Ok(place) => if let Some(answer) = answer.take() { place.send(Ok(answer)) },
                Err(_gone) => break None,
            },
            status = &mut unwelcome => break Some(status),
            () = relay.shutdown.cancelled() => {
                break Some(Status::unavailable("SHUTTING_DOWN: connect again"));
            }
        }
    };
    let finish = async {
        // What was begun is stored all the same: its publisher shall know, if it still listens.
        let rest = under_way
            .map(|(done, _bytes)| done)
            .collect::<Vec<_>>()
            .await;
        for answer in answer.into_iter().chain(rest) {
            answers.send(Ok(answer)).await?;
        }
        if let Some(status) = farewell {
            answers.send(Err(status)).await?;
        }
        Ok::<_, mpsc::error::SendError<_>>(())
    };
    // Unanswered parcels are published again; the egress knows them by their id.
    let _heard = tokio::time::timeout(FINISH, finish).await;
    tracing::debug!(peer = %guest.id, "publisher gone");
}

/// Takes one request in; the answer is made when every parcel is durable or refused.
async fn take(relay: &Relay, publisher: Publisher, request: PublishRequest) -> PublishResponse {
    let began = Instant::now();
    let served = Arc::clone(&relay.served.borrow());
    let sorted = sort(request.parcels, publisher, &served, relay.clock.unix_ms());
    let mut refused = sorted.refused;
    let stored = sorted
        .by_lane
        .into_iter()
        .map(|(plane, group)| store(relay, plane, group));
    refused.extend(join_all(stored).await.into_iter().flatten());
    for refusal in Refusal::ALL {
        let count = refused.iter().filter(|(_, why)| *why == refusal).count();
        if count > 0 {
            relay.metrics.refused(refusal, count as u64);
        }
    }
    relay
        .metrics
        .publish_duration
        .record(began.elapsed().as_secs_f64(), &[]);
    let refused = refused.into_iter().map(|(delivery_id, why)| RefusedParcel {
        delivery_id,
        code: why.code().to_owned(),
        retry: why.retry(),
    });
    PublishResponse {
        sequence: request.sequence,
        refused: refused.collect(),
    }
}

/// A request's parcels after the checks.
#[derive(Default)]
struct Sorted {
    by_lane: HashMap<PlaneId, Group>,
    refused: Vec<(String, Refusal)>,
}

/// Parcels for one lane, as they will be stored, with their delivery ids.
#[derive(Default)]
struct Group {
    records: Vec<Bytes>,
    ids: Vec<String>,
}

fn sort(parcels: Vec<Parcel>, publisher: Publisher, served: &Served, now_ms: u64) -> Sorted {
    let mut sorted = Sorted::default();
    for parcel in parcels {
        match parcel::check(&parcel, publisher, served, now_ms) {
            Ok(plane) => {
                let group = sorted.by_lane.entry(plane).or_default();
                group.records.push(record::encode(&parcel, now_ms));
                group.ids.push(parcel.delivery_id);
            }
            Err(refusal) => sorted.refused.push((parcel.delivery_id, refusal)),
        }
    }
    sorted
}

/// Stores one lane's parcels; answers those that were not, to be tried again.
async fn store(relay: &Relay, plane: PlaneId, group: Group) -> Vec<(String, Refusal)> {
    let Group { records, ids } = group;
    let stored = match relay.lanes.get(plane).await {
        Ok(lane) => lane
            .append(records)
            .await
            .map_err(|error| Chain(&error).to_string()),
        Err(error) => Err(Chain(&error).to_string()),
    };
    match stored {
        Ok(()) => {
            relay.metrics.published.add(ids.len() as u64, &[]);
            Vec::new()
        }
        Err(error) => {
            tracing::debug!(%plane, parcels = ids.len(), error, "parcels refused");
            ids.into_iter().map(|id| (id, Refusal::LaneFull)).collect()
        }
    }
}

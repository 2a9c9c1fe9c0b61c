//! The way of an attached egress: hello → welcome → parcels as far as it granted credit, its
//! acknowledgements in between. When the stream ends, for whatever reason, what it has not
//! acknowledged goes back to the lane.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use zen_chassis::chain::Chain;
use zen_proto::ids::PlaneId;
use zen_proto::relay::v1::{
    AttachHello, AttachRequest, AttachResponse, AttachWelcome, ParcelBatch, attach_request,
    attach_response,
};

use crate::lane::{Attached, Attachment, Inlet};
use crate::served::Served;
use crate::service::{Guest, Relay};

/// Time for the first message.
const HELLO: Duration = Duration::from_secs(10);
/// Time to hear why the stream ends.
const FAREWELL: Duration = Duration::from_secs(1);

type Answers = mpsc::Sender<Result<AttachResponse, Status>>;

/// Serves one attachment until it ends, loses its right, or the bridge stops.
pub(crate) async fn serve(
    relay: Arc<Relay>,
    guest: Guest,
    plane: PlaneId,
    mut requests: Streaming<AttachRequest>,
    answers: Answers,
) {
    let ended = async {
        let hello = hello(&mut requests).await?;
        let lane = relay
            .lanes
            .get(plane)
            .await
            .map_err(|error| unavailable(&error))?;
        let attached = lane.attach().await.map_err(|error| unavailable(&error))?;
        tracing::info!(%plane, instance = hello.instance, backlog = attached.backlog, "egress attached");
        let Attached {
            attachment,
            resume,
            backlog,
        } = attached;
        let welcome = AttachWelcome {
            resume_position: resume.0,
            backlog,
        };
        let inlet = attachment.inlet();
        tokio::select! {
            status = send(attachment, welcome, &answers) => Err(status),
            outcome = listen(&mut requests, &inlet) => outcome,
        }
    };
    let outcome = tokio::select! {
        outcome = ended => outcome,
        status = relay.until_unwelcome(&guest, plane, Served::attached) => Err(status),
        () = relay.shutdown.cancelled() => {
            Err(Status::unavailable("SHUTTING_DOWN: connect again"))
        }
    };
    let reason = outcome
        .as_ref()
        .err()
        .map(Status::message)
        .unwrap_or_default();
    tracing::info!(%plane, peer = %guest.id, reason, "egress detached");
    if let Err(status) = outcome {
        // It may be gone, which is why it ended.
        let _heard = tokio::time::timeout(FAREWELL, answers.send(Err(status))).await;
    }
}

/// The first message must be a hello.
async fn hello(requests: &mut Streaming<AttachRequest>) -> Result<AttachHello, Status> {
    let first = tokio::time::timeout(HELLO, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
    match first.and_then(|request| request.message) {
        Some(attach_request::Message::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument(
            "the first message must be a hello",
        )),
    }
}

/// Welcomes, then hands on every batch the lane gives, as fast as the egress reads.
async fn send(mut attachment: Attachment, welcome: AttachWelcome, answers: &Answers) -> Status {
    let mut message = attach_response::Message::Welcome(welcome);
    loop {
        let answer = AttachResponse {
            message: Some(message),
        };
        if answers.send(Ok(answer)).await.is_err() {
            return Status::cancelled("the egress is gone");
        }
        match attachment.next().await {
            Some(parcels) => message = attach_response::Message::Batch(ParcelBatch { parcels }),
            None => return Status::unavailable("LANE_CLOSING: connect again"),
        }
    }
}

/// Brings credits and acknowledgements to the lane.
async fn listen(requests: &mut Streaming<AttachRequest>, inlet: &Inlet) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        let open = match request.message {
            Some(attach_request::Message::Credit(credit)) => inlet.grant(credit.parcels).await,
            Some(attach_request::Message::Ack(ack)) => inlet.acknowledge(ack.positions).await,
            Some(attach_request::Message::Hello(_)) => {
                return Err(Status::invalid_argument("hello was said before"));
            }
            // A later version says what this one does not know.
            None => Some(()),
        };
        if open.is_none() {
            return Err(Status::unavailable("LANE_CLOSING: connect again"));
        }
    }
    Ok(())
}

fn unavailable(error: &crate::lane::LaneError) -> Status {
    Status::unavailable(format!("{}: {}", error.code(), Chain(error)))
}

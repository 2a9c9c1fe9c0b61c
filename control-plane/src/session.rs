//! Sessions of agents: who may open one, and the task that each becomes.

mod chunks;
mod notes;
mod talk;

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use zen_identity::{Peer, SpiffeId, public_key_sha256};
use zen_proto::component::Component;
use zen_proto::ids::PlaneId;
use zen_proto::session::v1::session_service_server::SessionService;
use zen_proto::session::v1::{AgentMessage, ControlMessage, Retired, control_message};

use crate::control::Control;
use crate::enrollment::unavailable;
use crate::plane::Plane;

/// Messages to one agent that wait at the most.
const OUTBOUND: usize = 8;

/// Messages on their way to one agent. In boxes: a queue takes memory for more than it holds, and
/// there are thousands of them.
type Outbound = mpsc::Sender<Box<ControlMessage>>;
/// What one agent is sent.
type Down = Pin<Box<dyn Stream<Item = Result<ControlMessage, Status>> + Send>>;

fn stream(outbound: mpsc::Receiver<Box<ControlMessage>>) -> Down {
    Box::pin(ReceiverStream::new(outbound).map(|message| Ok(*message)))
}

/// Opens sessions.
pub(crate) struct Sessions {
    control: Arc<Control>,
}

/// Who may have what.
enum Admission {
    /// A session.
    Plane(Box<Plane>),
    /// The word that it is retired.
    Retired,
}

impl Sessions {
    /// A session service over these parts.
    pub(crate) const fn new(control: Arc<Control>) -> Self {
        Self { control }
    }

    /// Admits the agent of a known plane that shows a current key of it.
    async fn admit(&self, peer: &Peer) -> Result<Admission, Status> {
        let Some(SpiffeId::Component {
            tenant,
            plane,
            component: Component::Agent,
            ..
        }) = &peer.id
        else {
            return Err(Status::unauthenticated(
                "a session is opened with an agent's certificate",
            ));
        };
        let found = self
            .control
            .store
            .any_plane(*plane)
            .await
            .map_err(unavailable)?;
        let Some(found) = found.filter(|found| found.tenant == *tenant) else {
            return Err(Status::permission_denied(
                "PLANE_MISMATCH: there is no such plane",
            ));
        };
        if found.is_retired() {
            return Ok(Admission::Retired);
        }
        // The leaf was issued by the plane's own CA; whose key that is, stands in the second one.
        let key = peer
            .chain
            .get(1)
            .map(public_key_sha256)
            .and_then(Result::ok);
        let key = key.ok_or_else(|| Status::unauthenticated("the plane's CA was not shown"))?;
        let current = self
            .control
            .store
            .is_current_key(*plane, &key)
            .await
            .map_err(unavailable)?;
        if !current {
            // Retiring a plane takes its keys too, maybe since it was looked at above.
            if self.is_retired(*plane).await? {
                return Ok(Admission::Retired);
            }
            tracing::warn!(%plane, address = %peer.address, "session with a key that is not current");
            return Err(Status::permission_denied(
                "BUNDLE_ALREADY_USED: the plane was enrolled anew with another key",
            ));
        }
        Ok(Admission::Plane(Box::new(found)))
    }

    async fn is_retired(&self, plane: PlaneId) -> Result<bool, Status> {
        let found = self.control.store.any_plane(plane).await;
        Ok(found
            .map_err(unavailable)?
            .is_some_and(|plane| plane.is_retired()))
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    type OpenStream = Down;

    async fn open(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("no peer"))?;
        let (out, outbound) = mpsc::channel(OUTBOUND);
        let admission = self.admit(&peer).await?;
        match admission {
            Admission::Retired => {
                let reason = "the plane was retired".to_owned();
                let message = control_message::Message::Retired(Retired { reason });
                // The queue is fresh and has room.
                let _sent = out.try_send(Box::new(ControlMessage {
                    message: Some(message),
                }));
            }
            Admission::Plane(plane) => {
                let talk = talk::Talk::new(Arc::clone(&self.control), *plane, peer, out);
                let inbound = request.into_inner();
                self.control
                    .stage
                    .tasks
                    .spawn_side("session", talk.run(inbound));
            }
        }
        Ok(Response::new(stream(outbound)))
    }
}

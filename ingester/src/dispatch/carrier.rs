//! What the two roads have in common towards the other side: a line is opened, batches go out on it in the order of
//! their sequence, answers come back.

use std::fmt::Display;

use tokio::sync::mpsc;
use zen_identity::DialFailure;
use zen_proto::delivery::v1::Delivery;

use crate::plan::{Plan, Road};

/// Batches under way at the most.
pub(crate) const WINDOW: usize = 16;

/// Opens lines to the other side of a road.
pub(crate) trait Carrier: Send + 'static {
    /// Which road it is.
    const ROAD: Road;
    /// An open line.
    type Line: Line;

    /// Opens a line, or says why that is not possible now.
    fn open(&mut self, plan: &Plan) -> impl Future<Output = Result<Self::Line, Failure>> + Send;

    /// Whether the line last opened still leads where the plan wants to go.
    fn suits(&self, plan: &Plan) -> bool;
}

/// A line to the other side.
pub(crate) trait Line: Send {
    /// Sends a batch; never waits, since no more than [`WINDOW`] are under way.
    fn send(&mut self, sequence: u64, deliveries: Vec<Delivery>) -> Result<(), Failure>;

    /// The next answer. Cancelling loses nothing.
    fn answer(&mut self) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// The other side has made the batch of this sequence durable, but for what it refused.
pub(crate) struct Answer {
    pub(crate) sequence: u64,
    pub(crate) refused: Vec<Refused>,
}

/// One delivery of a batch that the other side does not take.
pub(crate) struct Refused {
    pub(crate) delivery_id: String,
    /// Stable code.
    pub(crate) code: String,
    /// It may take it later.
    pub(crate) retry: bool,
}

/// Why a line broke or was not had. Everything not acknowledged is sent again on the next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The settings name nobody.
    #[error("no {0} is configured")]
    Nobody(Road),
    /// The agent has not certified this ingester yet.
    #[error("this ingester has no certificate yet")]
    NoCertificate,
    /// The call failed, while it was made or later.
    #[error("the {road} does not answer ({why:?})")]
    Call {
        /// On which road.
        road: Road,
        /// What a person can act on.
        why: DialFailure,
        /// What gRPC says.
        #[source]
        source: Box<tonic::Status>,
    },
    /// The other side ended the stream.
    #[error("the {0} ended the stream")]
    Ended(Road),
    /// The other side does not acknowledge.
    #[error("the {0} acknowledged nothing for too long")]
    Silent(Road),
    /// The other side acknowledged a sequence that is not under way.
    #[error("the {road} acknowledged batch {sequence}, which is not under way")]
    Confused {
        /// On which road.
        road: Road,
        /// The sequence it named.
        sequence: u64,
    },
    /// The plan leads elsewhere now.
    #[error("the configuration names another {0}")]
    Moved(Road),
}

impl Display for Road {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Failure {
    /// A failed call.
    pub(crate) fn call(road: Road, status: tonic::Status) -> Self {
        let why = zen_identity::dial_failure(&status);
        Self::Call {
            road,
            why,
            source: Box::new(status),
        }
    }

    /// What became of putting a request on its stream.
    pub(crate) fn sent<T>(
        road: Road,
        outcome: Result<(), mpsc::error::TrySendError<T>>,
    ) -> Result<(), Self> {
        outcome.map_err(|_| Self::Ended(road))
    }
}

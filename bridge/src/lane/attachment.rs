//! What the stream of one attached egress holds of its lane.

use tokio::sync::mpsc;
use zen_journal::Position;
use zen_proto::relay::v1::PositionedParcel;

use super::book::AttachmentId;
use super::keeper::Command;

/// Parcels handed to one attachment, in the order of the log.
pub(crate) type Batch = Vec<PositionedParcel>;

/// A fresh attachment, with what its egress is told first.
pub(crate) struct Attached {
    pub(crate) attachment: Attachment,
    /// Everything before this is settled.
    pub(crate) resume: Position,
    /// Parcels in the lane.
    pub(crate) backlog: u64,
}

/// One attachment; dropping it detaches.
pub(crate) struct Attachment {
    inlet: Inlet,
    batches: mpsc::Receiver<Batch>,
}

impl Attachment {
    pub(super) const fn new(
        id: AttachmentId,
        commands: mpsc::Sender<Command>,
        batches: mpsc::Receiver<Batch>,
    ) -> Self {
        Self {
            inlet: Inlet { id, commands },
            batches,
        }
    }

    /// The way for what the egress says.
    pub(crate) fn inlet(&self) -> Inlet {
        self.inlet.clone()
    }

    /// The next parcels; waits until there are some and the egress has granted credit. Nothing once
    /// the lane ends. Not to be called again after it was cancelled.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        self.inlet.send(Command::Ask(self.inlet.id)).await?;
        self.batches.recv().await
    }
}

/// Brings an egress's credits and acknowledgements to the lane.
#[derive(Clone)]
pub(crate) struct Inlet {
    id: AttachmentId,
    commands: mpsc::Sender<Command>,
}

impl Inlet {
    /// It can take more; nothing once the lane ends.
    pub(crate) async fn grant(&self, parcels: u32) -> Option<()> {
        self.send(Command::Grant(self.id, parcels)).await
    }

    /// It has these; nothing once the lane ends.
    pub(crate) async fn acknowledge(&self, positions: Vec<u64>) -> Option<()> {
        self.send(Command::Acknowledge(positions)).await
    }

    async fn send(&self, command: Command) -> Option<()> {
        self.commands.send(command).await.ok()
    }
}

//! What an answer of 2xx says.

use zen_proto::ids::EventId;

/// The event is on the disk: now, or since an earlier webhook of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(super) event_id: EventId,
    pub(super) repeated: bool,
}

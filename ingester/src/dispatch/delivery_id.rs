//! The id of a delivery follows from event and flow: a repeated dispatch gives the same one.

use aws_lc_rs::digest::{self, SHA256};
use uuid::Builder;
use zen_proto::ids::{DeliveryId, EventId};

/// A UUID version 8: the event's 48 bits of time, so that ids sort by it, the rest from SHA-256 over both ids.
pub(crate) fn derive(event: EventId, flow_id: &str) -> DeliveryId {
    let mut hash = digest::Context::new(&SHA256);
    hash.update(event.uuid().as_bytes());
    hash.update(b"\n");
    hash.update(flow_id.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finish().as_ref()[..16]);
    bytes[..6].copy_from_slice(&event.uuid().as_bytes()[..6]);
    DeliveryId::from(Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id;

    use super::*;

    #[test]
    fn the_id_follows_from_event_and_flow_and_keeps_the_events_time() {
        let event = EventId::generate(1_700_000_000_000, [7; 10]);
        let id = derive(event, "flw_a");
        assert_eq!(id, derive(event, "flw_a"));
        assert_ne!(id, derive(event, "flw_b"));
        assert_ne!(
            id,
            derive(EventId::generate(1_700_000_000_000, [8; 10]), "flw_a")
        );
        assert_eq!(id.uuid().as_bytes()[..6], event.uuid().as_bytes()[..6]);
        assert_eq!(id.uuid().get_version_num(), 8);
    }
}

//! From records of the journal to loads: what goes out in one batch, and how far the road has come once it is
//! settled. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use prost::Message;
use zen_chassis::clock::millis;
use zen_journal::{Position, Record};
use zen_proto::delivery::v1::{Delivery, Event};
use zen_proto::ids::{DeliveryId, EventId};
use zen_proto::limits;

use super::delivery_id;
use super::parked::Parked;
use crate::plan::{Flow, Plan, Road};
use crate::store::Envelope;

/// One delivery on its way, as long as it is not settled.
#[derive(Clone)]
pub(crate) struct Carried {
    pub(crate) id: DeliveryId,
    pub(crate) flow: Arc<Flow>,
    /// Where its event stands in the journal.
    pub(crate) position: Position,
    /// Unix milliseconds.
    pub(crate) accepted_at_ms: u64,
}

/// What goes out together; possibly nothing, only the way it stands for.
pub(crate) struct Load {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) carried: Vec<Carried>,
    bytes: usize,
    /// Everything before is settled once this load and those before it are.
    pub(crate) upto: Position,
}

/// What is known of a record once it is planned.
#[derive(Default)]
pub(crate) struct Planned {
    /// Records that hold no event of this version.
    pub(crate) unreadable: u64,
    /// Deliveries nobody needs any more.
    pub(crate) expired: u64,
}

impl Load {
    pub(crate) const fn new(upto: Position) -> Self {
        Self {
            deliveries: Vec::new(),
            carried: Vec::new(),
            bytes: 0,
            upto,
        }
    }

    /// Whether a delivery of so many bytes goes in; the first always does.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        let small = self.deliveries.len() < limits::DELIVERY_BATCH
            && self.bytes + bytes <= limits::DELIVERY_BATCH_BYTES;
        small || self.deliveries.is_empty()
    }

    /// Puts in a delivery of so many bytes.
    pub(crate) fn put(&mut self, carried: Carried, delivery: Delivery, bytes: usize) {
        self.bytes += bytes;
        self.carried.push(carried);
        self.deliveries.push(delivery);
    }
}

/// Plans a batch of records for a road. Deliveries for a plane that takes nothing at the moment are parked.
pub(crate) fn plan_records(
    records: Vec<Record>,
    road: Road,
    plan: &Plan,
    now_ms: u64,
    parked: &mut Parked,
    loads: &mut VecDeque<Load>,
) -> Planned {
    let mut planned = Planned::default();
    let Some(first) = records.first() else {
        return planned;
    };
    let mut load = Load::new(first.position);
    for record in records {
        for (carried, delivery) in deliveries(&record, road, plan, now_ms, &mut planned) {
            if parked.holds(&carried.flow.target_plane_id) {
                parked.park(carried);
                continue;
            }
            let bytes = delivery.encoded_len();
            if !load.fits(bytes) {
                load.upto = record.position;
                loads.push_back(std::mem::replace(&mut load, Load::new(record.position)));
            }
            load.put(carried, delivery, bytes);
        }
        load.upto = record.next;
    }
    loads.push_back(load);
    planned
}

/// The deliveries of one record on a road.
fn deliveries(
    record: &Record,
    road: Road,
    plan: &Plan,
    now_ms: u64,
    planned: &mut Planned,
) -> Vec<(Carried, Delivery)> {
    let Ok(envelope) = Envelope::decode(record.payload.clone()) else {
        planned.unreadable += 1;
        return Vec::new();
    };
    let flows = plan.flows(road, &envelope.endpoint_id);
    if flows.is_empty() {
        return Vec::new();
    }
    if is_expired(envelope.accepted_at_ms, now_ms) {
        planned.expired += flows.len() as u64;
        flows.iter().for_each(|flow| flow.counters.expired.add(1));
        return Vec::new();
    }
    let event = Event::decode(record.payload.clone()).ok();
    let Some((event, id)) = event.and_then(|e| e.event_id.parse().ok().map(|id| (e, id))) else {
        planned.unreadable += 1;
        return Vec::new();
    };
    let each = flows
        .iter()
        .map(|flow| deliver(&event, id, flow, record.position));
    each.collect()
}

/// Whether an event accepted then is of no use to anybody any more.
pub(crate) fn is_expired(accepted_at_ms: u64, now_ms: u64) -> bool {
    expires_at_ms(accepted_at_ms) <= now_ms
}

const fn expires_at_ms(accepted_at_ms: u64) -> u64 {
    accepted_at_ms.saturating_add(limits::DELIVERY_RETENTION.as_secs() * 1000)
}

/// The delivery of an event for a flow.
pub(crate) fn deliver(
    event: &Event,
    event_id: EventId,
    flow: &Arc<Flow>,
    position: Position,
) -> (Carried, Delivery) {
    debug_assert_eq!(millis(limits::DELIVERY_RETENTION) % 1000, 0);
    let id = delivery_id::derive(event_id, &flow.id);
    let delivery = Delivery {
        version: 1,
        delivery_id: id.to_string(),
        flow_id: flow.id.clone(),
        target_id: flow.target_id.clone(),
        target_plane_id: flow.target_plane_id.clone(),
        expires_at_ms: expires_at_ms(event.accepted_at_ms),
        event: Some(event.clone()),
    };
    let flow = Arc::clone(flow);
    (
        Carried {
            id,
            flow,
            position,
            accepted_at_ms: event.accepted_at_ms,
        },
        delivery,
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use zen_proto::ids::{EndpointId, FlowId, Id};
    use zen_proto::snapshot::v1::{Flow as FlowEntry, Snapshot};

    use super::*;
    use crate::counters::Counters;

    pub(crate) const NOW: u64 = 1_700_000_000_000;

    pub(crate) fn endpoint() -> String {
        EndpointId::generate(NOW, [1; 10]).to_string()
    }

    /// A plan with so many flows from one endpoint to targets in planes `p0`, `p1`, …
    pub(crate) fn plan(flows: u8) -> Plan {
        let flow = |n: u8| FlowEntry {
            id: FlowId::generate(NOW, [n; 10]).to_string(),
            endpoint_id: endpoint(),
            endpoint_plane_id: "here".to_owned(),
            target_plane_id: format!("p{n}"),
            enabled: true,
            ..FlowEntry::default()
        };
        let snapshot = Snapshot {
            plane_id: "here".to_owned(),
            flows: (0..flows).map(flow).collect(),
            ..Snapshot::default()
        };
        Plan::new(&snapshot, &Counters::default()).0
    }

    pub(crate) fn record(n: u64, body: usize, accepted_at_ms: u64) -> Record {
        let event = Event {
            version: 1,
            event_id: EventId::generate(accepted_at_ms, [n as u8; 10]).to_string(),
            endpoint_id: endpoint(),
            accepted_at_ms,
            body: vec![7; body].into(),
            ..Event::default()
        };
        Record {
            position: Position(n * 10),
            next: Position((n + 1) * 10),
            payload: event.encode_to_vec().into(),
        }
    }

    fn planned(records: Vec<Record>, plan: &Plan, parked: &mut Parked) -> (Planned, Vec<Load>) {
        let mut loads = VecDeque::new();
        let planned = plan_records(records, Road::Bridge, plan, NOW, parked, &mut loads);
        (planned, loads.into())
    }

    #[test]
    fn every_event_becomes_one_delivery_a_flow() {
        let (_, loads) = planned(
            (0..3).map(|n| record(n, 10, NOW)).collect(),
            &plan(2),
            &mut Parked::default(),
        );
        assert_eq!(loads.len(), 1);
        assert_eq!(loads[0].deliveries.len(), 6);
        assert_eq!(loads[0].upto, Position(30));
        let expires = NOW + millis(limits::DELIVERY_RETENTION);
        assert!(
            loads[0]
                .deliveries
                .iter()
                .all(|d| d.expires_at_ms == expires)
        );
    }

    #[test]
    fn a_load_is_bounded_in_number_and_bytes_and_split_events_are_not_passed() {
        let records: Vec<_> = (0..200).map(|n| record(n, 10, NOW)).collect();
        let (_, loads) = planned(records, &plan(3), &mut Parked::default());
        assert!(
            loads
                .iter()
                .all(|load| load.deliveries.len() <= limits::DELIVERY_BATCH)
        );
        assert_eq!(
            loads
                .iter()
                .map(|load| load.deliveries.len())
                .sum::<usize>(),
            600
        );
        // 256 deliveries are 85 events and one of the three of the next.
        assert_eq!(loads[0].upto, Position(850));
        assert_eq!(loads.last().unwrap().upto, Position(2_000));

        let large = limits::DELIVERY_BATCH_BYTES * 2;
        let records = vec![
            record(0, large, NOW),
            record(1, 10, NOW),
            record(2, 10, NOW),
        ];
        let (_, loads) = planned(records, &plan(1), &mut Parked::default());
        let sizes: Vec<_> = loads.iter().map(|load| load.deliveries.len()).collect();
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn what_is_too_old_or_unreadable_is_counted_and_passed() {
        let old = NOW - millis(limits::DELIVERY_RETENTION);
        let mut broken = record(1, 10, NOW);
        broken.payload = Bytes::from_static(&[0xff; 9]);
        let plan = plan(2);
        let (counts, loads) = planned(
            vec![record(0, 10, old), broken],
            &plan,
            &mut Parked::default(),
        );
        assert_eq!((counts.expired, counts.unreadable), (2, 1));
        assert_eq!(
            plan.flows(Road::Bridge, &endpoint())[0]
                .counters
                .expired
                .get(),
            1
        );
        assert!(loads[0].deliveries.is_empty());
        assert_eq!(loads[0].upto, Position(20));
    }
}

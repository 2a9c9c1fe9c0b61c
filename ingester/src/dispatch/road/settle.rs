//! What becomes of a batch: dispatched, parked to be asked for again, or given up.

use std::collections::HashMap;

use prost::Message;
use tokio::time::Instant;
use zen_chassis::chain::Chain;
use zen_journal::ReadError;
use zen_proto::delivery::v1::{Delivery, Event};
use zen_proto::ids::DeliveryId;
use zen_proto::limits;

use super::super::carrier::{Answer, Carrier, Failure, Line, Refused};
use super::super::load::{Carried, Load, deliver, is_expired};
use super::Traveller;
use crate::plan::Plan;

impl<C: Carrier> Traveller<C> {
    /// Sends the parked deliveries of one plane again that is due.
    pub(super) async fn ask_again(&mut self, line: &mut C::Line) -> Result<(), Failure> {
        let Some(plan) = self.plan() else {
            return Ok(());
        };
        let now = Instant::now();
        let now_ms = self.context.clock.unix_ms();
        let mut load = Load::new(self.window.passed());
        for carried in self.parked.take_due(now, limits::DELIVERY_BATCH) {
            if is_expired(carried.accepted_at_ms, now_ms) {
                carried.flow.counters.expired.add(1);
                self.context.metrics.dropped(C::ROAD, "expired", 1);
                self.parked.settled(&carried, now);
                continue;
            }
            match self.again(&plan, &carried).await {
                Ok(Some(delivery)) => {
                    let bytes = delivery.encoded_len();
                    if !load.fits(bytes) {
                        break;
                    }
                    load.put(carried, delivery, bytes);
                }
                // Its flow is no longer configured.
                Ok(None) => self.parked.settled(&carried, now),
                Err(error) => {
                    tracing::error!(code = error.code(), error = %Chain(&error), "parked delivery lost");
                    self.context.metrics.dropped(C::ROAD, "lost", 1);
                    self.parked.settled(&carried, now);
                }
            }
        }
        if load.deliveries.is_empty() {
            self.parked.reset(now);
            self.show();
            return Ok(());
        }
        self.context.metrics.retry(C::ROAD);
        let sequence = self.window.push(load.carried, None);
        line.send(sequence, load.deliveries)
    }

    /// Makes a parked delivery again from its event.
    async fn again(&self, plan: &Plan, carried: &Carried) -> Result<Option<Delivery>, ReadError> {
        let payload = self.context.journal.read(carried.position).await?;
        let Ok(event) = Event::decode(payload) else {
            return Ok(None);
        };
        let Ok(event_id) = event.event_id.parse() else {
            return Ok(None);
        };
        let mut flows = plan.flows(C::ROAD, &event.endpoint_id).iter();
        let flow = flows.find(|flow| flow.id == carried.flow.id);
        Ok(flow.map(|flow| deliver(&event, event_id, flow, carried.position).1))
    }

    /// Takes an acknowledgement: what was in the batch is dispatched, parked or given up.
    pub(super) fn settle(&mut self, answer: Answer) -> Result<(), Failure> {
        let Answer { sequence, refused } = answer;
        let carried = self.window.settle(sequence).ok_or(Failure::Confused {
            road: C::ROAD,
            sequence,
        })?;
        self.proven = true;
        let now = Instant::now();
        let mut refused: HashMap<DeliveryId, Refused> = refused
            .into_iter()
            .filter_map(|one| Some((one.delivery_id.parse().ok()?, one)))
            .collect();
        let mut dispatched = 0;
        let mut given_up: HashMap<String, u64> = HashMap::new();
        let mut full: Vec<String> = Vec::new();
        for one in carried {
            match refused.remove(&one.id) {
                None => {
                    one.flow.counters.dispatched.add(1);
                    dispatched += 1;
                    self.parked.settled(&one, now);
                }
                Some(Refused { retry: true, .. }) => {
                    if !full.contains(&one.flow.target_plane_id) {
                        full.push(one.flow.target_plane_id.clone());
                    }
                    self.parked.park(one);
                }
                Some(Refused { code, .. }) => {
                    one.flow.counters.refused.add(1);
                    *given_up.entry(code).or_default() += 1;
                    self.parked.settled(&one, now);
                }
            }
        }
        for plane in full {
            self.context.metrics.retry(C::ROAD);
            self.parked
                .pause(&plane, now, self.context.random.fraction());
        }
        for (code, deliveries) in given_up {
            tracing::error!(road = %C::ROAD, code, deliveries, "deliveries refused and given up");
            self.context.metrics.dropped(C::ROAD, "refused", deliveries);
        }
        self.context.metrics.dispatched(C::ROAD, dispatched);
        self.show();
        Ok(())
    }
}

//! Deliveries that the other side will not take yet, by plane: a plane whose lane is full, or that the bridge does not
//! know yet, is asked again after a pause and holds up no other. Only where an event stands is kept, not the
//! event. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use zen_chassis::backoff::Backoff;
use zen_journal::Position;
use zen_proto::ids::DeliveryId;

use super::load::Carried;

/// Deliveries parked at the most; then the road stands still until there is room.
pub(crate) const MOST_PARKED: usize = 200_000;
const PAUSES: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(10),
};

/// The lanes that take nothing at the moment.
#[derive(Default)]
pub(crate) struct Parked {
    lanes: HashMap<String, Lane>,
    count: usize,
}

#[derive(Default)]
struct Lane {
    waiting: BTreeMap<(Position, DeliveryId), Carried>,
    tries: u32,
    /// When to ask again; none while it is being asked.
    due: Option<Instant>,
}

impl Parked {
    /// Whether deliveries for this plane are parked: new ones go behind them.
    pub(crate) fn holds(&self, plane_id: &str) -> bool {
        self.lanes.contains_key(plane_id)
    }

    /// Whether the road may read on.
    pub(crate) const fn has_room(&self) -> bool {
        self.count < MOST_PARKED
    }

    /// How many are parked.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// The parked delivery whose event stands first in the journal.
    pub(crate) fn oldest(&self) -> Option<&Carried> {
        let firsts = self
            .lanes
            .values()
            .filter_map(|lane| lane.waiting.first_key_value());
        firsts
            .min_by_key(|(key, _)| **key)
            .map(|(_, carried)| carried)
    }

    /// Parks a delivery; one that is parked already stays.
    pub(crate) fn park(&mut self, carried: Carried) {
        let lane = self
            .lanes
            .entry(carried.flow.target_plane_id.clone())
            .or_default();
        let key = (carried.position, carried.id);
        if lane.waiting.insert(key, carried).is_none() {
            self.count += 1;
        }
    }

    /// The plane does not take what it was sent: it is asked again after a pause that grows.
    pub(crate) fn pause(&mut self, plane_id: &str, now: Instant, fraction: f64) {
        if let Some(lane) = self.lanes.get_mut(plane_id)
            && lane.due.is_none_or(|due| due <= now)
        {
            lane.tries += 1;
            lane.due = Some(now + PAUSES.pause(lane.tries, fraction));
        }
    }

    /// A delivery is settled; if it was parked, its plane takes deliveries again and is asked for the rest at once.
    pub(crate) fn settled(&mut self, carried: &Carried, now: Instant) {
        let plane_id = &carried.flow.target_plane_id;
        let Some(lane) = self.lanes.get_mut(plane_id) else {
            return;
        };
        if lane
            .waiting
            .remove(&(carried.position, carried.id))
            .is_some()
        {
            self.count -= 1;
            lane.tries = 0;
            lane.due = Some(now);
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(plane_id);
        }
    }

    /// The first deliveries, at most `most`, of a plane that is due to be asked again.
    pub(crate) fn take_due(&mut self, now: Instant, most: usize) -> Vec<Carried> {
        let due = self
            .lanes
            .values_mut()
            .find(|lane| lane.due.is_some_and(|due| due <= now));
        due.map_or_else(Vec::new, |lane| {
            lane.due = None;
            lane.waiting.values().take(most).cloned().collect()
        })
    }

    /// When the next plane is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.lanes.values().filter_map(|lane| lane.due).min()
    }

    /// The line broke: whoever was being asked is due again.
    pub(crate) fn reset(&mut self, now: Instant) {
        for lane in self.lanes.values_mut() {
            lane.due.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::{NOW, endpoint, plan, record};
    use super::super::load::{Load, plan_records};
    use super::*;
    use crate::plan::Road;

    /// `events` deliveries for each of two planes.
    fn carried(events: u64) -> Vec<Carried> {
        let mut loads = std::collections::VecDeque::new();
        let records = (0..events).map(|n| record(n, 1, NOW)).collect();
        let mut parked = Parked::default();
        plan_records(
            records,
            Road::Bridge,
            &plan(2),
            NOW,
            &mut parked,
            &mut loads,
        );
        assert!(!plan(2).flows(Road::Bridge, &endpoint()).is_empty());
        loads
            .into_iter()
            .flat_map(|load: Load| load.carried)
            .collect()
    }

    #[test]
    fn a_plane_that_takes_nothing_is_asked_again_later_and_later() {
        let now = Instant::now();
        let mut parked = Parked::default();
        let all = carried(2);
        parked.park(all[0].clone());
        parked.park(all[0].clone());
        assert_eq!(parked.len(), 1);
        parked.pause("p0", now, 0.0);
        assert!(parked.take_due(now, 10).is_empty());
        let first = parked.next_due().unwrap();
        assert_eq!(parked.take_due(first, 10).len(), 1);
        assert!(parked.take_due(first, 10).is_empty(), "it is being asked");
        parked.pause("p0", first, 0.0);
        assert!(parked.next_due().unwrap() - first > first - now);
    }

    #[test]
    fn a_plane_that_takes_again_is_asked_for_the_rest_at_once_and_no_longer_held() {
        let now = Instant::now();
        let mut parked = Parked::default();
        let all: Vec<_> = carried(3)
            .into_iter()
            .filter(|c| c.flow.target_plane_id == "p1")
            .collect();
        all.iter().for_each(|c| parked.park(c.clone()));
        parked.pause("p1", now, 0.0);
        assert!(parked.holds("p1") && !parked.holds("p0"));
        assert_eq!(parked.oldest().unwrap().position, Position(0));
        let due = parked.next_due().unwrap();
        let asked = parked.take_due(due, 1);
        parked.settled(&asked[0], due);
        assert_eq!(parked.next_due(), Some(due));
        assert_eq!(parked.oldest().unwrap().position, Position(10));
        all.iter().for_each(|c| parked.settled(c, due));
        assert!(!parked.holds("p1"));
        assert_eq!(parked.len(), 0);
    }

    #[test]
    fn after_a_break_whoever_was_being_asked_is_due() {
        let now = Instant::now();
        let mut parked = Parked::default();
        parked.park(carried(1).remove(0));
        parked.pause("p0", now, 0.0);
        let due = parked.next_due().unwrap();
        assert_eq!(parked.take_due(due, 9).len(), 1);
        assert_eq!(parked.next_due(), None);
        parked.reset(due);
        assert_eq!(parked.take_due(due, 9).len(), 1);
    }
}

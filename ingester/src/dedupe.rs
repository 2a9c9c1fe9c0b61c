//! Knows an event again by its source's own id, per endpoint, for a day and a bounded number of events.
//! Whoever comes first claims the id; repeats that come meanwhile wait for the outcome; if the first
//! fails, the next may try.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use zen_chassis::clock::millis;
use zen_journal::Position;
use zen_proto::ids::EventId;

/// How long an id is known.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Ids known at the same time; the oldest go first.
pub(crate) const MOST_KEYS: usize = 200_000;
const SHARDS: usize = 16;

/// The ids known. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dedupe(Arc<Inner>);

struct Inner {
    shards: [Mutex<Shard>; SHARDS],
    most_a_shard: usize,
}

#[derive(Default)]
struct Shard {
    known: HashMap<Key, State>,
    /// Settled ones, oldest first.
    order: VecDeque<Settled>,
}

/// Half a SHA-256 over endpoint and id: no two meet by chance, and it is the same after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key([u8; 16]);

enum State {
    /// Somebody is at it; these wait.
    Claimed(Vec<oneshot::Sender<EventId>>),
    Settled(EventId),
}

struct Settled {
    key: Key,
    at_ms: u64,
    position: Position,
}

/// What became of asking for an id.
pub(crate) enum Claim {
    /// It is new: settle it or drop it.
    First(Claimed),
    /// It was accepted before, as this event.
    Repeat(EventId),
    /// Somebody is at it. An error means that they failed: ask again.
    Wait(oneshot::Receiver<EventId>),
}

/// The right to accept an id. Dropped unsettled, the next may try.
pub(crate) struct Claimed {
    dedupe: Dedupe,
    key: Key,
    settled: bool,
}

impl Dedupe {
    /// Knows nothing yet, and `most_keys` ids at the most.
    pub(crate) fn new(most_keys: usize) -> Self {
        let most_a_shard = (most_keys / SHARDS).max(1);
        Self(Arc::new(Inner {
            shards: Default::default(),
            most_a_shard,
        }))
    }

    /// Asks for the source's id of an endpoint.
    pub(crate) fn claim(&self, endpoint_id: &str, source_key: &str, now_ms: u64) -> Claim {
        let key = Key::new(endpoint_id, source_key);
        let mut shard = self.shard(key).lock();
        shard.forget_before(now_ms.saturating_sub(millis(KNOWN_FOR)));
        match shard.known.get_mut(&key) {
            Some(State::Settled(event)) => Claim::Repeat(*event),
            Some(State::Claimed(waiting)) => {
                let (tell, told) = oneshot::channel();
                // Those who gave up waiting leave their place.
                waiting.retain(|tell| !tell.is_closed());
                waiting.push(tell);
                Claim::Wait(told)
            }
            None => {
                shard.known.insert(key, State::Claimed(Vec::new()));
                Claim::First(Claimed {
                    dedupe: self.clone(),
                    key,
                    settled: false,
                })
            }
        }
    }

    /// Remembers an event of the journal, read at the start. A later one of the same id is a repeat that got through
    /// and does not replace the first.
    pub(crate) fn remember(
        &self,
        endpoint_id: &str,
        source_key: &str,
        event: EventId,
        at_ms: u64,
        position: Position,
    ) {
        let key = Key::new(endpoint_id, source_key);
        let mut shard = self.shard(key).lock();
        if !shard.known.contains_key(&key) {
            shard.settle(key, event, at_ms, position, self.0.most_a_shard);
        }
    }

    /// Forgets what is older than a day or stands before `floor` in the journal; answers where the oldest still
    /// known stands, for the journal to be kept from there.
    pub(crate) fn forget(&self, now_ms: u64, floor: Position) -> Option<Position> {
        let oldest = self.0.shards.iter().filter_map(|shard| {
            let mut shard = shard.lock();
            shard.forget_before(now_ms.saturating_sub(millis(KNOWN_FOR)));
            while shard
                .order
                .front()
                .is_some_and(|oldest| oldest.position < floor)
            {
                shard.forget_oldest();
            }
            shard.order.front().map(|oldest| oldest.position)
        });
        oldest.min()
    }

    /// Ids known now, those under way included.
    pub(crate) fn len(&self) -> usize {
        self.0
            .shards
            .iter()
            .map(|shard| shard.lock().known.len())
            .sum()
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        &self.0.shards[usize::from(key.0[0]) % SHARDS]
    }
}

impl Key {
    fn new(endpoint_id: &str, source_key: &str) -> Self {
        let mut hash = digest::Context::new(&SHA256);
        hash.update(endpoint_id.as_bytes());
        hash.update(b"\n");
        hash.update(source_key.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self(key)
    }
}

impl Shard {
    /// Answers who waited for it.
    fn settle(
        &mut self,
        key: Key,
        event: EventId,
        at_ms: u64,
        position: Position,
        most: usize,
    ) -> Vec<oneshot::Sender<EventId>> {
        self.order.push_back(Settled {
            key,
            at_ms,
            position,
        });
        let before = self.known.insert(key, State::Settled(event));
        while self.order.len() > most {
            self.forget_oldest();
        }
        match before {
            Some(State::Claimed(waiting)) => waiting,
            _ => Vec::new(),
        }
    }

    fn forget_before(&mut self, at_ms: u64) {
        while self
            .order
            .front()
            .is_some_and(|oldest| oldest.at_ms < at_ms)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.known.remove(&oldest.key);
        }
    }
}

impl Claimed {
    /// The event is durable: repeats get its id from here on.
    pub(crate) fn settle(mut self, event: EventId, at_ms: u64, position: Position) {
        self.settled = true;
        let most = self.dedupe.0.most_a_shard;
        let waiting = self
            .dedupe
            .shard(self.key)
            .lock()
            .settle(self.key, event, at_ms, position, most);
        for tell in waiting {
            // Whoever gave up waiting needs no answer.
            let _told = tell.send(event);
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.settled {
            // Dropping the senders wakes those who wait; one of them claims anew.
            let _waiting = self.dedupe.shard(self.key).lock().known.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id;

    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn event(last: u8) -> EventId {
        EventId::generate(NOW, [last; 10])
    }

    fn first(dedupe: &Dedupe, source_key: &str, now_ms: u64) -> Claimed {
        match dedupe.claim("ep", source_key, now_ms) {
            Claim::First(claimed) => claimed,
            _ => panic!("{source_key} is known"),
        }
    }

    fn is_repeat_of(dedupe: &Dedupe, source_key: &str, now_ms: u64, expected: EventId) -> bool {
        matches!(dedupe.claim("ep", source_key, now_ms), Claim::Repeat(found) if found == expected)
    }

    #[test]
    fn a_repeat_gets_the_first_event_for_a_day() {
        let dedupe = Dedupe::new(100);
        first(&dedupe, "a", NOW).settle(event(1), NOW, Position(0));
        let day = millis(KNOWN_FOR);
        assert!(is_repeat_of(&dedupe, "a", NOW + day, event(1)));
        drop(first(&dedupe, "a", NOW + day + 1));
    }

    #[test]
    fn the_same_id_at_another_endpoint_is_another_event() {
        let dedupe = Dedupe::new(100);
        first(&dedupe, "a", NOW).settle(event(1), NOW, Position(0));
        assert!(matches!(dedupe.claim("another", "a", NOW), Claim::First(_)));
    }

    #[tokio::test]
    async fn repeats_wait_for_the_first_and_get_its_event() {
        let dedupe = Dedupe::new(100);
        let claimed = first(&dedupe, "a", NOW);
        let Claim::Wait(told) = dedupe.claim("ep", "a", NOW) else {
            panic!("not under way")
        };
        claimed.settle(event(1), NOW, Position(0));
        assert_eq!(told.await, Ok(event(1)));
    }

    #[tokio::test]
    async fn when_the_first_fails_the_second_may_try() {
        let dedupe = Dedupe::new(100);
        let claimed = first(&dedupe, "a", NOW);
        let Claim::Wait(told) = dedupe.claim("ep", "a", NOW) else {
            panic!("not under way")
        };
        drop(claimed);
        assert!(told.await.is_err());
        drop(first(&dedupe, "a", NOW));
    }

    #[test]
    fn the_number_of_ids_is_bounded_and_the_oldest_go_first() {
        let dedupe = Dedupe::new(SHARDS * 4);
        for n in 0..1_000 {
            first(&dedupe, &n.to_string(), NOW).settle(event(1), NOW, Position(n));
        }
        assert!(dedupe.len() <= SHARDS * 4);
        assert!(is_repeat_of(&dedupe, "999", NOW, event(1)));
    }

    #[test]
    fn what_stands_before_the_floor_is_forgotten_and_the_oldest_left_is_named() {
        let dedupe = Dedupe::new(1_000);
        for n in 0..10 {
            first(&dedupe, &n.to_string(), NOW).settle(event(1), NOW, Position(n * 10));
        }
        assert_eq!(dedupe.forget(NOW, Position(35)), Some(Position(40)));
        drop(first(&dedupe, "3", NOW));
        assert!(is_repeat_of(&dedupe, "4", NOW, event(1)));
    }

    #[test]
    fn what_the_journal_tells_is_known_and_the_first_of_an_id_stays() {
        let dedupe = Dedupe::new(100);
        dedupe.remember("ep", "a", event(1), NOW, Position(0));
        dedupe.remember("ep", "a", event(2), NOW, Position(8));
        assert!(is_repeat_of(&dedupe, "a", NOW, event(1)));
    }
}

//! A lane's bookkeeping: which parcels wait, who has which, who gets what next, and up to where
//! everything is settled. Pure: no IO, time comes in, the log's records are told by whoever reads.
//!
//! A record read from the log is *known* until it is settled. Known records wait or are in flight
//! to one attachment. The frontier, up to which everything is settled, is the first known record,
//! or where reading goes on if none is known.

use std::collections::BTreeMap;
use std::ops::Bound;

use zen_journal::Position;
use zen_proto::limits;

/// One attachment of an egress, unique in the life of its lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttachmentId(u64);

/// What is kept in memory of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When it was published, Unix milliseconds.
    pub(crate) accepted_at_ms: u64,
    /// From when on it is not sent any more, Unix milliseconds.
    pub(crate) deadline_ms: u64,
    /// What it takes in a batch.
    pub(crate) bytes: usize,
    /// Whether it was handed out before.
    pub(crate) sent: bool,
}

/// Parcels for one attachment, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    pub(crate) to: AttachmentId,
    pub(crate) positions: Vec<Position>,
    /// How many of them had been handed out before.
    pub(crate) again: u64,
}

struct Flight {
    to: AttachmentId,
    entry: Entry,
}

#[derive(Default)]
struct Attachment {
    /// Parcels it can take beyond those handed to it.
    credit: u64,
    in_flight: usize,
    /// Whether it waits for its next batch.
    asks: bool,
}

/// Records read beyond what attachments want while nothing is known: so that the age and expiry of
/// the oldest are.
const PEEK: usize = 16;
/// Most records asked of the log at once.
const READ: usize = 1024;

/// The book of one lane.
pub(crate) struct Book {
    read_to: Position,
    waiting: BTreeMap<Position, Entry>,
    in_flight: BTreeMap<Position, Flight>,
    attachments: BTreeMap<AttachmentId, Attachment>,
    max_in_flight: usize,
    last_served: AttachmentId,
    last_id: u64,
}

impl Book {
    /// A book of a lane in which everything before `settled` is settled.
    pub(crate) fn new(settled: Position, max_in_flight: usize) -> Self {
        Self {
            read_to: settled,
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            attachments: BTreeMap::new(),
            max_in_flight,
            last_served: AttachmentId::default(),
            last_id: 0,
        }
    }

    /// Somebody attached; without credit yet.
    pub(crate) fn attach(&mut self) -> AttachmentId {
        self.last_id += 1;
        let id = AttachmentId(self.last_id);
        self.attachments.insert(id, Attachment::default());
        id
    }

    /// Somebody is gone: what it had and did not acknowledge waits again.
    pub(crate) fn detach(&mut self, id: AttachmentId) {
        self.attachments.remove(&id);
        let back: Vec<_> = self
            .in_flight
            .extract_if(.., |_, flight| flight.to == id)
            .collect();
        self.waiting.extend(
            back.into_iter()
                .map(|(position, flight)| (position, flight.entry)),
        );
    }

    /// An attachment can take more.
    pub(crate) fn grant(&mut self, id: AttachmentId, parcels: u32) {
        if let Some(attachment) = self.attachments.get_mut(&id) {
            attachment.credit = attachment.credit.saturating_add(parcels.into());
        }
    }

    /// An attachment waits for its next batch.
    pub(crate) fn ask(&mut self, id: AttachmentId) {
        if let Some(attachment) = self.attachments.get_mut(&id) {
            attachment.asks = true;
        }
    }

    /// A record was read from the log; the next one stands at `next`.
    pub(crate) fn know(&mut self, position: Position, next: Position, entry: Entry) {
        if position >= self.read_to {
            self.waiting.insert(position, entry);
        }
        self.pass(next);
    }

    /// There is nothing to send before `next` in the log beyond what is known.
    pub(crate) fn pass(&mut self, next: Position) {
        self.read_to = self.read_to.max(next);
    }

    /// Some egress of the plane has this parcel in its ledger. A parcel that came back from a lost
    /// attachment counts too; one never handed out, or not known, is ignored: false.
    pub(crate) fn acknowledge(&mut self, position: Position) -> bool {
        let sent = self.waiting.get(&position).is_some_and(|entry| entry.sent);
        if !self.in_flight.contains_key(&position) && !sent {
            return false;
        }
        self.settle(position);
        true
    }

    /// A known parcel is dealt with, whatever became of it.
    pub(crate) fn settle(&mut self, position: Position) {
        self.waiting.remove(&position);
        if let Some(flight) = self.in_flight.remove(&position)
            && let Some(attachment) = self.attachments.get_mut(&flight.to)
        {
            attachment.in_flight -= 1;
        }
    }

    /// Settles waiting parcels whose time is over; returns how many. Those in flight are left to
    /// whoever has them.
    pub(crate) fn expire(&mut self, now_ms: u64) -> u64 {
        let before = self.waiting.len();
        self.waiting.retain(|_, entry| entry.deadline_ms > now_ms);
        (before - self.waiting.len()) as u64
    }

    /// How many records to read next; 0 if there is no need. Not before every hand-over was made.
    pub(crate) fn wanted(&self) -> usize {
        let room: usize = self.asking().map(|(_, room)| room).sum();
        match (self.waiting.is_empty(), self.in_flight.is_empty()) {
            (true, _) if room > 0 => room.min(READ),
            (true, true) => PEEK,
            _ => 0,
        }
    }

    /// The next attachment in turn that asks and can take something, with its share of what waits;
    /// the parcels are in flight to it from here on.
    pub(crate) fn hand_over(&mut self) -> Option<HandOver> {
        if self.waiting.is_empty() {
            return None;
        }
        let share = self.waiting.len().div_ceil(self.asking().count().max(1));
        let (to, room) = self.next_in_turn()?;
        let positions = self.choose(room.min(share).min(limits::DELIVERY_BATCH));
        let mut again = 0;
        for position in &positions {
            if let Some(mut entry) = self.waiting.remove(position) {
                again += u64::from(entry.sent);
                entry.sent = true;
                self.in_flight.insert(*position, Flight { to, entry });
            }
        }
        let attachment = self.attachments.get_mut(&to)?;
        attachment.in_flight += positions.len();
        attachment.credit -= positions.len() as u64;
        attachment.asks = false;
        self.last_served = to;
        Some(HandOver {
            to,
            positions,
            again,
        })
    }

    /// Everything before this is settled.
    pub(crate) fn settled(&self) -> Position {
        self.oldest().map_or(self.read_to, |(position, _)| position)
    }

    /// When the oldest known parcel was published.
    pub(crate) fn oldest_accepted_at_ms(&self) -> Option<u64> {
        self.oldest().map(|(_, entry)| entry.accepted_at_ms)
    }

    /// Whether anything waits whose time may come.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn oldest(&self) -> Option<(Position, Entry)> {
        let waiting = self
            .waiting
            .first_key_value()
            .map(|(position, entry)| (*position, *entry));
        let flying = self
            .in_flight
            .first_key_value()
            .map(|(position, f)| (*position, f.entry));
        [waiting, flying]
            .into_iter()
            .flatten()
            .min_by_key(|(position, _)| *position)
    }

    /// The first parcels that wait, at most so many and within the bytes of a batch.
    fn choose(&self, most: usize) -> Vec<Position> {
        let mut bytes = 0_usize;
        let fits = |entry: &Entry| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(entry.bytes.max(1));
            first || bytes <= limits::DELIVERY_BATCH_BYTES
        };
        let mut fits = fits;
        self.waiting
            .iter()
            .take(most)
            .take_while(|(_, entry)| fits(entry))
            .map(|(position, _)| *position)
            .collect()
    }

    /// Who waits for a batch and can take one, with how many parcels.
    fn asking(&self) -> impl Iterator<Item = (AttachmentId, usize)> {
        self.attachments
            .iter()
            .filter(|(_, attachment)| attachment.asks)
            .filter_map(|(id, attachment)| {
                let credit = usize::try_from(attachment.credit).unwrap_or(usize::MAX);
                let room = credit.min(self.max_in_flight.saturating_sub(attachment.in_flight));
                (room > 0).then_some((*id, room))
            })
    }

    fn next_in_turn(&self) -> Option<(AttachmentId, usize)> {
        let after = (Bound::Excluded(self.last_served), Bound::Unbounded);
        let later = self
            .asking()
            .find(|(id, _)| std::ops::RangeBounds::contains(&after, id));
        later.or_else(|| self.asking().next())
    }
}

#[cfg(test)]
#[path = "book/tests.rs"]
mod tests;

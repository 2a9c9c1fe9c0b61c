//! The batches under way on a line, and up to where everything is settled. Pure.

use std::collections::VecDeque;

use zen_journal::Position;

use super::carrier::WINDOW;
use super::load::Carried;

/// Batches sent and not yet acknowledged, in the order they were sent.
pub(crate) struct Window {
    sent: VecDeque<Sent>,
    next_sequence: u64,
    passed: Position,
}

struct Sent {
    sequence: u64,
    /// None for a batch of parked deliveries, which stands for no stretch of the journal.
    upto: Option<Position>,
    carried: Vec<Carried>,
    settled: bool,
}

impl Window {
    /// Nothing under way, everything before `passed` settled.
    pub(crate) const fn new(passed: Position) -> Self {
        Self {
            sent: VecDeque::new(),
            next_sequence: 1,
            passed,
        }
    }

    /// Everything before is settled, but for parked deliveries.
    pub(crate) const fn passed(&self) -> Position {
        self.passed
    }

    /// Whether another batch may go out.
    pub(crate) fn has_room(&self) -> bool {
        self.sent.len() < WINDOW
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// The first delivery under way.
    pub(crate) fn oldest(&self) -> Option<&Carried> {
        self.sent
            .iter()
            .flat_map(|sent| sent.carried.first())
            .next()
    }

    /// Notes a batch as sent; the answer is its sequence.
    pub(crate) fn push(&mut self, carried: Vec<Carried>, upto: Option<Position>) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.sent.push_back(Sent {
            sequence,
            upto,
            carried,
            settled: false,
        });
        sequence
    }

    /// There is nothing to send before `upto`: it is passed once what is under way is settled.
    pub(crate) fn skip(&mut self, upto: Position) {
        match self.sent.back_mut() {
            Some(last) => last.upto = Some(upto),
            None => self.passed = self.passed.max(upto),
        }
    }

    /// Takes the batch of this sequence as settled: what was in it. None if it is not under way.
    pub(crate) fn settle(&mut self, sequence: u64) -> Option<Vec<Carried>> {
        let sent = self
            .sent
            .iter_mut()
            .find(|sent| sent.sequence == sequence && !sent.settled)?;
        sent.settled = true;
        let carried = std::mem::take(&mut sent.carried);
        while self.sent.front().is_some_and(|first| first.settled) {
            let upto = self.sent.pop_front().and_then(|first| first.upto);
            self.passed = self.passed.max(upto.unwrap_or_default());
        }
        Some(carried)
    }

    /// The line broke: nothing is under way any more, and sequences begin again.
    pub(crate) fn reset(&mut self) {
        self.sent.clear();
        self.next_sequence = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_settled_without_a_gap_is_passed() {
        let mut window = Window::new(Position(0));
        let batches = [10, 20, 30].map(|upto| window.push(Vec::new(), Some(Position(upto))));
        assert!(window.settle(batches[1]).is_some());
        assert_eq!(window.passed(), Position(0));
        assert!(window.settle(batches[0]).is_some());
        assert_eq!(window.passed(), Position(20));
        assert!(window.settle(batches[0]).is_none());
        window.reset();
        assert!(window.settle(batches[2]).is_none());
        assert_eq!(window.passed(), Position(20));
    }

    #[test]
    fn what_needs_no_sending_waits_for_what_was_sent_before() {
        let mut window = Window::new(Position(0));
        window.skip(Position(5));
        assert_eq!(window.passed(), Position(5));
        let retried = window.push(Vec::new(), None);
        window.skip(Position(9));
        assert_eq!(window.passed(), Position(5));
        window.settle(retried).unwrap();
        assert_eq!(window.passed(), Position(9));
    }

    #[test]
    fn the_number_of_batches_under_way_is_bounded() {
        let mut window = Window::new(Position(0));
        for upto in 0..WINDOW {
            assert!(window.has_room());
            window.push(Vec::new(), Some(Position(upto as u64)));
        }
        assert!(!window.has_room());
    }
}

//! The book against a model: a log of parcels of which each is settled or not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const STRIDE: u64 = 16;

fn entry(deadline_ms: u64) -> Entry {
    Entry {
        accepted_at_ms: 0,
        deadline_ms,
        bytes: 10,
        sent: false,
    }
}

fn know(book: &mut Book, n: u64) {
    book.know(
        Position(n * STRIDE),
        Position((n + 1) * STRIDE),
        entry(u64::MAX),
    );
}

#[test]
fn parcels_of_a_lost_attachment_go_to_another_and_count_as_sent_again() {
    let mut book = Book::new(Position(0), 10);
    let (first, second) = (book.attach(), book.attach());
    (0..3).for_each(|n| know(&mut book, n));
    book.grant(first, 3);
    book.ask(first);
    let handed = book.hand_over().unwrap();
    assert_eq!(
        (handed.to, handed.positions.len(), handed.again),
        (first, 3, 0)
    );
    assert!(book.acknowledge(Position(STRIDE)));
    assert_eq!(book.settled(), Position(0), "the first is still open");
    book.detach(first);
    book.grant(second, 3);
    book.ask(second);
    let handed = book.hand_over().unwrap();
    assert_eq!(handed.positions, [Position(0), Position(2 * STRIDE)]);
    assert_eq!((handed.to, handed.again), (second, 2));
}

#[test]
fn two_who_ask_share_what_waits() {
    let mut book = Book::new(Position(0), 10);
    let (first, second) = (book.attach(), book.attach());
    (0..4).for_each(|n| know(&mut book, n));
    for id in [first, second] {
        book.grant(id, 10);
        book.ask(id);
    }
    let (one, other) = (book.hand_over().unwrap(), book.hand_over().unwrap());
    assert_eq!((one.positions.len(), other.positions.len()), (2, 2));
    assert_ne!(one.to, other.to);
}

#[test]
fn an_acknowledgement_that_outlived_its_attachment_still_counts() {
    let mut book = Book::new(Position(0), 10);
    let id = book.attach();
    know(&mut book, 0);
    assert!(!book.acknowledge(Position(0)), "it was never handed out");
    book.grant(id, 1);
    book.ask(id);
    book.hand_over().unwrap();
    book.detach(id);
    assert!(book.acknowledge(Position(0)));
    assert_eq!(book.settled(), Position(STRIDE));
}

#[test]
fn a_batch_keeps_to_its_bytes_unless_one_parcel_is_larger() {
    let mut book = Book::new(Position(0), 10);
    let id = book.attach();
    for n in 0..3 {
        let entry = Entry {
            bytes: limits::DELIVERY_BATCH_BYTES - 1,
            ..entry(u64::MAX)
        };
        book.know(Position(n * STRIDE), Position((n + 1) * STRIDE), entry);
    }
    book.grant(id, 10);
    book.ask(id);
    assert_eq!(book.hand_over().unwrap().positions, [Position(0)]);
}

#[test]
fn what_expires_while_waiting_is_settled_and_what_is_in_flight_is_not() {
    let mut book = Book::new(Position(0), 10);
    let id = book.attach();
    book.know(Position(0), Position(STRIDE), entry(100));
    book.grant(id, 1);
    book.ask(id);
    book.hand_over().unwrap();
    book.know(Position(STRIDE), Position(2 * STRIDE), entry(100));
    assert_eq!(book.expire(99), 0);
    assert_eq!(book.expire(100), 1);
    assert_eq!(book.settled(), Position(0));
    assert!(book.acknowledge(Position(0)));
    assert_eq!(book.settled(), Position(2 * STRIDE));
}

#[test]
fn nothing_is_read_for_nobody_but_a_look_at_the_oldest() {
    let mut book = Book::new(Position(0), 10);
    assert_eq!(book.wanted(), PEEK);
    know(&mut book, 0);
    assert_eq!(book.wanted(), 0);
    let id = book.attach();
    book.grant(id, 4);
    book.ask(id);
    book.hand_over().unwrap();
    assert_eq!(book.wanted(), 0, "it did not ask again");
    book.ask(id);
    assert_eq!(book.wanted(), 3, "one of four credits is spent");
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Attach,
    Detach(u8),
    Grant(u8, u8),
    Ask(u8),
    /// Reads what is wanted, and hands out.
    Turn,
    /// Acknowledges one of those in flight.
    Acknowledge(u8),
    /// Acknowledges any position, known or not.
    Stray(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..8_u8).prop_map(Step::Publish),
        Just(Step::Attach),
        any::<u8>().prop_map(Step::Detach),
        (any::<u8>(), 0..6_u8).prop_map(|(who, credits)| Step::Grant(who, credits)),
        any::<u8>().prop_map(Step::Ask),
        Just(Step::Turn),
        any::<u8>().prop_map(Step::Acknowledge),
        any::<u8>().prop_map(Step::Stray),
    ];
    proptest::collection::vec(step, 1..200)
}

/// What must be true, kept the simple way.
#[derive(Default)]
struct Model {
    published: u64,
    read: u64,
    settled: BTreeSet<u64>,
    sent: BTreeSet<u64>,
    /// Credit left and parcels held, for each who is attached.
    attached: BTreeMap<AttachmentId, (u64, BTreeSet<u64>)>,
}

impl Model {
    fn pick(&self, place: u8) -> Option<AttachmentId> {
        let count = self.attached.len();
        (count > 0).then(|| {
            *self
                .attached
                .keys()
                .nth(usize::from(place) % count)
                .unwrap()
        })
    }

    fn frontier(&self) -> u64 {
        (0..self.read)
            .find(|n| !self.settled.contains(n))
            .unwrap_or(self.read)
    }
}

struct Pair {
    book: Book,
    model: Model,
    window: usize,
}

impl Pair {
    fn step(&mut self, step: &Step) {
        let (book, model) = (&mut self.book, &mut self.model);
        match step {
            Step::Publish(count) => model.published += u64::from(*count),
            Step::Attach => {
                model.attached.insert(book.attach(), Default::default());
            }
            Step::Detach(who) => {
                if let Some(id) = model.pick(*who) {
                    book.detach(id);
                    model.attached.remove(&id);
                }
            }
            Step::Grant(who, credits) => {
                if let Some(id) = model.pick(*who) {
                    book.grant(id, u32::from(*credits));
                    model.attached.get_mut(&id).unwrap().0 += u64::from(*credits);
                }
            }
            Step::Ask(who) => {
                if let Some(id) = model.pick(*who) {
                    book.ask(id);
                }
            }
            Step::Turn => self.turn(),
            Step::Acknowledge(which) => {
                let held: Vec<u64> = model
                    .attached
                    .values()
                    .flat_map(|(_, held)| held)
                    .copied()
                    .collect();
                if !held.is_empty() {
                    self.acknowledge(held[usize::from(*which) % held.len()]);
                }
            }
            Step::Stray(which) => self.acknowledge(u64::from(*which) % 64),
        }
    }

    fn turn(&mut self) {
        self.hand_out();
        for _ in 0..self.book.wanted() {
            if self.model.read < self.model.published {
                know(&mut self.book, self.model.read);
                self.model.read += 1;
            }
        }
        self.hand_out();
    }

    fn hand_out(&mut self) {
        while let Some(handed) = self.book.hand_over() {
            assert!(!handed.positions.is_empty());
            for position in handed.positions {
                let n = position.0 / STRIDE;
                assert!(n < self.model.read, "handed out what was never read");
                assert!(
                    !self.model.settled.contains(&n),
                    "resent what was acknowledged"
                );
                let elsewhere = self
                    .model
                    .attached
                    .values()
                    .any(|(_, held)| held.contains(&n));
                assert!(!elsewhere, "two have the same parcel");
                self.model.sent.insert(n);
                let (credit, held) = self.model.attached.get_mut(&handed.to).unwrap();
                assert!(*credit > 0, "sent without credit");
                *credit -= 1;
                held.insert(n);
                assert!(held.len() <= self.window, "more in flight than allowed");
            }
        }
    }

    fn acknowledge(&mut self, n: u64) {
        let model = &mut self.model;
        let expected = model.sent.contains(&n) && !model.settled.contains(&n);
        assert_eq!(self.book.acknowledge(Position(n * STRIDE)), expected);
        if expected {
            model.settled.insert(n);
            model.attached.values_mut().for_each(|(_, held)| {
                held.remove(&n);
            });
        }
    }

    /// Whoever is still attached leaves; a newcomer with credit for all gets exactly the rest.
    fn finish(&mut self) {
        for id in std::mem::take(&mut self.model.attached).into_keys() {
            self.book.detach(id);
        }
        let id = self.book.attach();
        self.model
            .attached
            .insert(id, (u64::from(u32::MAX), BTreeSet::new()));
        self.book.grant(id, u32::MAX);
        for _ in 0..2 * self.model.published + 2 {
            self.book.ask(id);
            self.turn();
            let held: Vec<u64> = self.model.attached[&id].1.iter().copied().collect();
            held.into_iter().for_each(|n| self.acknowledge(n));
        }
        assert_eq!(self.model.settled.len() as u64, self.model.published);
        assert_eq!(self.book.settled(), Position(self.model.published * STRIDE));
    }
}

proptest! {
    #[test]
    fn the_book_keeps_its_promises(steps in steps(), window in 1..6_usize) {
        let book = Book::new(Position(0), window);
        let mut pair = Pair { book, model: Model::default(), window };
        for step in &steps {
            pair.step(step);
            prop_assert_eq!(pair.book.settled(), Position(pair.model.frontier() * STRIDE));
        }
        pair.finish();
    }
}

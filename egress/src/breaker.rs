//! The circuit breaker of one target. Pure: time comes in as Unix milliseconds. While it is open
//! deliveries wait and none of their attempts is used up.

use std::time::Duration;

use zen_chassis::backoff::Backoff;
use zen_chassis::clock::millis;

/// Failures to reach a target in a row that open the breaker.
const OPENS_AFTER: u32 = 5;
/// How long it stays open; longer each time a probe fails.
const OPEN: Backoff = Backoff {
    initial: Duration::from_secs(5),
    max: Duration::from_secs(60),
};

/// Whether a target is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// How often it opened since the target last answered.
    opened: u32,
    /// Closed, open until then, or a probe is under way.
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    OpenUntil(u64),
    Probing,
}

/// What the breaker says to another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Go.
    Go,
    /// Not before this time, Unix milliseconds.
    NotBefore(u64),
    /// Not before the probe is back.
    AfterProbe,
}

impl Breaker {
    /// Whether an attempt may start now. When the open time is over this very attempt is the one
    /// probe.
    pub(crate) fn admit(&mut self, now_ms: u64) -> Admission {
        match self.state {
            State::Closed => Admission::Go,
            State::Probing => Admission::AfterProbe,
            State::OpenUntil(until) if now_ms < until => Admission::NotBefore(until),
            State::OpenUntil(_) => {
                self.state = State::Probing;
                Admission::Go
            }
        }
    }

    /// Takes in what came of an attempt: whether anybody answered.
    pub(crate) fn note(&mut self, reached: bool, now_ms: u64) {
        if reached {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed if self.failures >= OPENS_AFTER => self.open(now_ms),
            State::Probing => self.open(now_ms),
            // Begun before it opened: nothing new.
            State::Closed | State::OpenUntil(_) => {}
        }
    }

    /// Takes back an admission whose attempt was not made after all.
    pub(crate) fn not_made(&mut self, now_ms: u64) {
        if self.state == State::Probing {
            self.state = State::OpenUntil(now_ms);
        }
    }

    /// Whether the target is being left alone.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// Whether its one probe is under way.
    pub(crate) const fn is_probing(&self) -> bool {
        matches!(self.state, State::Probing)
    }

    fn open(&mut self, now_ms: u64) {
        self.opened = self.opened.saturating_add(1);
        self.state = State::OpenUntil(now_ms.saturating_add(millis(OPEN.bound(self.opened))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..OPENS_AFTER {
            assert_eq!(breaker.admit(0), Admission::Go);
            breaker.note(false, 0);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_an_answer_between_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.note(false, 0);
        }
        breaker.note(true, 0);
        for _ in 0..4 {
            breaker.note(false, 0);
        }
        assert!(!breaker.is_open());
        breaker.note(false, 0);
        assert_eq!(breaker.admit(0), Admission::NotBefore(5_000));
    }

    #[test]
    fn one_probe_goes_when_the_time_is_over() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(4_999), Admission::NotBefore(5_000));
        assert_eq!(breaker.admit(5_000), Admission::Go);
        assert_eq!(breaker.admit(5_000), Admission::AfterProbe);
        breaker.note(true, 5_001);
        assert_eq!(breaker.admit(5_001), Admission::Go);
        assert!(!breaker.is_open());
    }

    #[test]
    fn failed_probes_lengthen_the_pause_to_a_minute_and_no_further() {
        let mut breaker = opened();
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let Admission::NotBefore(until) = breaker.admit(now) else {
                panic!("not open")
            };
            pauses.push((until - now) / 1000);
            now = until;
            assert_eq!(breaker.admit(now), Admission::Go);
            breaker.note(false, now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn late_failures_of_earlier_attempts_do_not_lengthen_it() {
        let mut breaker = opened();
        breaker.note(false, 3_000);
        assert_eq!(breaker.admit(3_000), Admission::NotBefore(5_000));
    }

    #[test]
    fn a_probe_that_was_not_made_leaves_the_place_to_the_next() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(5_000), Admission::Go);
        breaker.not_made(5_000);
        assert_eq!(breaker.admit(5_000), Admission::Go);
    }
}

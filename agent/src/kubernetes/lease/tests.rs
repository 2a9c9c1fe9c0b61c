//! What a record means, for every record and any order of looks and writes.

use proptest::prelude::*;

use super::*;

const DURATION: Duration = Duration::from_secs(15);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn lease(record: &Record, version: u64) -> Lease {
    Lease {
        metadata: ObjectMeta {
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        },
        spec: Some(record.spec.clone()),
    }
}

fn seen(record: &Record, now: Instant) -> Observed {
    Observed::next(None, lease(record, 1), now)
}

#[test]
fn a_free_lease_is_taken_and_ones_own_renewed() {
    let now = Instant::now();
    let nobody = Record::default();
    assert_eq!(seen(&nobody, now).step("a", false, now), Step::Take);
    let mine = nobody.taken("a", DURATION, at(0));
    assert_eq!(seen(&mine, now).step("a", true, now), Step::Take);
    assert_eq!(seen(&mine, now).step("a", false, now), Step::Take);
    assert_eq!(mine.spec.lease_transitions, Some(1));
    let renewed = mine.taken("a", DURATION, at(5));
    assert_eq!(renewed.spec.acquire_time, Some(MicroTime(at(0))));
    assert_eq!(renewed.spec.renew_time, Some(MicroTime(at(5))));
    assert_eq!(renewed.spec.lease_transitions, Some(1));
    let released = renewed.released(at(6));
    assert_eq!(released.holder(), None);
    assert_eq!(seen(&released, now).step("b", false, now), Step::Take);
    assert_eq!(
        released.taken("b", DURATION, at(7)).spec.lease_transitions,
        Some(2)
    );
}

#[test]
fn anothers_lease_is_waited_for_by_ones_own_clock() {
    let start = Instant::now();
    // Its clock is years off; that tells nothing.
    let theirs = Record::default().taken("b", DURATION, at(-100_000_000));
    let first = seen(&theirs, start);
    assert_eq!(first.step("a", false, start), Step::Wait(DURATION));
    assert_eq!(first.step("a", true, start), Step::Lost);
    let later = start + Duration::from_secs(10);
    let second = Observed::next(Some(&first), lease(&theirs, 2), later);
    assert_eq!(
        second.step("a", false, later),
        Step::Wait(Duration::from_secs(5))
    );
    let renewed = theirs.taken("b", DURATION, at(-99_999_999));
    let third = Observed::next(Some(&second), lease(&renewed, 3), later);
    assert_eq!(third.step("a", false, later), Step::Wait(DURATION));
    let end = later + DURATION;
    let fourth = Observed::next(Some(&third), lease(&renewed, 3), end);
    assert_eq!(fourth.step("a", false, end), Step::Take);
}

/// The API server: a record and its version; a write with another version is refused.
struct Server {
    record: Record,
    version: u64,
}

/// One agent, as `keep` drives it.
struct Agent {
    name: String,
    seen: Option<Observed>,
    acts_until: Option<Instant>,
}

impl Agent {
    fn acts(&self, now: Instant) -> bool {
        self.acts_until.is_some_and(|until| now < until)
    }

    /// Reads, decides, and may write.
    fn turn(&mut self, server: &mut Server, read_at: Instant, lost: bool) {
        let holds = self.acts(read_at);
        let seen = Observed::next(
            self.seen.as_ref(),
            lease(&server.record, server.version),
            read_at,
        );
        let step = seen.step(&self.name, holds, read_at);
        if step == Step::Lost {
            self.acts_until = None;
        }
        let version = Some(server.version.to_string());
        if step == Step::Take && seen.metadata.resource_version == version {
            server.record = server.record.taken(&self.name, DURATION, at(0));
            server.version += 1;
            // The answer may get lost: then it wrote, and does not know.
            if !lost {
                self.acts_until = Some(acts_until(read_at, DURATION));
            }
        }
        self.seen = Some(seen);
    }
}

proptest! {
    /// Three agents that look, write, stall and lose answers in any order: no two ever act at the
    /// same moment.
    #[test]
    fn two_never_act_at_once(
        turns in prop::collection::vec(
            (0..3_usize, 0..6_000_u64, any::<bool>(), prop::bool::weighted(0.1)), 1..200),
    ) {
        let mut now = Instant::now();
        let mut server = Server { record: Record::default(), version: 1 };
        let mut agents: Vec<_> = ["a", "b", "c"].map(|name| Agent {
            name: name.to_owned(), seen: None, acts_until: None,
        }).into();
        for (who, pause, lost, releases) in turns {
            now += Duration::from_millis(pause);
            if releases && agents[who].acts(now) {
                agents[who].acts_until = None;
                server.record = server.record.released(at(0));
                server.version += 1;
            } else {
                agents[who].turn(&mut server, now, lost);
            }
            let acting: Vec<_> = agents.iter().filter(|agent| agent.acts(now))
                .map(|agent| &agent.name).collect();
            prop_assert!(acting.len() <= 1, "{acting:?}");
        }
    }

    /// Whoever is left gets the Lease in the end.
    #[test]
    fn a_lease_whose_holder_is_gone_is_taken_over(seconds in 1..300_u64, looks in 1..20_u32) {
        let duration = Duration::from_secs(seconds);
        let start = Instant::now();
        let theirs = Record::default().taken("b", duration, at(0));
        let mut seen = seen(&theirs, start);
        for look in 1..=looks {
            let now = start + duration * look / looks;
            seen = Observed::next(Some(&seen), lease(&theirs, 1), now);
            let expected = if look == looks { Step::Take } else { Step::Wait(start + duration - now) };
            prop_assert_eq!(seen.step("a", false, now), expected);
        }
    }
}

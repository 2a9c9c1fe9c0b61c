//! How each target is doing, as far as its last attempts tell: what the status lists of those that
//! are not well. In memory: after a restart the next attempts tell again, and what is paused stands
//! in the ledger.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use parking_lot::Mutex;
use zen_proto::codes::SecretCode;
use zen_proto::ids::TargetId;
use zen_proto::limits;
use zen_proto::query::v1::Attempt;
use zen_proto::session::v1::{TargetHealth, TargetState};

use crate::breaker::Breaker;
use crate::codes;
use crate::ledger::Pause;
use crate::targets::Directory;

/// Failures in a row after which a target counts as failing.
const FAILING_AFTER: u32 = 3;
/// Failures that no further attempt could be any better about: one is enough.
const CERTAIN: [&str; 2] = [codes::TARGET_INVALID, codes::TARGET_ADDRESS_REFUSED];
/// How the codes of secrets that cannot be had begin: they are as certain.
const SECRET: &str = "SECRET_";

/// Targets whose last attempt failed. Bounded by the configuration's targets.
#[derive(Default)]
pub(crate) struct Health(Mutex<BTreeMap<TargetId, Trouble>>);

/// A row of failures without a success between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// When the first of them was, Unix milliseconds.
    pub(crate) since_ms: u64,
    failures: u32,
    /// Of the newest: stable code, and words.
    pub(crate) code: String,
    pub(crate) detail: String,
    breaker: TargetState,
}

impl Health {
    /// An attempt failed.
    pub(crate) fn failed(&self, target: TargetId, attempt: &Attempt, breaker: Breaker) {
        // The delivery's own fault says nothing about the target.
        if attempt.code == codes::BODY_UNREADABLE {
            return;
        }
        let mut all = self.0.lock();
        let trouble = all.entry(target).or_insert_with(|| Trouble {
            since_ms: attempt.started_at_ms,
            failures: 0,
            code: String::new(),
            detail: String::new(),
            breaker: TargetState::Failing,
        });
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.code.clone_from(&attempt.code);
        trouble.detail = match attempt.status {
            0 => attempt.detail.clone(),
            status => format!("HTTP {status}"),
        };
        trouble.breaker = shown(breaker);
    }

    /// Its deliveries wait for zen-lock to open a secret.
    pub(crate) fn waits_for_secret(&self, target: TargetId, now_ms: u64) {
        let code = SecretCode::LockUnreachable;
        let waiting = Attempt {
            started_at_ms: now_ms,
            code: code.code().to_owned(),
            detail: code.remedy().to_owned(),
            ..Attempt::default()
        };
        self.failed(target, &waiting, Breaker::default());
    }

    /// The breaker of a target in trouble moved.
    pub(crate) fn breaker(&self, target: TargetId, breaker: Breaker) {
        if let Some(trouble) = self.0.lock().get_mut(&target) {
            trouble.breaker = shown(breaker);
        }
    }

    /// The target took a delivery, or was changed so that what was known says nothing any more.
    pub(crate) fn clear(&self, target: TargetId) {
        self.0.lock().remove(&target);
    }

    /// The trouble of one target, if it is not well.
    pub(crate) fn of(&self, target: TargetId) -> Option<Trouble> {
        let trouble = self.0.lock().get(&target).cloned();
        trouble.filter(Trouble::is_notable)
    }

    /// Targets of the configuration that are not well, the worst first, at most
    /// [`limits::UNWELL_TARGETS`].
    pub(crate) fn list(
        &self,
        directory: &Directory,
        paused: &[(TargetId, Pause)],
        waiting: impl Fn(TargetId) -> u64,
    ) -> Vec<TargetHealth> {
        let mut all = self.0.lock();
        if directory.known {
            all.retain(|target, _| directory.target(*target).is_some());
        }
        let mut listed: Vec<_> = paused.iter().map(|(id, pause)| gone(*id, *pause)).collect();
        for (id, trouble) in all.iter().filter(|(_, trouble)| trouble.is_notable()) {
            if paused.iter().all(|(paused, _)| paused != id) {
                listed.push(trouble.shown(*id));
            }
        }
        drop(all);
        for health in &mut listed {
            if let Ok(id) = health.target_id.parse() {
                health.waiting = waiting(id);
                let known = directory.target(id);
                health.name = known.map_or_else(String::new, |target| target.name.clone());
            }
        }
        listed.sort_by_key(|health| {
            let badness = badness(health.state());
            (Reverse(badness), Reverse(health.waiting), health.since_ms)
        });
        listed.truncate(limits::UNWELL_TARGETS);
        listed
    }
}

impl Trouble {
    fn is_notable(&self) -> bool {
        self.failures >= FAILING_AFTER
            || self.breaker != TargetState::Failing
            || CERTAIN.contains(&self.code.as_str())
            || self.code.starts_with(SECRET)
    }

    fn shown(&self, target: TargetId) -> TargetHealth {
        TargetHealth {
            target_id: target.to_string(),
            state: self.breaker.into(),
            since_ms: self.since_ms,
            code: self.code.clone(),
            detail: self.detail.chars().take(DETAIL).collect(),
            ..TargetHealth::default()
        }
    }
}

/// Characters of a detail that a status carries.
const DETAIL: usize = 200;

fn gone(target: TargetId, pause: Pause) -> TargetHealth {
    TargetHealth {
        target_id: target.to_string(),
        state: TargetState::Paused.into(),
        since_ms: pause.since_ms,
        code: codes::TARGET_GONE.to_owned(),
        detail: "HTTP 410".to_owned(),
        ..TargetHealth::default()
    }
}

const fn shown(breaker: Breaker) -> TargetState {
    if breaker.is_probing() {
        TargetState::HalfOpen
    } else if breaker.is_open() {
        TargetState::Open
    } else {
        TargetState::Failing
    }
}

const fn badness(state: TargetState) -> u8 {
    match state {
        TargetState::Unspecified => 0,
        TargetState::Failing => 1,
        TargetState::HalfOpen => 2,
        TargetState::Open => 3,
        TargetState::Paused => 4,
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;
    use zen_proto::snapshot::v1 as snapshot;

    use super::*;

    fn id(number: u8) -> TargetId {
        TargetId::generate(1, [number; 10])
    }

    fn directory(targets: u8) -> Directory {
        let target = |number| snapshot::Target {
            id: id(number).to_string(),
            name: format!("t{number}"),
            ..snapshot::Target::default()
        };
        Directory::new(&snapshot::Snapshot {
            targets: (1..=targets).map(target).collect(),
            ..snapshot::Snapshot::default()
        })
    }

    fn attempt(at_ms: u64, code: &str) -> Attempt {
        Attempt {
            started_at_ms: at_ms,
            code: code.to_owned(),
            status: 503,
            ..Attempt::default()
        }
    }

    #[test]
    fn three_failures_in_a_row_are_trouble_and_a_success_ends_it() {
        let health = Health::default();
        for at_ms in [10, 20] {
            health.failed(
                id(1),
                &attempt(at_ms, codes::TARGET_ERROR),
                Breaker::default(),
            );
        }
        assert!(health.list(&directory(1), &[], |_| 7).is_empty());
        health.failed(id(1), &attempt(30, codes::TARGET_ERROR), Breaker::default());
        let listed = health.list(&directory(1), &[], |_| 7);
        assert_eq!(listed[0].since_ms, 10);
        assert_eq!(listed[0].state(), TargetState::Failing);
        let told = (&*listed[0].name, &*listed[0].detail, listed[0].waiting);
        assert_eq!(told, ("t1", "HTTP 503", 7));
        health.clear(id(1));
        assert!(health.list(&directory(1), &[], |_| 7).is_empty());
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_trouble_at_once_and_a_lost_body_is_none() {
        let health = Health::default();
        health.failed(id(1), &attempt(1, "SECRET_UNREADABLE"), Breaker::default());
        for _ in 0..9 {
            health.failed(
                id(2),
                &attempt(1, codes::BODY_UNREADABLE),
                Breaker::default(),
            );
        }
        let listed = health.list(&directory(2), &[], |_| 0);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].target_id, id(1).to_string());
    }

    #[test]
    fn the_worst_come_first_and_the_list_is_bounded() {
        let health = Health::default();
        for number in 1..=250 {
            health.failed(
                id(number),
                &attempt(1, codes::TARGET_INVALID),
                Breaker::default(),
            );
        }
        let pause = Pause {
            fingerprint: 1,
            since_ms: 5,
        };
        let waits = |target| if target == id(9) { 3 } else { 0 };
        let listed = health.list(&directory(250), &[(id(200), pause)], waits);
        assert_eq!(listed.len(), limits::UNWELL_TARGETS);
        assert_eq!(listed[0].state(), TargetState::Paused);
        assert_eq!(listed[1].target_id, id(9).to_string());
    }

    #[test]
    fn what_left_the_configuration_is_forgotten() {
        let health = Health::default();
        health.failed(
            id(3),
            &attempt(1, codes::TARGET_INVALID),
            Breaker::default(),
        );
        assert!(health.list(&directory(2), &[], |_| 0).is_empty());
        assert!(health.of(id(3)).is_none());
    }
}

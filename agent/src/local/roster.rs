//! The components next to the agent, by their latest status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;
use tokio::time::Instant;
use zen_proto::limits;
use zen_proto::session::v1::{ComponentStatus, TargetHealth, TargetState};

/// A component that was silent for this long is forgotten.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// Replicas that are remembered; beyond them the most silent one makes room.
const MOST: usize = 256;
/// Room a heartbeat leaves in its message for everything but statuses.
const MARGIN: usize = 64 * 1024;

/// Latest statuses. Clones are the same roster.
#[derive(Clone, Default)]
pub(crate) struct Roster(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// By component and instance.
    latest: Mutex<BTreeMap<(String, String), (Instant, ComponentStatus)>>,
    notable: Notify,
}

impl Roster {
    /// Takes a status in place of the one before.
    pub(crate) fn report(&self, status: ComponentStatus, now: Instant) {
        let key = (status.component.clone(), status.instance.clone());
        let mut latest = self.0.latest.lock();
        if latest.len() >= MOST && !latest.contains_key(&key) {
            let silent = latest
                .iter()
                .min_by_key(|(_, (at, _))| *at)
                .map(|(key, _)| key.clone());
            silent.map(|key| latest.remove(&key));
        }
        let notable = match latest.get(&key) {
            Some((_, before)) => {
                before.ready != status.ready
                    || before.advertised_address != status.advertised_address
                    || before.applied_revision != status.applied_revision
                    || unwell(before) != unwell(&status)
                    || before.links.len() != status.links.len()
                    || before.trusted_roots != status.trusted_roots
                    || before.certificate_root != status.certificate_root
            }
            None => true,
        };
        latest.insert(key, (now, status));
        drop(latest);
        if notable {
            self.0.notable.notify_one();
        }
    }

    /// The agent itself has something to tell.
    pub(crate) fn nudge(&self) {
        self.0.notable.notify_one();
    }

    /// Waits for a status whose readiness, address, configuration, roots, unwell targets or links are news. Dropping the wait loses nothing.
    pub(crate) async fn notable(&self) {
        self.0.notable.notified().await;
    }

    /// The latest statuses of those not silent, small enough for one heartbeat: counters of the
    /// largest make room first.
    pub(crate) fn latest(&self, now: Instant) -> Vec<ComponentStatus> {
        let mut latest = self.0.latest.lock();
        latest.retain(|_, (at, _)| now.duration_since(*at) < SILENCE);
        let statuses = latest.values().map(|(_, status)| status.clone()).collect();
        drop(latest);
        fitting(statuses, limits::SESSION_MESSAGE - MARGIN)
    }
}

/// Its targets that are not well, and whether they rest; a breaker's every turn is no news.
fn unwell(status: &ComponentStatus) -> BTreeSet<(&str, bool)> {
    let rests = |health: &TargetHealth| health.state() == TargetState::Paused;
    let targets = status.targets.iter();
    targets
        .map(|health| (&*health.target_id, rests(health)))
        .collect()
}

fn fitting(mut statuses: Vec<ComponentStatus>, room: usize) -> Vec<ComponentStatus> {
    let size = |status: &ComponentStatus| status.encoded_len() + 8;
    while statuses.iter().map(size).sum::<usize>() > room {
        let Some(largest) = statuses.iter_mut().max_by_key(|status| size(status)) else {
            break;
        };
        tracing::warn!(
            component = largest.component,
            instance = largest.instance,
            "status is too large for a heartbeat and loses its counters"
        );
        if largest.counters.is_empty() {
            let key = (largest.component.clone(), largest.instance.clone());
            statuses.retain(|s| (&s.component, &s.instance) != (&key.0, &key.1));
        } else {
            largest.counters = Vec::new();
        }
    }
    statuses
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use zen_proto::session::v1::FlowCounters;

    use super::*;

    fn status(instance: &str, ready: bool) -> ComponentStatus {
        ComponentStatus {
            component: "egress".to_owned(),
            instance: instance.to_owned(),
            ready,
            ..ComponentStatus::default()
        }
    }

    #[tokio::test]
    async fn the_silent_are_forgotten() {
        let roster = Roster::default();
        let start = Instant::now();
        roster.report(status("0", true), start);
        roster.report(status("1", true), start + SILENCE / 2);
        let seen = roster.latest(start + SILENCE);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].instance, "1");
    }

    #[tokio::test]
    async fn only_a_change_that_people_wait_for_is_notable() {
        let roster = Roster::default();
        let now = Instant::now();
        roster.report(status("0", false), now);
        assert!(
            roster.notable().now_or_never().is_some(),
            "a new one is notable"
        );
        roster.report(
            ComponentStatus {
                queue_depth: 7,
                ..status("0", false)
            },
            now,
        );
        assert!(roster.notable().now_or_never().is_none());
        roster.report(status("0", true), now);
        assert!(roster.notable().now_or_never().is_some());
        let moved = ComponentStatus {
            advertised_address: "a:1".to_owned(),
            ..status("0", true)
        };
        roster.report(moved, now);
        assert!(roster.notable().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_target_that_falls_ill_is_notable_and_its_breaker_s_turns_are_not() {
        let roster = Roster::default();
        let now = Instant::now();
        let with = |state: TargetState| ComponentStatus {
            targets: vec![TargetHealth {
                target_id: "tgt_1".to_owned(),
                state: state.into(),
                ..TargetHealth::default()
            }],
            ..status("0", true)
        };
        roster.report(status("0", true), now);
        assert!(roster.notable().now_or_never().is_some());
        roster.report(with(TargetState::Open), now);
        assert!(roster.notable().now_or_never().is_some());
        roster.report(with(TargetState::HalfOpen), now);
        assert!(roster.notable().now_or_never().is_none());
        roster.report(status("0", true), now);
        assert!(roster.notable().now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_roster_is_bounded() {
        let roster = Roster::default();
        let start = Instant::now();
        for number in 0..MOST + 10 {
            roster.report(
                status(&number.to_string(), true),
                start + Duration::from_millis(number as u64),
            );
        }
        let seen = roster.latest(start + Duration::from_secs(1));
        assert_eq!(seen.len(), MOST);
        assert!(
            seen.iter().all(|status| status.instance != "0"),
            "the oldest made room"
        );
    }

    #[test]
    fn counters_make_room_before_statuses_do() {
        let counters = vec![
            FlowCounters {
                flow_id: "f".repeat(100),
                ..Default::default()
            };
            100
        ];
        let large = ComponentStatus {
            counters,
            ..status("large", true)
        };
        let fitted = fitting(vec![status("0", true), large], 1_000);
        assert_eq!(fitted.len(), 2);
        assert!(fitted[1].counters.is_empty());
    }
}

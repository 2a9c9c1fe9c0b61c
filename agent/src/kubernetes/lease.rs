//! Who may act for the plane: whoever holds the Lease. What a record means is decided here, purely;
//! `keep` asks and tells the API server.

pub(crate) mod keep;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The Lease's name.
pub(crate) const NAME: &str = "zen-agent";
/// The holder stops acting this share of the duration before its time is over: clocks differ in
/// pace, and stopping takes a moment.
const MARGIN: u32 = 5;
/// A record that says nothing of its duration counts as this long.
const UNSAID: Duration = Duration::from_secs(15);

/// What stands in the Lease about its holder: as long as none of it changes, nobody renewed it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    spec: LeaseSpec,
}

/// A record with the version of the object it was in, and since when it stands there unchanged, by
/// this agent's own clock: the clock of the other is not believed.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) record: Record,
    /// Version, and labels and the like that others gave it.
    metadata: ObjectMeta,
    since: Instant,
}

/// What a record means for this agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is free, run out, or one's own: write one's name into it.
    Take,
    /// Another holds it, for at least so long.
    Wait(Duration),
    /// Another holds it, and this agent thought that it does.
    Lost,
}

impl Record {
    /// Whoever holds it.
    pub(crate) fn holder(&self) -> Option<&str> {
        let holder = self.spec.holder_identity.as_deref();
        holder.filter(|holder| !holder.is_empty())
    }

    fn duration(&self) -> Duration {
        let seconds = self.spec.lease_duration_seconds.unwrap_or_default();
        match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => UNSAID,
        }
    }

    /// The record with which `me` takes or renews the Lease.
    fn taken(&self, me: &str, duration: Duration, now: Timestamp) -> Self {
        let mine = self.holder() == Some(me);
        let transitions = self.spec.lease_transitions.unwrap_or_default();
        // Others see that it was renewed by the record's change, so it changes, whatever the clock
        // does.
        let renewed = match &self.spec.renew_time {
            Some(MicroTime(before)) if mine => {
                let later = *before + SignedDuration::from_micros(1);
                now.max(later)
            }
            _ => now,
        };
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        Self {
            spec: LeaseSpec {
                holder_identity: Some(me.to_owned()),
                lease_duration_seconds: i32::try_from(seconds).ok(),
                acquire_time: match &self.spec.acquire_time {
                    Some(time) if mine => Some(time.clone()),
                    _ => Some(MicroTime(now)),
                },
                renew_time: Some(MicroTime(renewed)),
                lease_transitions: Some(if mine {
                    transitions
                } else {
                    transitions.saturating_add(1)
                }),
                ..self.spec.clone()
            },
        }
    }

    /// The record that leaves the Lease to whoever comes.
    fn released(&self, now: Timestamp) -> Self {
        Self {
            spec: LeaseSpec {
                holder_identity: None,
                acquire_time: None,
                renew_time: Some(MicroTime(now)),
                ..self.spec.clone()
            },
        }
    }
}

impl Observed {
    /// What was read now, after what was known before.
    pub(crate) fn next(before: Option<&Self>, read: Lease, now: Instant) -> Self {
        let record = Record {
            spec: read.spec.unwrap_or_default(),
        };
        let since = match before {
            Some(before) if before.record == record => before.since,
            _ => now,
        };
        let metadata = ObjectMeta {
            // The server keeps its own account of who wrote what.
            managed_fields: None,
            ..read.metadata
        };
        Self {
            record,
            metadata,
            since,
        }
    }

    fn to_lease(&self, record: Record) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                ..self.metadata.clone()
            },
            spec: Some(record.spec),
        }
    }

    /// What it means for `me`, who holds the Lease or not.
    pub(crate) fn step(&self, me: &str, holds: bool, now: Instant) -> Step {
        match self.record.holder() {
            None => Step::Take,
            Some(holder) if holder == me => Step::Take,
            Some(_) if holds => Step::Lost,
            Some(_) => {
                let unchanged = now.saturating_duration_since(self.since);
                match self.record.duration().checked_sub(unchanged) {
                    Some(left) if !left.is_zero() => Step::Wait(left),
                    _ => Step::Take,
                }
            }
        }
    }
}

/// Until when a holder may act that began at `asked` to write what was accepted.
pub(crate) fn acts_until(asked: Instant, duration: Duration) -> Instant {
    asked + duration - duration / MARGIN
}

#[cfg(test)]
#[path = "lease/tests.rs"]
mod tests;

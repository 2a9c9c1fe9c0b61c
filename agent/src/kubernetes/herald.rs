//! Events on the agent's own pod, so that `kubectl describe pod` tells what the log tells. They
//! are a courtesy: few, never waited for, and one that cannot be written is no fault.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use tokio::sync::mpsc;
use tokio::time::Instant;
use zen_chassis::{Clock, Random};

use super::api::{Api, Thing};
use super::stamp;

/// Events that wait to be written; more are dropped.
const QUEUE: usize = 16;
/// The same Event is not told again for this long.
const AGAIN: Duration = Duration::from_secs(600);
/// Events at once after a quiet time.
const BURST: u32 = 12;
/// Time after which one more may be told.
const REFILL: Duration = Duration::from_secs(30);
/// Time for one Event, with tries.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest note, bytes, that the API takes.
const NOTE: usize = 1000;

/// One Event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Notice {
    /// A stable code, or `Enrolled`, `Connected`, `Retired`.
    reason: String,
    note: String,
    warning: bool,
}

/// Takes Events; never blocks. Clones are the same.
#[derive(Clone)]
pub(crate) struct Herald(Option<mpsc::Sender<Notice>>);

impl Herald {
    /// One that tells nobody.
    pub(crate) const fn silent() -> Self {
        Self(None)
    }

    /// One whose Events a [`Writer`] takes.
    pub(crate) fn new() -> (Self, Queue) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self(Some(sender)), Queue(queue))
    }

    /// That all is as it should be.
    pub(crate) fn tell(&self, reason: &str, note: &str) {
        self.put(reason, note, false);
    }

    /// That somebody should look.
    pub(crate) fn warn(&self, reason: &str, note: &str) {
        self.put(reason, note, true);
    }

    fn put(&self, reason: &str, note: &str, warning: bool) {
        let Some(queue) = &self.0 else {
            return;
        };
        let notice = Notice {
            reason: reason.to_owned(),
            note: note.to_owned(),
            warning,
        };
        if let Err(error) = queue.try_send(notice) {
            tracing::debug!(%error, "Event dropped");
        }
    }
}

/// What a [`Writer`] has to write.
pub(crate) struct Queue(mpsc::Receiver<Notice>);

/// Writes Events.
pub(crate) struct Writer {
    pub(crate) api: Api,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) pod_name: String,
    pub(crate) pod_uid: Option<String>,
}

impl Writer {
    /// Writes until nobody tells anything any more.
    pub(crate) async fn run(self, mut queue: Queue) {
        let mut measure = Measure::new(Instant::now());
        while let Some(notice) = queue.0.recv().await {
            if !measure.admits(&notice, Instant::now()) {
                tracing::debug!(reason = notice.reason, "Event left out");
                continue;
            }
            let event = self.event(&notice);
            let events = Thing::events();
            let request = || self.api.create(&events, &event);
            if let Err(fault) = self.api.persist(LIMIT, request).await {
                tracing::debug!(%fault, reason = notice.reason, "Event not written");
            }
        }
    }

    fn event(&self, notice: &Notice) -> Event {
        let namespace = self.api.namespace().to_owned();
        let unique = hex::encode(self.random.bytes::<8>());
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{unique}", self.pod_name)),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(self.pod_name.clone()),
                namespace: Some(namespace),
                uid: self.pod_uid.clone(),
                ..ObjectReference::default()
            }),
            action: Some("Enrollment".to_owned()),
            reason: Some(notice.reason.clone()),
            note: Some(short(&notice.note)),
            type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(stamp(&self.clock))),
            reporting_controller: Some("zen-mesh.io/zen-agent".to_owned()),
            reporting_instance: Some(self.pod_name.chars().take(128).collect()),
            ..Event::default()
        }
    }
}

fn short(note: &str) -> String {
    let mut end = note.len().min(NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note[..end].to_owned()
}

/// Says which Events are too many.
struct Measure {
    told: VecDeque<(Notice, Instant)>,
    left: u32,
    refilled: Instant,
}

impl Measure {
    const fn new(now: Instant) -> Self {
        Self {
            told: VecDeque::new(),
            left: BURST,
            refilled: now,
        }
    }

    fn admits(&mut self, notice: &Notice, now: Instant) -> bool {
        while self.left < BURST && now.duration_since(self.refilled) >= REFILL {
            self.left += 1;
            self.refilled += REFILL;
        }
        if self.left == BURST {
            self.refilled = now;
        }
        self.told
            .retain(|(_, when)| now.duration_since(*when) < AGAIN);
        if self.left == 0 || self.told.iter().any(|(told, _)| told == notice) {
            return false;
        }
        self.left -= 1;
        self.told.push_back((notice.clone(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(note: usize) -> Notice {
        Notice {
            reason: "BUNDLE_EXPIRED".to_owned(),
            note: note.to_string(),
            warning: true,
        }
    }

    #[test]
    fn the_same_event_is_told_once_in_a_while_and_many_are_few() {
        let start = Instant::now();
        let mut measure = Measure::new(start);
        assert!(measure.admits(&notice(0), start));
        assert!(!measure.admits(&notice(0), start + AGAIN / 2));
        assert!(measure.admits(&notice(0), start + AGAIN));

        let mut measure = Measure::new(start);
        // One a second for an hour.
        let told = (0..3600)
            .filter(|second| {
                measure.admits(
                    &notice(*second),
                    start + Duration::from_secs(*second as u64),
                )
            })
            .count();
        let most = BURST as usize + 3600 / REFILL.as_secs() as usize;
        assert!((100..=most).contains(&told), "{told}");
        assert!(measure.told.len() <= most);
    }

    #[test]
    fn a_long_note_is_cut_between_letters() {
        assert_eq!(short(&"ä".repeat(NOTE)).len(), NOTE);
        assert!(short(&format!("x{}", "ä".repeat(NOTE))).len() < NOTE);
        assert_eq!(short("as it is"), "as it is");
    }
}

//! The steps of a plane's enrolment, read from its log. Pure.

use crate::dashboard::moment::{Moment, When};
use crate::dashboard::plane::refusals::Refusal;
use crate::manage::{EventView, PlaneView};

/// A step of the enrolment.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    /// The style's class: done, next, or to come.
    pub(super) class: &'static str,
    pub(super) at: Option<When>,
    /// What stands beside the time, or instead of it.
    pub(super) note: String,
    pub(super) until: Option<When>,
}

/// How far the plane has come.
pub(super) struct Enrolment {
    pub(super) steps: Vec<Step>,
    /// Whether a bundle was redeemed.
    pub(super) redeemed: bool,
}

/// What a person who has just pasted the command waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For the agent to redeem the newest bundle, or to open its session.
    Agent,
    /// For nothing: the plane is connected.
    Connected,
    /// The last try was refused: code and remedy.
    Refused(String, String),
}

impl Waiting {
    /// Whether the last try was refused.
    pub(super) const fn refused(&self) -> Option<(&String, &String)> {
        match self {
            Self::Refused(code, remedy) => Some((code, remedy)),
            Self::Agent | Self::Connected => None,
        }
    }

    /// Whether the plane is connected.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Connected)
    }
}

/// The place in the log of the enrolment that counts: the bundle that was redeemed last, or the
/// newest one if none was.
fn beginning(log: &[EventView]) -> Option<usize> {
    let redeemed = log
        .iter()
        .rposition(|event| event.kind == "bundle_redeemed");
    let before = &log[..redeemed.unwrap_or(log.len())];
    before
        .iter()
        .rposition(|event| event.kind == "bundle_issued")
}

/// The steps, in order. `ca_ends` is when the plane CA ends.
pub(super) fn steps(
    plane: &PlaneView,
    log: &[EventView],
    ca_ends: Option<Moment>,
    now: Moment,
) -> Enrolment {
    let begun = beginning(log);
    // The log is bounded: an old enrolment may have left it.
    let since = begun.map_or(log, |at| &log[at..]);
    let first = |kind: &str| since.iter().find(|event| event.kind == kind);
    let last = |kind: &str| since.iter().rfind(|event| event.kind == kind);
    let redeemed_at = first("bundle_redeemed").map(|event| event.at.as_str());
    let redeemed_at = redeemed_at.or(plane.enrolled_at.as_deref());
    let certificate = last("certificate_renewed").or_else(|| last("certificate_issued"));
    let heartbeat = first("first_heartbeat").map(|event| event.at.as_str());
    let heartbeat = heartbeat.or_else(|| {
        plane
            .last_heartbeat_at
            .as_deref()
            .filter(|_| begun.is_none())
    });
    let issued = since.first().filter(|_| begun.is_some());
    let version = plane
        .agent_version
        .as_deref()
        .filter(|_| redeemed_at.is_some());
    let mut steps = vec![
        step("Bundle issued", issued.map(|e| e.at.as_str()), now).note(issued.and_then(by)),
        step("Redeemed", redeemed_at, now).note(version.map(|version| format!("agent {version}"))),
        step("Certificate", certificate.map(|e| e.at.as_str()), now).until(ca_ends),
        step("First heartbeat", heartbeat, now),
        step(
            "First event",
            first("first_event").map(|e| e.at.as_str()),
            now,
        ),
    ];
    let redeemed = redeemed_at.is_some();
    if begun.is_none() && redeemed {
        steps[0].class = "done";
        steps[0].note = "no longer in the log".to_owned();
    }
    if let Some(next) = steps.iter_mut().find(|step| step.class == "todo") {
        next.class = "now";
        next.note = "waiting".to_owned();
    }
    Enrolment { steps, redeemed }
}

fn step(name: &'static str, at: Option<&str>, now: Moment) -> Step {
    let at = at.and_then(Moment::parse);
    Step {
        name,
        class: if at.is_some() { "done" } else { "todo" },
        at: at.map(|at| at.at(now)),
        note: String::new(),
        until: None,
    }
}

impl Step {
    fn note(mut self, note: Option<String>) -> Self {
        self.note = note.unwrap_or_default();
        self
    }

    fn until(mut self, end: Option<Moment>) -> Self {
        self.until = end.filter(|_| self.at.is_some()).map(Moment::day);
        self
    }
}

/// Who issued the bundle, from the entry's words.
fn by(event: &EventView) -> Option<String> {
    let (_, by) = event.detail.split_once(" s by ")?;
    Some(format!("by {by}"))
}

/// What is waited for after the install command was pasted.
pub(super) fn waiting(plane: &PlaneView, log: &[EventView], refusals: &[Refusal]) -> Waiting {
    let place = |kind: &str| log.iter().rposition(|event| event.kind == kind);
    let pending = place("bundle_issued") > place("bundle_redeemed");
    let refused = refusals.first().filter(|refusal| !refusal.alert);
    match (plane.status, refused) {
        (_, Some(refusal)) => Waiting::Refused(refusal.code.clone(), refusal.remedy.clone()),
        ("connected" | "degraded", None) if !pending => Waiting::Connected,
        _ => Waiting::Agent,
    }
}

//! A plane's state in the words of pages: what it is called, what it means, what to do.

use super::moment::{Moment, When};
use super::parts::{Pill, Tone};
use crate::manage::PlaneView;

/// A state, told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) pill: Pill,
    /// What it means, for a line in a list; may be empty.
    pub(crate) short: String,
    /// When it was last heard of, where that matters.
    pub(crate) heard: Option<When>,
    /// What it means, in full.
    pub(crate) meaning: String,
    /// What to do about it; empty if there is nothing to do.
    pub(crate) remedy: &'static str,
}

/// Every state with its pill and the words of the filter, in the order of the overview.
pub(crate) const STATES: [(&str, Pill); 5] = [
    ("connected", Pill::new(Tone::Ok, "Connected")),
    ("degraded", Pill::new(Tone::Warn, "Degraded")),
    ("not_connected", Pill::new(Tone::Bad, "Not connected")),
    ("never_enrolled", Pill::new(Tone::Idle, "Never enrolled")),
    ("retired", Pill::new(Tone::Idle, "Retired")),
];

/// The pill of a state's word.
pub(crate) fn pill(status: &str) -> Pill {
    let known = STATES.iter().find(|(word, _)| *word == status);
    known.map_or(Pill::new(Tone::Idle, "Unknown"), |(_, pill)| *pill)
}

/// Tells a plane's state.
pub(crate) fn told(plane: &PlaneView, now: Moment) -> Told {
    let heard = plane.last_heartbeat_at.as_deref().and_then(Moment::parse);
    let (short, meaning, remedy) = match plane.status {
        "connected" => ("", String::new(), ""),
        "degraded" => (
            plane.status_detail.as_str(),
            format!("It is connected, but: {}.", plane.status_detail),
            "Look at the components below: what is pending there is what is missing.",
        ),
        "not_connected" => (
            "",
            "Its agent has no session. The plane goes on delivering with the configuration that it \
             has; what you change here waits for it."
                .to_owned(),
            "Check that zen-agent runs and may reach the control plane outbound; its log and its \
             /readyz say what is missing.",
        ),
        "never_enrolled" => (
            "",
            "No agent has redeemed a bundle of this plane.".to_owned(),
            "Get the install command and run it where the plane shall live.",
        ),
        "retired" => (
            "",
            "It was taken out of service for good; its certificates are worth nothing any more."
                .to_owned(),
            "On its cluster the agent removes its own Secrets and stops. Remove the rest with helm \
             uninstall zen-mesh -n zen-mesh (or the plane's own namespace). Create a new plane if you \
             need one here.",
        ),
        _ => ("", String::new(), ""),
    };
    let tells_time = matches!(plane.status, "connected" | "not_connected");
    Told {
        pill: pill(plane.status),
        short: short.to_owned(),
        heard: heard.filter(|_| tells_time).map(|at| at.ago(now)),
        meaning,
        remedy,
    }
}

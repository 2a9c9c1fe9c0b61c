//! The way of an event through a plane, probed while somebody looks: at most once in 30 seconds,
//! however many look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use zen_chassis::clock::millis;

use crate::control::Control;
use crate::dashboard::moment::{Moment, When};
use crate::manage::{HopView, PlaneView, ProbeView};
use crate::principal::Principal;
use crate::problem::Problem;

/// Pause between two probes of a plane.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// Planes whose last probe is remembered.
const REMEMBERED: usize = 1024;
/// Ways of a plane that are shown.
const SHOWN: usize = 12;

/// The last probe of each plane that somebody looked at, by tenant and plane. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Probes(Arc<Mutex<HashMap<(String, String), Probed>>>);

#[derive(Clone)]
struct Probed {
    /// Unix milliseconds.
    at: u64,
    /// None while the first probe is under way.
    outcome: Option<Result<ProbeView, Problem>>,
}

/// Hops that follow each other.
pub(super) struct Way {
    pub(super) stops: Vec<Stop>,
}

/// A place on the way, and how it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) name: String,
    /// How long it took, or what is wrong; empty at the beginning of a way.
    pub(super) note: String,
    pub(super) bad: bool,
    pub(super) code: Option<String>,
    pub(super) address: Option<String>,
}

/// What is known of a plane's ways.
pub(super) struct Looked {
    pub(super) ways: Vec<Way>,
    pub(super) at: Option<When>,
    /// Why there is nothing to show; empty if there is.
    pub(super) note: String,
}

impl Probes {
    /// The plane's ways as last probed. If that is too long ago, a probe is begun in the background:
    /// its outcome shows at the next look.
    pub(super) fn look(
        &self,
        control: &Arc<Control>,
        caller: &Principal,
        plane: &PlaneView,
        names: &HashMap<String, String>,
        now: Moment,
    ) -> Looked {
        if !matches!(plane.status, "connected" | "degraded") {
            return Looked::nothing("It is probed as soon as the plane is connected.");
        }
        let key = (caller.tenant.to_string(), plane.id.clone());
        let last = self.last(&key, now);
        if last.is_none() {
            self.probe(control, caller, plane, key.clone());
        }
        let known = self.0.lock().get(&key).cloned();
        match known.and_then(|probed| probed.outcome) {
            None => Looked::nothing("Probing."),
            Some(Err(problem)) => Looked::nothing(&format!(
                "The plane could not be probed: {}.",
                problem.detail.trim_end_matches('.')
            )),
            Some(Ok(view)) => Looked {
                ways: worst_first(ways(&view.hops, names, now)),
                at: Moment::parse(&view.at).map(|at| at.ago(now)),
                note: String::new(),
            },
        }
    }

    /// The last probe, if it is not too old.
    fn last(&self, key: &(String, String), now: Moment) -> Option<u64> {
        let all = self.0.lock();
        let at = all.get(key).map(|probed| probed.at);
        at.filter(|at| now.0.saturating_sub(*at) < millis(PROBE_EVERY))
    }

    fn probe(
        &self,
        control: &Arc<Control>,
        caller: &Principal,
        plane: &PlaneView,
        key: (String, String),
    ) {
        let Ok(id) = plane.id.parse() else { return };
        let at = control.stage.clock.unix_ms();
        {
            let mut all = self.0.lock();
            if all.len() >= REMEMBERED && !all.contains_key(&key) {
                let oldest = all.iter().min_by_key(|(_, probed)| probed.at);
                let oldest = oldest.map(|(key, _)| key.clone());
                if let Some(key) = oldest {
                    all.remove(&key);
                }
            }
            let outcome = all.get(&key).and_then(|probed| probed.outcome.clone());
            all.insert(key.clone(), Probed { at, outcome });
        }
        let (probes, caller) = (self.clone(), caller.clone());
        let owned = Arc::clone(control);
        let _runs_on = control.stage.tasks.spawn_side("probe", async move {
            let outcome = Some(owned.probe_plane(&caller, id).await);
            let mut all = probes.0.lock();
            if let Some(probed) = all.get_mut(&key) {
                probed.outcome = outcome;
            }
        });
    }
}

impl Looked {
    fn nothing(note: &str) -> Self {
        Self {
            ways: Vec::new(),
            at: None,
            note: note.to_owned(),
        }
    }
}

/// Puts hops together that follow each other: each way begins where no other hop leads, and forks
/// are ways of their own.
fn ways(hops: &[HopView], names: &HashMap<String, String>, now: Moment) -> Vec<Way> {
    let kind = |place: &str| place.split('/').next().unwrap_or(place).to_owned();
    let leads_to = |place: &str| hops.iter().any(|hop| hop.to == kind(place));
    let mut starts: Vec<&str> = Vec::new();
    for hop in hops {
        if !leads_to(&hop.from) && !starts.contains(&hop.from.as_str()) {
            starts.push(&hop.from);
        }
    }
    let mut found = Vec::new();
    for start in starts {
        let first = Stop {
            name: place(start),
            note: String::new(),
            bad: false,
            code: None,
            address: None,
        };
        follow(hops, start, vec![first], names, now, &mut found);
    }
    found
}

/// As many ways as one can look at, those that fail first.
fn worst_first(mut ways: Vec<Way>) -> Vec<Way> {
    ways.sort_by_key(|way| !way.stops.iter().any(|stop| stop.bad));
    ways.truncate(SHOWN);
    ways
}

/// Follows the hops on from a place; bounded, since no way passes a kind of place twice.
fn follow(
    hops: &[HopView],
    from: &str,
    stops: Vec<Stop>,
    names: &HashMap<String, String>,
    now: Moment,
    found: &mut Vec<Way>,
) {
    let kind = |place: &str| place.split('/').next().unwrap_or(place).to_owned();
    let on: Vec<&HopView> = hops
        .iter()
        .filter(|hop| hop.from == from || kind(&hop.from) == from)
        .collect();
    if on.is_empty() || stops.len() > 6 {
        found.push(Way { stops });
        return;
    }
    for hop in on {
        let mut further = stops.clone();
        further.push(stop(hop, names, now));
        if hop.code.is_some() || kind(from) == hop.to {
            found.push(Way { stops: further });
        } else {
            follow(hops, &hop.to, further, names, now, found);
        }
    }
}

fn stop(hop: &HopView, names: &HashMap<String, String>, now: Moment) -> Stop {
    let target = hop.target_id.as_ref();
    let named = target.map(|id| names.get(id).unwrap_or(id).clone());
    let since = hop.since.as_deref().and_then(Moment::parse);
    let since = since.map(|at| format!(", since {}", at.relative(now).trim_end_matches(" ago")));
    let note = match (&hop.code, hop.rtt_ms) {
        (Some(code), _) => {
            let wrong = hop.detail.as_ref().unwrap_or(code);
            format!("{wrong}{}", since.unwrap_or_default())
        }
        (None, Some(ms)) if ms < 10.0 => format!("{ms:.1} ms"),
        (None, Some(ms)) => format!("{ms:.0} ms"),
        (None, None) => "reached".to_owned(),
    };
    Stop {
        name: named.unwrap_or_else(|| place(&hop.to)),
        note,
        bad: hop.code.is_some(),
        code: hop.code.clone(),
        address: hop.address.clone(),
    }
}

/// A place in the product's words.
fn place(name: &str) -> String {
    match name.split_once('/').unwrap_or((name, "")) {
        ("control-plane", _) => "control plane".to_owned(),
        (component, "" | "0") => format!("zen-{component}"),
        (component, instance) => format!("zen-{component} {instance}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(from: &str, to: &str, target: Option<&str>, code: Option<&str>) -> HopView {
        HopView {
            from: from.to_owned(),
            to: to.to_owned(),
            target_id: target.map(str::to_owned),
            address: None,
            rtt_ms: code.is_none().then_some(2.0),
            code: code.map(str::to_owned),
            detail: code.map(|_| "connection refused".to_owned()),
            since: None,
        }
    }

    #[test]
    fn hops_become_ways_that_fork_at_the_targets() {
        let hops = [
            hop("control-plane", "agent", None, None),
            hop("ingester/0", "egress", None, None),
            hop("egress/0", "target", Some("tgt_1"), None),
            hop("egress/0", "target", Some("tgt_2"), Some("CONNECT")),
        ];
        let names = HashMap::from([("tgt_1".to_owned(), "billing".to_owned())]);
        let told: Vec<String> = ways(&hops, &names, Moment(0))
            .iter()
            .map(|way| {
                let names: Vec<_> = way.stops.iter().map(|stop| stop.name.as_str()).collect();
                names.join(" > ")
            })
            .collect();
        assert_eq!(
            told,
            [
                "control plane > zen-agent",
                "zen-ingester > zen-egress > billing",
                "zen-ingester > zen-egress > tgt_2",
            ]
        );
    }

    #[test]
    fn hops_in_a_circle_come_to_an_end() {
        let hops = [
            hop("egress/0", "bridge", None, None),
            hop("bridge/0", "egress", None, None),
        ];
        assert!(ways(&hops, &HashMap::new(), Moment(0)).len() < 10);
    }
}

//! What was refused at a plane's door and still matters, told with its remedy. Pure.

use zen_proto::codes::RefusalCode;

use crate::dashboard::moment::{Moment, When};
use crate::manage::EventView;

/// How long an alert stays in sight, milliseconds.
const ALERT: u64 = 7 * 24 * 60 * 60 * 1000;

/// A refusal, told.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: String,
    /// What happened, a heading.
    pub(super) title: &'static str,
    /// What it means.
    pub(super) meaning: &'static str,
    /// What to do, a sentence.
    pub(super) remedy: String,
    pub(super) detail: String,
    /// Who tried: address, without the port.
    pub(super) from: String,
    pub(super) fingerprint: Option<String>,
    pub(super) at: When,
    pub(super) times: u64,
    /// Somebody else tried: more than a mistake.
    pub(super) alert: bool,
}

/// The refusals that nothing has made good since, one a code, the newest first.
pub(super) fn of(log: &[EventView], now: Moment) -> Vec<Refusal> {
    let good = ["bundle_issued", "bundle_redeemed", "certificate_issued"];
    let solved = log.iter().rposition(|event| good.contains(&event.kind));
    let mut found: Vec<Refusal> = Vec::new();
    for (place, event) in log.iter().enumerate().rev() {
        let Some(code) = event.code.as_deref().filter(|_| event.kind == "refused") else {
            continue;
        };
        let at = Moment::parse(&event.last_at).unwrap_or(now);
        let alert = code == RefusalCode::BundleAlreadyUsed.code();
        let open = solved.is_none_or(|solved| place > solved);
        let fresh = alert && now.0.saturating_sub(at.0) <= ALERT;
        if !(open || fresh) || found.iter().any(|refusal| refusal.code == code) {
            continue;
        }
        found.push(refusal(event, code, at, alert, now));
    }
    found
}

fn refusal(event: &EventView, code: &str, at: Moment, alert: bool, now: Moment) -> Refusal {
    let known = code.parse::<RefusalCode>().ok();
    let (title, meaning) = known.map_or(("An agent was refused", ""), told);
    let address = event
        .remote_address
        .as_deref()
        .unwrap_or("an unknown address");
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, _port)| host);
    Refusal {
        code: code.to_owned(),
        title,
        meaning,
        remedy: known.map_or_else(String::new, |code| sentence(code.remedy())),
        detail: event.detail.clone(),
        from: host.trim_matches(['[', ']']).to_owned(),
        fingerprint: event.key_fingerprint.clone(),
        at: at.at(now),
        times: event.times,
        alert,
    }
}

/// A code's heading and meaning.
fn told(code: RefusalCode) -> (&'static str, &'static str) {
    match code {
        RefusalCode::BundleExpired => (
            "An agent came with a bundle that has expired",
            "Bundles are good for a short time only. Nothing was let in.",
        ),
        RefusalCode::BundleAlreadyUsed => (
            "Somebody else tried to use this plane's bundle",
            "It had been redeemed before, by another key. It was refused: nothing was exposed, and \
             the plane itself is not affected. If that was not you, the bundle leaked.",
        ),
        RefusalCode::BundleSuperseded => (
            "An agent came with a bundle that was replaced",
            "A newer install command makes every earlier one worthless. Nothing was let in.",
        ),
        RefusalCode::BundleUnreadable => (
            "An agent came with a bundle that cannot be read",
            "The bundle is damaged or does not belong to its identity. Nothing was let in.",
        ),
        RefusalCode::PlaneMismatch => (
            "An agent of another plane came with this plane's bundle",
            "A bundle is good for its own plane only. Nothing was let in.",
        ),
        RefusalCode::PlaneRetired => (
            "An agent of this retired plane asked to be let in",
            "A retired plane stays out for good.",
        ),
        RefusalCode::ControlPlaneUnreachable => (
            "The agent could not reach the control plane",
            "It keeps trying.",
        ),
        RefusalCode::ControlPlaneUntrusted => (
            "The agent did not trust who answered",
            "What answered is not the control plane that issued the bundle.",
        ),
        RefusalCode::ClockSkew => (
            "The agent's clock is wrong",
            "Its time is too far from the control plane's for certificates to be judged.",
        ),
    }
}

/// The remedy as a sentence of its own.
fn sentence(remedy: &str) -> String {
    let mut letters = remedy.chars();
    let first = letters.next().map(char::to_uppercase);
    let text: String = first.into_iter().flatten().chain(letters).collect();
    format!("{text}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str, code: Option<&str>, at: u64) -> EventView {
        EventView {
            at: Moment(at).iso(),
            last_at: Moment(at).iso(),
            times: 1,
            kind,
            code: code.map(str::to_owned),
            detail: String::new(),
            remote_address: Some("198.51.100.7:4711".to_owned()),
            key_fingerprint: None,
        }
    }

    #[test]
    fn every_code_is_told_with_its_remedy_and_who_tried() {
        for code in RefusalCode::ALL {
            let log = [
                event("bundle_issued", None, 1_000),
                event("refused", Some(code.code()), 2_000),
            ];
            let found = of(&log, Moment(3_000));
            assert_eq!(found.len(), 1, "{code}");
            assert_eq!(found[0].from, "198.51.100.7");
            assert!(
                !found[0].remedy.is_empty() && !found[0].meaning.is_empty(),
                "{code}"
            );
        }
    }

    #[test]
    fn a_refusal_is_out_of_sight_once_it_was_made_good_but_an_alert_stays_a_week() {
        let log = [
            event("refused", Some("BUNDLE_EXPIRED"), 1_000),
            event("refused", Some("BUNDLE_ALREADY_USED"), 2_000),
            event("bundle_issued", None, 3_000),
        ];
        let codes = |now| -> Vec<String> {
            of(&log, Moment(now))
                .into_iter()
                .map(|refusal| refusal.code)
                .collect()
        };
        assert_eq!(codes(4_000), ["BUNDLE_ALREADY_USED"]);
        assert!(codes(2_001 + ALERT).is_empty());
    }
}

//! What a session remembers of the heartbeats before, so that only what is new is written down.
//! Pure; the session writes.

use std::collections::{BTreeMap, HashMap};

use url::Url;
use zen_chassis::net::Address;
use zen_proto::component::Component;
use zen_proto::ids::{EndpointId, FlowId, TargetId};
use zen_proto::limits;
use zen_proto::session::v1::ComponentStatus;

use crate::lock;
use crate::plane::PlaneKind;
use crate::store::{CountKey, Counts};

/// Counts remembered for one plane at the most; what is beyond is not kept.
const COUNTS: usize = 50_000;
/// Components and instances of one plane at the most.
const COMPONENTS: usize = 256;
/// Longest text of a component that is kept.
const TEXT: usize = 512;
/// Reasons of one component at the most.
const PENDING: usize = 16;
/// Roots that one component trusts, at the most.
const ROOTS: usize = 16;
/// Peers of one component that are not reached, at the most.
const LINKS: usize = 16;

/// What was said before.
#[derive(Default)]
pub(super) struct Notes {
    counts: HashMap<CountKey, Counts>,
    boots: HashMap<(String, String), String>,
    /// It was told that the plane had its first event.
    had_event: bool,
}

/// A component that began anew.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Restarted {
    pub(super) component: String,
    pub(super) instance: String,
    pub(super) boot_id: String,
}

/// Cuts what a plane says of its components to what is kept: known components, bounded texts.
pub(super) fn bounded(components: Vec<ComponentStatus>) -> Vec<ComponentStatus> {
    let known = components
        .into_iter()
        .filter(|said| said.component.parse::<Component>().is_ok());
    known
        .take(COMPONENTS)
        .map(|mut said| {
            for text in [&mut said.instance, &mut said.version, &mut said.boot_id] {
                cut(text);
            }
            said.pending.truncate(PENDING);
            said.trusted_roots.truncate(ROOTS);
            said.pending.iter_mut().for_each(cut);
            said.targets.truncate(limits::UNWELL_TARGETS);
            said.targets
                .retain(|health| health.target_id.parse::<TargetId>().is_ok());
            for health in &mut said.targets {
                for text in [&mut health.code, &mut health.detail, &mut health.name] {
                    cut(text);
                }
            }
            said.links.truncate(LINKS);
            for link in &mut said.links {
                for text in [&mut link.to, &mut link.address, &mut link.detail] {
                    cut(text);
                }
            }
            lock::bound(&mut said);
            said
        })
        .collect()
}

fn cut(text: &mut String) {
    if let Some((place, _)) = text.char_indices().nth(TEXT) {
        text.truncate(place);
    }
}

/// Where instances of the component say they are reached, by instance; what is no address is left
/// out. Only data planes have bridges.
pub(super) fn addresses(
    kind: PlaneKind,
    component: Component,
    said: &[ComponentStatus],
) -> BTreeMap<String, String> {
    let is_one = |text: &str| match component {
        Component::Bridge => kind == PlaneKind::Data && matches!(text.parse(), Ok(Address::Tcp(_))),
        Component::Ingester => Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()),
        Component::Agent | Component::Egress | Component::Lock => false,
    };
    said.iter()
        .filter(|status| status.component == component.as_str())
        .filter(|status| status.advertised_address.len() <= TEXT)
        .filter(|status| is_one(&status.advertised_address))
        .map(|status| (status.instance.clone(), status.advertised_address.clone()))
        .collect()
}

impl Notes {
    /// The components that began anew since they were last heard of, or since the session began.
    pub(super) fn restarted(&mut self, said: &[ComponentStatus]) -> Vec<Restarted> {
        let mut found = Vec::new();
        for status in said {
            let ComponentStatus {
                component,
                instance,
                boot_id,
                ..
            } = status;
            let key = (component.clone(), instance.clone());
            if boot_id.is_empty() || self.boots.get(&key) == Some(boot_id) {
                continue;
            }
            self.boots.insert(key, boot_id.clone());
            self.counts
                .retain(|count, _| (&count.component, &count.instance) != (component, instance));
            found.push(Restarted {
                component: component.clone(),
                instance: instance.clone(),
                boot_id: boot_id.clone(),
            });
        }
        found
    }

    /// The counts that are not as they were.
    pub(super) fn counted(&mut self, said: &[ComponentStatus]) -> Vec<(CountKey, Counts)> {
        let mut changed = Vec::new();
        for status in said.iter().filter(|status| !status.boot_id.is_empty()) {
            for counters in &status.counters {
                let of_flow = counters.flow_id.parse::<FlowId>().is_ok();
                let of_endpoint = counters.endpoint_id.parse::<EndpointId>().is_ok();
                let empty = (counters.flow_id.is_empty(), counters.endpoint_id.is_empty());
                if !(of_flow || empty.0) || !(of_endpoint || empty.1) || empty == (true, true) {
                    continue;
                }
                let key = CountKey {
                    component: status.component.clone(),
                    instance: status.instance.clone(),
                    boot_id: status.boot_id.clone(),
                    flow_id: counters.flow_id.clone(),
                    endpoint_id: counters.endpoint_id.clone(),
                };
                let counts = Counts::from(counters);
                let known = self.counts.get(&key);
                if known == Some(&counts) || (known.is_none() && self.counts.len() >= COUNTS) {
                    continue;
                }
                self.counts.insert(key.clone(), counts);
                changed.push((key, counts));
            }
        }
        changed
    }

    /// Whether the plane has accepted or delivered something now; true once.
    pub(super) fn first_event(&mut self, said: &[ComponentStatus]) -> bool {
        let mut counters = said.iter().flat_map(|status| &status.counters);
        let news = !self.had_event && counters.any(|c| c.accepted > 0 || c.delivered > 0);
        self.had_event |= news;
        news
    }

    /// What was heard could not be written: it is news again.
    pub(super) fn forget(&mut self) {
        self.counts.clear();
        self.had_event = false;
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;
    use zen_proto::session::v1::FlowCounters;

    use super::*;

    fn status(component: &str, boot_id: &str, delivered: u64) -> ComponentStatus {
        let flow_id = FlowId::generate(1, [1; 10]).to_string();
        ComponentStatus {
            component: component.to_owned(),
            instance: "0".to_owned(),
            boot_id: boot_id.to_owned(),
            counters: vec![FlowCounters {
                flow_id,
                delivered,
                ..FlowCounters::default()
            }],
            ..ComponentStatus::default()
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut notes = Notes::default();
        assert_eq!(notes.counted(&[status("egress", "a", 1)]).len(), 1);
        assert_eq!(notes.counted(&[status("egress", "a", 1)]).len(), 0);
        assert_eq!(notes.counted(&[status("egress", "a", 2)]).len(), 1);
        assert_eq!(notes.counted(&[status("egress", "b", 2)]).len(), 1);
    }

    #[test]
    fn the_first_event_is_told_once() {
        let mut notes = Notes::default();
        assert!(!notes.first_event(&[status("egress", "a", 0)]));
        assert!(notes.first_event(&[status("egress", "a", 1)]));
        assert!(!notes.first_event(&[status("egress", "a", 2)]));
        notes.forget();
        assert!(notes.first_event(&[status("egress", "a", 2)]));
    }

    #[test]
    fn counts_of_what_is_no_id_are_left_out() {
        let mut said = status("egress", "a", 1);
        said.counters[0].flow_id = "x".to_owned();
        assert!(Notes::default().counted(&[said]).is_empty());
    }

    #[test]
    fn a_new_boot_id_is_noticed_once() {
        let mut notes = Notes::default();
        assert_eq!(notes.restarted(&[status("egress", "a", 1)]).len(), 1);
        assert_eq!(notes.restarted(&[status("egress", "a", 2)]).len(), 0);
        assert_eq!(notes.restarted(&[status("egress", "b", 0)])[0].boot_id, "b");
    }

    #[test]
    fn an_edge_plane_has_no_bridges_and_no_address_is_taken_on_trust() {
        let mut bridge = status("bridge", "a", 0);
        bridge.advertised_address = "bridge.example:7443".to_owned();
        let mut ingester = status("ingester", "a", 0);
        ingester.advertised_address = "javascript:alert(1)".to_owned();
        let said = [bridge, ingester];
        assert_eq!(
            addresses(PlaneKind::Data, Component::Bridge, &said).len(),
            1
        );
        assert!(addresses(PlaneKind::Edge, Component::Bridge, &said).is_empty());
        assert!(addresses(PlaneKind::Edge, Component::Ingester, &said).is_empty());
    }

    #[test]
    fn a_component_nobody_knows_is_not_kept() {
        assert!(bounded(vec![status("miner", "a", 1)]).is_empty());
        assert_eq!(bounded(vec![status("lock", "a", 1)]).len(), 1);
    }
}

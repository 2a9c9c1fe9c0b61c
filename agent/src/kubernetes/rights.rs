//! What the agent asks of the API server, as data: nothing it does needs more, and the chart grants
//! nothing else. Names are given wherever the API lets a right be bound to one.
//!
//! | verbs | resource | names | for |
//! |---|---|---|---|
//! | list, watch, delete | secrets | the two enrolment Secrets | noticing a bundle; removing it once redeemed |
//! | get, create, patch, delete | secrets | the agent's own | identity, pending keys, last good snapshot |
//! | create, patch, delete | configmaps | `zen-trust-bundle` | publishing what components trust |
//! | get, create, patch, update | leases | `zen-agent` | one agent acts at a time |
//! | create | events | – (they have no name yet) | telling `kubectl describe pod` |
//! | create | tokenreviews | – (they have no name) | who a component is at first contact |
//!
//! Server-side apply is `patch`, and `create` of that name where the object is not there yet.

use super::lease;
use super::parts::SLOTS;
use super::settings::KubernetesConfig;
use super::store::{IDENTITY, PENDING, TRUST, snapshot};

/// A right that the agent needs, as one rule of a Role says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// What is done.
    pub verbs: &'static [&'static str],
    /// Empty for the core group.
    pub group: &'static str,
    /// In plural.
    pub resource: &'static str,
    /// The only objects it is about; empty where the API knows no names.
    pub names: Vec<String>,
    /// Whether it is of the whole cluster, so that a ClusterRole must grant it.
    pub cluster_wide: bool,
}

/// Every right that an agent with these settings needs.
#[must_use]
pub fn rights(settings: &KubernetesConfig) -> Vec<Right> {
    let enrolment = [&settings.bundle_secret, &settings.bundle_key_secret];
    let own = [PENDING, IDENTITY].map(ToOwned::to_owned).into_iter();
    let right = |verbs, group, resource, names| Right {
        verbs,
        group,
        resource,
        names,
        cluster_wide: false,
    };
    vec![
        right(
            &["list", "watch", "delete"],
            "",
            "secrets",
            enrolment.map(Clone::clone).to_vec(),
        ),
        right(
            &["get", "create", "patch", "delete"],
            "",
            "secrets",
            own.chain((0..SLOTS).map(snapshot)).collect(),
        ),
        right(
            &["create", "patch", "delete"],
            "",
            "configmaps",
            vec![TRUST.to_owned()],
        ),
        right(
            &["get", "create", "patch", "update"],
            "coordination.k8s.io",
            "leases",
            vec![lease::NAME.to_owned()],
        ),
        right(&["create"], "events.k8s.io", "events", vec![]),
        Right {
            cluster_wide: true,
            ..right(&["create"], "authentication.k8s.io", "tokenreviews", vec![])
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_that_can_be_is_bound_to_names() {
        for right in rights(&KubernetesConfig::default()) {
            let nameless = ["events", "tokenreviews"].contains(&right.resource);
            assert_eq!(right.names.is_empty(), nameless, "{right:?}");
            assert!(!right.verbs.contains(&"*"));
        }
    }
}

//! What the chart grants the agent is exactly what the agent asks for.

use std::collections::BTreeSet;

use serde_json::Value;
use zen_agent::kubernetes::{KubernetesConfig, rights};

use crate::objects::{Object, list};
use crate::stage::Stage;

/// One right on one object: whether of the whole cluster, group, resource, name, verb.
type Grant = (bool, String, String, Option<String>, String);

#[test]
fn the_chart_grants_the_rights_that_the_agent_asks_for_and_no_others() {
    let Some(stage) = Stage::build() else { return };
    let own_names = KubernetesConfig {
        bundle_secret: "my-bundle".to_owned(),
        bundle_key_secret: "my-key".to_owned(),
        ..KubernetesConfig::default()
    };
    let set = [
        "enrollment.bundleSecret=my-bundle",
        "enrollment.keySecret=my-key",
    ];
    let cases: [(KubernetesConfig, &[&str]); 2] =
        [(KubernetesConfig::default(), &[]), (own_names, &set)];
    for (settings, set) in cases {
        let granted = granted(&stage.set("zen-agent", set));
        assert_eq!(granted, asked(&settings));
    }
}

fn granted(objects: &[Object]) -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    for role in objects
        .iter()
        .filter(|object| object.kind().ends_with("Role"))
    {
        let cluster = role.kind() == "ClusterRole";
        for rule in list(role.at("/rules")) {
            let names = match list(&rule["resourceNames"]) {
                [] => vec![None],
                names => names.iter().map(|name| Some(text(name))).collect(),
            };
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    for name in &names {
                        for verb in list(&rule["verbs"]) {
                            let (group, resource) = (text(group), text(resource));
                            grants.insert((cluster, group, resource, name.clone(), text(verb)));
                        }
                    }
                }
            }
        }
    }
    grants
}

fn asked(settings: &KubernetesConfig) -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    for right in rights(settings) {
        let names = match right.names.as_slice() {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        for name in names {
            for verb in right.verbs {
                let (group, resource) = (right.group.to_owned(), right.resource.to_owned());
                let cluster = right.cluster_wide;
                grants.insert((cluster, group, resource, name.clone(), (*verb).to_owned()));
            }
        }
    }
    grants
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

//! Service accounts and the agent's rights: named objects wherever the API allows, and nothing else.

use serde_json::Value;

use crate::objects::{Object, list};
use crate::stage::{NAMESPACE, RELEASE, Stage, golden};

#[test]
fn rights_are_for_named_objects_wherever_the_api_allows() {
    let Some(stage) = Stage::build() else { return };
    let objects = stage.set("zen-edge-plane", &[]);
    let roles: Vec<_> = objects
        .iter()
        .filter(|object| object.kind() == "Role")
        .collect();
    assert_eq!(roles.len(), 1);
    for rule in list(roles[0].at("/rules")) {
        let verbs: Vec<_> = texts(&rule["verbs"]);
        let resources = texts(&rule["resources"]);
        for word in verbs
            .iter()
            .chain(&resources)
            .chain(&texts(&rule["apiGroups"]))
        {
            assert_ne!(*word, "*", "{rule}");
        }
        // Only an Event has no name yet.
        let named = !list(&rule["resourceNames"]).is_empty();
        assert_eq!(named, resources != ["events"], "{rule}");
    }
    let cluster: Vec<_> = objects
        .iter()
        .filter(|object| object.kind() == "ClusterRole")
        .collect();
    assert_eq!(cluster.len(), 1);
    assert_eq!(cluster[0].name(), format!("zen-agent-{NAMESPACE}"));
    let only = serde_json::json!([{
        "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"],
    }]);
    assert_eq!(*cluster[0].at("/rules"), only);
}

#[test]
fn nobody_but_the_agent_and_zen_lock_has_rights() {
    for (chart, name, objects) in golden() {
        let title = format!("{chart}/{name}");
        for object in &objects {
            if !object.kind().ends_with("Binding") {
                continue;
            }
            let role = object.text("/roleRef/name");
            let kind = object.text("/roleRef/kind");
            let bound = |object: &&Object| object.kind() == kind && object.name() == role;
            assert!(
                objects.iter().any(|object| bound(&object)),
                "{title}: {role}"
            );
            let subjects = list(object.at("/subjects"));
            assert_eq!(subjects.len(), 1, "{title}");
            let account = subjects[0]["name"].as_str().unwrap();
            assert!(
                ["zen-agent", "zen-lock"].contains(&account),
                "{title}: {account}"
            );
            assert!(role.starts_with(account), "{title}: {role}");
            assert_eq!(subjects[0]["namespace"], NAMESPACE, "{title}");
        }
    }
}

/// The names by which the agent knows who asks are the names of the accounts that the pods run as.
#[test]
fn each_component_runs_as_the_account_that_the_agent_takes_for_it() {
    let Some(stage) = Stage::build() else { return };
    let set = [
        "zen-ingester.enabled=true",
        "zen-egress.enabled=true",
        "zen-lock.enabled=true",
    ];
    let mut objects = stage.set("zen-edge-plane", &set);
    objects.extend(stage.set("zen-data-plane", &[]));
    let config = objects
        .iter()
        .find(|object| object.name() == "zen-agent-config")
        .unwrap();
    let config: Value = serde_saphyr::from_str(config.text("/data/config.yaml")).unwrap();
    let accounts = config["kubernetes"]["service_accounts"]
        .as_object()
        .unwrap();
    assert_eq!(accounts.len(), 4);
    for (component, account) in accounts {
        let name = format!("zen-{component}");
        let workload = objects
            .iter()
            .find(|object| object.name() == name && object.pod().is_some())
            .unwrap();
        let pod = workload.pod().unwrap();
        assert_eq!(pod["spec"]["serviceAccountName"], *account, "{component}");
        let made = objects
            .iter()
            .any(|object| object.kind() == "ServiceAccount" && object.name() == account);
        assert!(made, "{component}");
        let token = list(&pod["spec"]["volumes"])
            .iter()
            .find(|volume| volume["name"] == "agent-token")
            .unwrap();
        let token = &token["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["audience"], "zen-agent", "{component}");
    }
}

/// Two agents must never act for one plane: the old one is gone before the new one starts.
#[test]
fn an_agent_is_replaced_and_never_doubled() {
    for (chart, name, objects) in golden() {
        for agent in objects
            .iter()
            .filter(|object| object.kind() == "Deployment" && object.name() == "zen-agent")
        {
            assert_eq!(
                agent.text("/spec/strategy/type"),
                "Recreate",
                "{chart}/{name}"
            );
            assert_eq!(*agent.at("/spec/replicas"), 1, "{chart}/{name}");
        }
    }
}

/// All objects are of the release's namespace, or of the whole cluster and named after it.
#[test]
fn every_object_is_in_the_namespace_of_its_release() {
    for (chart, name, objects) in golden() {
        for object in &objects {
            let title = format!("{chart}/{name}: {}", object.title());
            if object.kind() == "CustomResourceDefinition" {
                assert_eq!(object.name(), "zenlocks.security.zen-mesh.io", "{title}");
            } else if ["Cluster", "Mutating", "Validating"]
                .iter()
                .any(|whole| object.kind().starts_with(whole))
            {
                assert!(object.name().ends_with(&format!("-{NAMESPACE}")), "{title}");
            } else if !object.name().ends_with("-dashboard") {
                assert_eq!(object.text("/metadata/namespace"), NAMESPACE, "{title}");
            }
            let instance = &object.labels()["app.kubernetes.io/instance"];
            assert_eq!(instance, RELEASE, "{title}");
        }
    }
}

fn texts(value: &Value) -> Vec<&str> {
    list(value)
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

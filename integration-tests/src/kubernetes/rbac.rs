//! Whether somebody may do what they ask: the rules of Roles and ClusterRoles that are bound to
//! them.

use std::sync::Arc;

use serde_json::Value;

use super::kinds;
use super::store::{Key, Store};
use super::tokens::{User, strings};

/// What is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attributes {
    pub(super) verb: String,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) subresource: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Whether the user may.
pub(super) fn allowed(store: &Store, user: &User, asked: &Attributes) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    // Every cluster lets everybody who is known ask what they may do themselves.
    let known = user
        .groups
        .iter()
        .any(|group| group == "system:authenticated");
    if known && asked.verb == "create" && asked.resource == "selfsubjectaccessreviews" {
        return true;
    }
    let bound = |resource: &str, namespace: &str| {
        bindings(store, resource, namespace)
            .into_iter()
            .filter(|binding| binds(binding, user))
            .any(|binding| grants(store, &binding, namespace, asked))
    };
    bound("clusterrolebindings", "")
        || (!asked.namespace.is_empty() && bound("rolebindings", &asked.namespace))
}

fn bindings(store: &Store, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
    kinds::by_resource(resource)
        .map(|kind| store.list(kind, namespace))
        .unwrap_or_default()
}

fn binds(binding: &Value, user: &User) -> bool {
    let subjects = binding["subjects"].as_array();
    subjects.into_iter().flatten().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => user.name == name,
            Some("Group") => user.groups.iter().any(|group| group == name),
            Some("ServiceAccount") => {
                let own = binding["metadata"]["namespace"].as_str();
                let namespace = subject["namespace"].as_str().or(own).unwrap_or_default();
                user.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}

fn grants(store: &Store, binding: &Value, namespace: &str, asked: &Attributes) -> bool {
    let name = binding["roleRef"]["name"].as_str().unwrap_or_default();
    let (resource, namespace) = match binding["roleRef"]["kind"].as_str() {
        Some("Role") => ("roles", namespace),
        _ => ("clusterroles", ""),
    };
    let role =
        kinds::by_resource(resource).and_then(|kind| store.get(&Key::new(kind, namespace, name)));
    let Some(role) = role else { return false };
    let rules = role["rules"].as_array().into_iter().flatten();
    rules.into_iter().any(|rule| permits(rule, asked))
}

fn permits(rule: &Value, asked: &Attributes) -> bool {
    let among = |field: &str, wanted: &str| {
        let all = strings(&rule[field]);
        all.iter().any(|one| one == "*" || one == wanted)
    };
    let resource = if asked.subresource.is_empty() {
        among("resources", &asked.resource)
    } else {
        among(
            "resources",
            &format!("{}/{}", asked.resource, asked.subresource),
        ) || among("resources", &format!("*/{}", asked.subresource))
    };
    let names = strings(&rule["resourceNames"]);
    among("verbs", &asked.verb)
        && among("apiGroups", &asked.group)
        && resource
        && (names.is_empty() || names.contains(&asked.name))
}

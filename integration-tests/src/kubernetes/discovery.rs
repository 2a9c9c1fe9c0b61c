//! What the server tells of itself: versions, groups, kinds, and as much of an OpenAPI document as
//! kubectl needs to leave validation to the server.

use serde_json::{Value, json};

use super::kinds::{self, KINDS, Kind};

/// The answer at a path that no object lies at.
pub(super) fn answer(path: &str) -> Option<Value> {
    let path: Vec<_> = path.trim_matches('/').split('/').collect();
    Some(match path.as_slice() {
        ["version"] => json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0-double",
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "", "goVersion": "",
            "compiler": "", "platform": "linux/amd64" }),
        ["api"] => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        ["apis"] => {
            let groups: Vec<_> = kinds::groups().into_iter().map(group).collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        ["api", "v1"] => resources(""),
        ["apis", name] if kinds::groups().contains(name) => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", name, "v1"] if kinds::groups().contains(name) => resources(name),
        ["openapi", "v3"] => {
            let mut paths = json!({ "api/v1": { "serverRelativeURL": "/openapi/v3/api/v1" } });
            for group in kinds::groups() {
                let at = format!("apis/{group}/v1");
                let url = format!("/openapi/v3/{at}");
                paths[at] = json!({ "serverRelativeURL": url });
            }
            json!({ "paths": paths })
        }
        ["openapi", "v3", "api", "v1"] => document(""),
        ["openapi", "v3", "apis", name, "v1"] => document(name),
        _ => return None,
    })
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

fn of(group: &str) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| kind.group == group)
}

fn resources(group: &str) -> Value {
    let mut all = Vec::new();
    let mut version = String::new();
    for kind in of(group) {
        version = kind.api_version();
        let verbs: &[_] = if kind.question {
            &["create"]
        } else {
            &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ]
        };
        let entry = json!({ "name": kind.resource, "singularName": kind.singular(),
            "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs,
            "shortNames": kind.short });
        if kind.status {
            let mut status = entry.clone();
            status["name"] = format!("{}/status", kind.resource).into();
            status["verbs"] = json!(["get", "patch", "update"]);
            all.push(status);
        }
        all.push(entry);
    }
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
        "resources": all })
}

/// Says of every kind that its patches may be validated by the server.
fn document(group: &str) -> Value {
    let mut paths = json!({});
    for kind in of(group) {
        let prefix = if group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{group}/v1")
        };
        let place = if kind.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let parameter = json!({ "name": "fieldValidation", "in": "query",
            "schema": { "type": "string", "uniqueItems": true } });
        let path = format!("{prefix}{place}/{}/{{name}}", kind.resource);
        paths[path] = json!({ "patch": { "parameters": [parameter],
            "responses": { "200": { "description": "OK" } },
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": {
                "group": kind.group, "version": kind.version, "kind": kind.kind } } });
    }
    json!({ "openapi": "3.0.0", "info": { "title": "Kubernetes", "version": "v1.33.0" },
        "paths": paths })
}

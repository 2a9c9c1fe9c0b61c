//! Plans: what is created, changed, left alone and removed, and in which order.

use serde_json::json;

use super::super::document::from_text;
use super::super::present::Plane;
use super::super::show;
use super::*;

const MESH: &str = "
endpoints:
  - { name: in, plane: data, verification: { scheme: github, secrets: ['file:a'] } }
targets:
  - { name: out, plane: edge, url: 'http://a/' }
flows:
  - { name: f, endpoint: in, target: out, retry: { max_attempts: 3 } }
";

/// A control plane with two planes and whatever the test adds.
fn present(rows: &[(Noun, Value)]) -> Present {
    let plane = |id: &str, name: &str| Plane {
        id: id.to_owned(),
        name: name.to_owned(),
    };
    let mut present = Present {
        planes: vec![plane("pl_1", "data"), plane("pl_2", "edge")],
        ..Present::default()
    };
    for (noun, row) in rows {
        present.add(*noun, row.clone()).unwrap();
    }
    present
}

/// What `MESH` looks like once it is there, with every default spelt out as the API does.
fn settled() -> Vec<(Noun, Value)> {
    vec![
        (
            Noun::Endpoint,
            json!({ "id": "ep_1", "tenant_id": "t", "plane_id": "pl_1", "name": "in", "url": null,
                "verification": { "scheme": "github", "secrets": ["file:a"],
                    "tolerance_seconds": null },
                "methods": [], "max_body_bytes": null, "allowed_sources": [] }),
        ),
        (
            Noun::Target,
            json!({ "id": "tgt_1", "plane_id": "pl_2", "name": "out", "url": "http://a/",
                "timeout_ms": null, "signing_secrets": [], "auth": null }),
        ),
        (
            Noun::Flow,
            json!({ "id": "flw_1", "name": "f", "endpoint_id": "ep_1", "target_id": "tgt_1",
                "retry": { "max_attempts": 3, "initial_backoff_ms": null }, "enabled": true }),
        ),
    ]
}

fn planned(mesh: &str, rows: &[(Noun, Value)], pruned: &[&str]) -> anyhow::Result<Plan> {
    let present = present(rows);
    let wanted = resolve(from_text(mesh)?, &present)?;
    let pruned = pruned.iter().map(ToString::to_string).collect();
    plan(&wanted, &present, &pruned)
}

fn words(plan: &Plan) -> Vec<String> {
    let word = |step: &Step| {
        let action = match step.action {
            Action::Create(_) => "create",
            Action::Change { .. } => "change",
            Action::Replace { .. } => "replace",
            Action::Remove { .. } => "remove",
        };
        format!("{action} {} {}", step.key.noun, step.key.name)
    };
    plan.steps.iter().map(word).collect()
}

#[test]
fn flows_are_made_after_what_they_join() {
    let plan = planned(MESH, &[], &[]).unwrap();
    assert_eq!(
        words(&plan),
        ["create endpoint in", "create target out", "create flow f"]
    );
}

#[test]
fn what_is_there_already_is_nothing_to_do() {
    let plan = planned(MESH, &settled(), &[]).unwrap();
    assert_eq!(words(&plan), Vec::<String>::new());
    assert_eq!(plan.unchanged, 3);
}

#[test]
fn a_change_names_its_members_and_patches_nothing_else() {
    let mesh = MESH
        .replace("scheme: github, secrets: ['file:a']", "scheme: none")
        .replace(", retry: { max_attempts: 3 }", ", enabled: false");
    let plan = planned(&mesh, &settled(), &[]).unwrap();
    let changes: Vec<_> = plan
        .steps
        .iter()
        .map(|step| match &step.action {
            Action::Change { patch, fields, .. } => {
                let names: Vec<_> = fields.iter().map(|field| field.name.clone()).collect();
                (names, patch.clone())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        changes,
        [
            (
                vec![
                    "verification.scheme".to_owned(),
                    "verification.secrets".to_owned()
                ],
                json!({ "verification": { "scheme": "none", "secrets": null } })
            ),
            (
                vec!["enabled".to_owned(), "retry".to_owned()],
                json!({ "enabled": false, "retry": null })
            ),
        ]
    );
}

#[test]
fn a_flow_with_another_end_is_made_anew() {
    let more = "  - { name: other, plane: edge, url: 'http://b/' }\nflows:";
    let mesh = MESH
        .replace("flows:", more)
        .replace("target: out", "target: other");
    let plan = planned(&mesh, &settled(), &[]).unwrap();
    assert_eq!(
        words(&plan),
        ["create target other", "replace flow f", "create flow f"]
    );
    let text = show::text(&plan, &present(&settled()));
    assert!(text.contains("target: edge/out -> edge/other"), "{text}");
    assert!(
        text.ends_with("1 to create, 0 to change, 1 to replace, 0 to remove, 2 unchanged"),
        "{text}"
    );
}

#[test]
fn nothing_is_removed_unless_its_plane_is_pruned() {
    let mut rows = settled();
    rows.push((
        Noun::Endpoint,
        json!({ "id": "ep_2", "plane_id": "pl_2", "name": "old", "verification": {} }),
    ));
    rows.push((
        Noun::Flow,
        json!({ "id": "flw_2", "name": "old", "endpoint_id": "ep_2", "target_id": "tgt_1" }),
    ));
    assert_eq!(
        words(&planned(MESH, &rows, &[]).unwrap()),
        Vec::<String>::new()
    );
    assert_eq!(
        words(&planned(MESH, &rows, &["pl_2"]).unwrap()),
        ["remove flow old", "remove endpoint old"]
    );
    assert_eq!(
        words(&planned(MESH, &rows, &["pl_1"]).unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn a_name_that_names_nothing_is_told_with_its_line() {
    let mesh = MESH
        .replace("plane: edge", "plane: nowhere")
        .replace("endpoint: in", "endpoint: out");
    let told = planned(&mesh, &[], &[]).unwrap_err().to_string();
    assert!(
        told.contains("mesh.yaml:5: there is no plane nowhere"),
        "{told}"
    );
    assert!(
        told.contains("mesh.yaml:7: there is no endpoint out"),
        "{told}"
    );
}

#[test]
fn a_name_in_several_planes_asks_for_the_plane() {
    let twin = "  - { name: out, plane: data, url: 'http://b/' }\nflows:";
    let mesh = MESH.replace("flows:", twin);
    let told = planned(&mesh, &[], &[]).unwrap_err().to_string();
    assert!(told.contains("add target_plane"), "{told}");
    let mesh = mesh.replace("target: out,", "target: out, target_plane: edge,");
    let plan = planned(&mesh, &settled(), &[]).unwrap();
    assert_eq!(words(&plan), ["create target out"]);
}

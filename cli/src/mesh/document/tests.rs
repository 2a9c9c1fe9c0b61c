//! Documents of a mesh file: what is read, and what is refused with its line.

use super::*;

const MESH: &str = "\
# a comment
endpoints:
  - name: github
    plane: data
    verification: { scheme: github, secrets: ['file:github'] }
targets:
  - name: orders
    plane: edge
    url: http://127.0.0.1:3000/webhooks
    auth: { bearer: 'lock:orders' }
---
flows:
  - name: github-orders
    endpoint: github
    target: orders
    retry: { max_attempts: 3 }
---
";

fn fault(text: &str) -> String {
    from_text(text).err().unwrap().to_string()
}

#[test]
fn several_documents_are_one_mesh() {
    let mesh = from_text(MESH).unwrap();
    let counts = (mesh.endpoints.len(), mesh.targets.len(), mesh.flows.len());
    assert_eq!(counts, (1, 1, 1));
    assert_eq!(mesh.flows[0].name.place.to_string(), "mesh.yaml:13");
    assert!(mesh.flows[0].enabled);
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = MESH.replace("    url:", "    uri:");
    let told = fault(&text);
    assert!(told.starts_with("mesh.yaml:9:"), "{told}");
    assert!(told.contains("uri"), "{told}");
}

#[test]
fn a_secret_where_its_name_belongs_is_refused_and_not_repeated() {
    let text = MESH
        .replace("lock:orders", "hunter2")
        .replace("file:github", "s3cret");
    let told = fault(&text);
    assert!(
        !told.contains("hunter2") && !told.contains("s3cret"),
        "{told}"
    );
    assert!(
        told.contains("mesh.yaml:3:") && told.contains("mesh.yaml:7:"),
        "{told}"
    );
}

#[test]
fn a_thing_described_twice_is_refused_with_both_places() {
    let told = fault(&format!(
        "{MESH}\nflows:\n  - {{ name: github-orders, endpoint: a, target: b }}\n"
    ));
    assert!(told.contains("mesh.yaml:13"), "{told}");
    assert!(told.starts_with("mesh.yaml:20:"), "{told}");
}

#[test]
fn what_a_file_may_say_is_what_is_compared() {
    let full = from_text(
        "
endpoints:
  - { name: e, plane: p, verification: { scheme: none, tolerance_seconds: 1 }, methods: [PUT],
      max_body_bytes: 1, allowed_sources: [10.0.0.0/8] }
targets:
  - { name: t, plane: p, url: http://a/, timeout_ms: 1, max_concurrency: 1,
      signing_secrets: ['file:a'], auth: { basic: 'file:a' }, allowed_networks: [10.0.0.0/8],
      ca_pem: x }
flows:
  - { name: f, endpoint: e, endpoint_plane: p, target: t, target_plane: p,
      retry: { max_attempts: 1, initial_backoff_ms: 1, max_backoff_ms: 1 }, enabled: false }
",
    )
    .unwrap();
    let plain = |named: Named| named.name;
    let names = [
        "name",
        "plane",
        "endpoint",
        "endpoint_plane",
        "target",
        "target_plane",
    ];
    let said = |value: serde_json::Value| {
        let members = value.as_object().unwrap().keys();
        let mut members: Vec<_> = members
            .filter(|key| !names.contains(&key.as_str()))
            .cloned()
            .collect();
        members.sort();
        members
    };
    let sorted = |noun| {
        let mut all: Vec<_> = written(noun).iter().map(ToString::to_string).collect();
        all.sort();
        all
    };
    let Mesh {
        mut endpoints,
        mut targets,
        mut flows,
    } = full;
    let value = serde_json::to_value(endpoints.remove(0).map(plain)).unwrap();
    assert_eq!(said(value), sorted(Noun::Endpoint));
    let value = serde_json::to_value(targets.remove(0).map(plain)).unwrap();
    assert_eq!(said(value), sorted(Noun::Target));
    let value = serde_json::to_value(flows.remove(0).map(plain)).unwrap();
    assert_eq!(said(value), sorted(Noun::Flow));
}

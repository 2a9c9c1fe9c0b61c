//! A mesh file against a running control plane: planned, applied, exported, applied again.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use zen_integration_tests::verbs::{told, zen, zen_at};
use zen_integration_tests::world::Seat;

const MESH: &str = "
endpoints:
  - name: github
    plane: data
    verification: { scheme: github, secrets: ['file:github'], tolerance_seconds: 60 }
    methods: [POST, PUT]
    max_body_bytes: 4096
    allowed_sources: [10.0.0.0/8]
  - { name: same, plane: data, verification: { scheme: none } }
  - { name: same, plane: edge, verification: { scheme: none } }
targets:
  - name: orders
    plane: edge
    url: http://127.0.0.1:3000/webhooks
    timeout_ms: 5000
    max_concurrency: 4
    signing_secrets: ['file:signing']
    auth: { bearer: 'lock:token' }
    allowed_networks: [127.0.0.0/8]
---
flows:
  - name: github-orders
    endpoint: github
    target: orders
    retry: { max_attempts: 3, initial_backoff_ms: 10, max_backoff_ms: 100 }
  - { name: local, endpoint: same, endpoint_plane: edge, target: orders, enabled: false }
";

/// A control plane with a data plane and an edge plane that nobody has enrolled.
async fn seat() -> Seat {
    let seat = Seat::start(&[]).await.unwrap();
    seat.plane("data", "data").await.unwrap();
    seat.plane("edge", "edge").await.unwrap();
    seat
}

fn write(seat: &Seat, name: &str, text: &str) -> String {
    let path = seat.dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The plan of a file as JSON, with nothing done.
async fn plan(seat: &Seat, file: &str, more: &[&str]) -> (Value, Option<i32>) {
    let mut words = vec![
        "apply",
        "-f",
        file,
        "--plan-only",
        "--exit-code",
        "-o",
        "json",
    ];
    words.extend(more);
    let output = zen(seat, &words, "").await.unwrap();
    let plan = serde_json::from_slice(&output.stdout);
    (
        plan.unwrap_or_else(|_| panic!("{}", told(&output))),
        output.status.code(),
    )
}

/// Action, kind and name of each change.
fn changes(plan: &Value) -> Vec<String> {
    let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    let changes = plan["changes"].as_array().unwrap().iter();
    changes
        .map(|c| {
            format!(
                "{} {} {}",
                text(c, "action"),
                text(c, "kind"),
                text(c, "name")
            )
        })
        .collect()
}

async fn apply(seat: &Seat, file: &str, more: &[&str]) {
    let mut words = vec!["apply", "-f", file, "--yes"];
    words.extend(more);
    let output = zen(seat, &words, "").await.unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[tokio::test]
async fn what_was_applied_or_exported_is_nothing_to_do() {
    let seat = seat().await;
    let file = write(&seat, "mesh.yaml", MESH);
    let (planned, code) = plan(&seat, &file, &[]).await;
    assert_eq!(changes(&planned).len(), 6, "{planned}");
    assert_eq!(code, Some(2));
    assert_eq!(seat.api.all("/v1/flows", "").await.unwrap().len(), 0);

    // Nobody to ask, nothing agreed to: nothing happens.
    let refused = zen(&seat, &["apply", "-f", &file], "y\n").await.unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("--yes"), "{}", told(&refused));
    assert_eq!(seat.api.all("/v1/endpoints", "").await.unwrap().len(), 0);

    apply(&seat, &file, &[]).await;
    let (planned, code) = plan(&seat, &file, &["--prune", "data", "--prune", "edge"]).await;
    assert_eq!((changes(&planned).len(), code), (0, Some(0)), "{planned}");
    assert_eq!(planned["unchanged"], 6);

    let exported = zen(&seat, &["export"], "").await.unwrap();
    assert_eq!(told(&exported), "", "something was not exported");
    let text = String::from_utf8(exported.stdout).unwrap();
    assert!(text.starts_with("# "), "{text}");
    let again = zen(&seat, &["export"], "").await.unwrap();
    assert_eq!(text.as_bytes(), again.stdout, "the order is not stable");
    let words = [
        "apply",
        "-f",
        "-",
        "--plan-only",
        "--exit-code",
        "--prune",
        "data",
    ];
    let applied = zen(&seat, &words, &text).await.unwrap();
    assert!(applied.status.success(), "{}\n{text}", told(&applied));
    assert!(
        told(&applied).contains("nothing to do"),
        "{}",
        told(&applied)
    );
}

#[tokio::test]
async fn a_change_is_shown_field_by_field_and_pruning_needs_its_plane() {
    let seat = seat().await;
    let file = write(&seat, "mesh.yaml", MESH);
    apply(&seat, &file, &[]).await;
    let changed = MESH
        .replace("timeout_ms: 5000", "timeout_ms: 7000")
        .replace(
            "auth: { bearer: 'lock:token' }",
            "auth: { basic: 'lock:token' }",
        )
        .replace("    methods: [POST, PUT]\n", "")
        .replace(
            "  - { name: same, plane: data, verification: { scheme: none } }\n",
            "",
        );
    let file = write(&seat, "changed.yaml", &changed);
    let (planned, _) = plan(&seat, &file, &[]).await;
    assert_eq!(
        changes(&planned),
        ["change endpoint github", "change target orders"]
    );
    let fields: Vec<_> = planned["changes"][1]["fields"].as_array().unwrap().clone();
    assert!(
        fields.contains(&json!({ "field": "timeout_ms", "from": 5000, "to": 7000 })),
        "{fields:?}"
    );
    let (planned, _) = plan(&seat, &file, &["--prune", "data"]).await;
    assert_eq!(changes(&planned)[2..], ["remove endpoint same"]);
    apply(&seat, &file, &["--prune", "data"]).await;
    let (planned, code) = plan(&seat, &file, &["--prune", "data"]).await;
    assert_eq!((changes(&planned).len(), code), (0, Some(0)), "{planned}");
    let target = &seat.api.all("/v1/targets", "").await.unwrap()[0];
    assert_eq!(target["timeout_ms"], 7000, "{target}");
    assert_eq!(target["auth"], json!({ "basic": "lock:token" }));
    assert_eq!(target["signing_secrets"], json!(["file:signing"]));
}

#[tokio::test]
async fn a_failure_half_way_says_what_was_done_and_goes_no_further() {
    let seat = seat().await;
    let file = write(&seat, "mesh.yaml", MESH);
    apply(&seat, &file, &[]).await;
    // The control plane refuses the second step: endpoints are made in the order of their names.
    let more = "endpoints:\n  \
                - { name: aa, plane: data, verification: { scheme: none } }\n  \
                - { name: ab, plane: data, verification: { scheme: none }, methods: [post] }\n  \
                - { name: ac, plane: data, verification: { scheme: none } }\n";
    let file = write(&seat, "more.yaml", more);
    let output = zen(&seat, &["apply", "-f", &file, "--yes"], "")
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = told(&output);
    assert!(text.contains("2 of 3 steps not done"), "{text}");
    assert!(text.contains("applied before it: endpoint aa"), "{text}");
    assert!(text.contains("upper-case"), "{text}");
    let endpoints = seat.api.all("/v1/endpoints", "").await.unwrap();
    assert!(endpoints.iter().any(|row| row["name"] == "aa"));
    assert!(!endpoints.iter().any(|row| row["name"] == "ac"));
}

#[tokio::test]
async fn a_faulty_file_changes_nothing_and_names_its_lines() {
    let seat = seat().await;
    for (faulty, line, word) in [
        (
            MESH.replace("plane: edge\n    url", "plain: edge\n    url"),
            13,
            "plain",
        ),
        (
            MESH.replace("target: orders\n", "target: nobody\n"),
            24,
            "nobody",
        ),
        (
            MESH.replace("'lock:token'", "hunter2"),
            12,
            "a secret is named",
        ),
        (format!("{MESH}  - not closed: ["), 0, ""),
    ] {
        let file = write(&seat, "faulty.yaml", &faulty);
        let output = zen(&seat, &["apply", "-f", &file, "--yes"], "")
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = told(&output);
        assert!(
            line == 0 || text.contains(&format!("faulty.yaml:{line}:")),
            "{line}: {text}"
        );
        assert!(text.contains(word) && !text.contains("hunter2"), "{text}");
    }
    for path in ["/v1/endpoints", "/v1/targets", "/v1/flows"] {
        assert_eq!(seat.api.all(path, "").await.unwrap().len(), 0, "{path}");
    }
}

/// Passes requests on to a control plane; before the first change of something that is there, it
/// lets `meanwhile` happen.
async fn meddler(seat: &Seat, meanwhile: Value) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (api, base) = (seat.api.clone(), format!("http://{}", seat.http.address));
    let armed = Arc::new(AtomicBool::new(true));
    tokio::spawn(async move {
        let client: Client<HttpConnector, Incoming> =
            Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (client, base, api) = (client.clone(), base.clone(), api.clone());
            let (armed, meanwhile) = (Arc::clone(&armed), meanwhile.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                let (client, api, armed) = (client.clone(), api.clone(), Arc::clone(&armed));
                let path = request.uri().path_and_query().unwrap().to_string();
                *request.uri_mut() = format!("{base}{path}").parse().unwrap();
                let meanwhile = meanwhile.clone();
                async move {
                    if request.method() == Method::PATCH && armed.swap(false, Ordering::SeqCst) {
                        let changed = api.call(Method::PATCH, &path, Some(&meanwhile)).await;
                        assert!(changed.unwrap().0.is_success());
                    }
                    client.request(request).await
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_not_overwritten() {
    let seat = seat().await;
    let file = write(&seat, "mesh.yaml", MESH);
    apply(&seat, &file, &[]).await;
    let changed = MESH.replace("timeout_ms: 5000", "timeout_ms: 7000");
    let file = write(&seat, "changed.yaml", &changed);
    let meddler = meddler(&seat, json!({ "max_concurrency": 9 })).await;
    let key = seat.dir.path().join("cp/api-key");
    let server = format!("http://{meddler}");
    let words = ["apply", "-f", &file, "--yes"];
    let output = zen_at(&server, &key, &words, "").await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        told(&output).contains("somebody else changed it"),
        "{}",
        told(&output)
    );
    assert!(
        told(&output).contains("nothing was applied"),
        "{}",
        told(&output)
    );
    let target = &seat.api.all("/v1/targets", "").await.unwrap()[0];
    assert_eq!(target["timeout_ms"], 5000, "{target}");
    assert_eq!(target["max_concurrency"], 9, "{target}");
}

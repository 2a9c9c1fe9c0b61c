//! The product can be seen: metrics that Prometheus takes, probes that say what is pending, log
//! lines that parse, and one trace from webhook to delivery attempt.
#![cfg(test)]

use std::process::Stdio;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use zen_integration_tests::collector::Collector;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::tools;
use zen_integration_tests::world::World;

const LONG: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_component_shows_metrics_probes_and_json_logs() {
    let promtool = tools::have("promtool", "prometheus").unwrap();
    let mut world = World::start().await.unwrap();
    for unit in world.units() {
        let name = unit.binary;
        assert_eq!(
            unit.admin_get("/livez").await.unwrap().0,
            StatusCode::OK,
            "{name}"
        );
        assert_eq!(
            unit.admin_get("/readyz").await.unwrap().0,
            StatusCode::OK,
            "{name}"
        );
        let (_, state) = unit.admin_get("/debug/state").await.unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        assert!(state.is_object(), "{name}: {state}");
        let (_, text) = unit.admin_get("/metrics").await.unwrap();
        let component = name.trim_start_matches("zen-").replace('-', "_");
        let own = format!("zen_{component}_");
        assert!(
            String::from_utf8_lossy(&text).contains(&own),
            "{name} has no metric of its own"
        );
        if promtool {
            check_with_promtool(name, &text).await;
        }
        for line in unit.log_text().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(
                line["message"].is_string() && line["level"].is_string(),
                "{name}: {line}"
            );
        }
    }
}

async fn check_with_promtool(name: &str, metrics: &[u8]) {
    let mut promtool = tokio::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(metrics).await.unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool on {name}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_webhook_to_the_delivery_attempt() {
    let collector = Collector::start().await.unwrap();
    let otlp = format!("otlp.endpoint=http://{}", collector.address);
    let mut world = World::start_with(&[otlp]).await.unwrap();
    let service = Service::start().await.unwrap();
    let target = world
        .target(json!({ "name": "t", "url": service.url() }))
        .await
        .unwrap();
    let endpoint = world
        .endpoint(
            &world.data.id,
            "e",
            json!({ "scheme": "none" }),
            &target,
            json!({}),
        )
        .await
        .unwrap();
    world.settled().await.unwrap();
    let url = format!(
        "http://{}/hooks/{}",
        world.data.ingest.address,
        endpoint["id"].as_str().unwrap()
    );
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let source = Source::new(url, Scheme::None).with_header("traceparent", &parent);
    let event = source.post("x", "{}".into()).await.unwrap();
    let mut received = service.received.clone();
    let got = received.wait_for(|all| all.contains_key(&event));
    let seen = tokio::time::timeout(LONG, got).await.unwrap().unwrap()[&event].clone();
    let carried = seen.headers["traceparent"].to_str().unwrap();
    assert!(
        carried.contains(TRACE),
        "the target got another trace: {carried}"
    );
    // Spans are sent in batches; the end of a process sends what is left.
    world.edge.far.terminate().await.unwrap();
    world.data.ingester.terminate().await.unwrap();
    eventually("both ends sent spans of this trace", LONG, || async {
        let spans = collector.spans.borrow().clone();
        let of_trace: Vec<_> = spans
            .iter()
            .filter(|(_, span)| hex::encode(&span.trace_id) == TRACE)
            .collect();
        let from = |name: &str| of_trace.iter().find(|(service, _)| service.contains(name));
        let (Some((_, webhook)), Some((_, attempt))) = (from("zen-ingester"), from("zen-egress"))
        else {
            anyhow::bail!("{of_trace:?}");
        };
        anyhow::ensure!(
            hex::encode(&webhook.parent_span_id) == "00f067aa0ba902b7",
            "{webhook:?}"
        );
        anyhow::ensure!(attempt.parent_span_id == webhook.span_id, "{attempt:?}");
        Ok(())
    })
    .await
    .unwrap();
}

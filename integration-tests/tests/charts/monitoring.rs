//! Alerts fire when they should and only then; alerts and dashboards speak of metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use zen_integration_tests::tools;

use crate::objects::list;
use crate::stage::{deploy, files, golden, succeeds};

/// The charts that are watched.
const WATCHED: [&str; 6] = [
    "zen-agent",
    "zen-bridge",
    "zen-control-plane",
    "zen-egress",
    "zen-ingester",
    "zen-lock",
];

fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The alerts of a chart.
fn alerts(chart: &str) -> Vec<Value> {
    let rules = yaml(&deploy().join(format!("prometheus/{chart}.yaml")));
    list(&rules["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]).to_vec())
        .collect()
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    if !tools::have("promtool", "prometheus").unwrap() {
        return;
    }
    for chart in WATCHED {
        let rules = deploy().join(format!("prometheus/{chart}.yaml"));
        succeeds(Command::new("promtool").args(["check", "rules"]).arg(rules));
        let file = deploy().join(format!("prometheus/tests/{chart}.yaml"));
        succeeds(Command::new("promtool").args(["test", "rules"]).arg(&file));
        let tests = yaml(&file);
        for alert in alerts(chart) {
            let name = alert["alert"].as_str().unwrap();
            let test = list(&tests["tests"])
                .iter()
                .find(|test| test["name"] == name)
                .unwrap_or_else(|| panic!("{name} has no test"));
            let values: Vec<_> = list(&test["promql_expr_test"])
                .iter()
                .map(|expression| {
                    let asked = expression["expr"].as_str().unwrap();
                    assert!(asked.contains(&format!("alertname=\"{name}\"")), "{asked}");
                    expression["exp_samples"][0]["value"].as_u64().unwrap()
                })
                .collect();
            assert_eq!(values, [0, 1], "{name}: silent, then firing");
        }
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() {
    let runbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks/alerts.md");
    let runbook = fs::read_to_string(runbook).unwrap();
    let mut names = BTreeSet::new();
    for chart in WATCHED {
        for alert in alerts(chart) {
            let name = alert["alert"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
            let severity = alert["labels"]["severity"].as_str().unwrap();
            assert!(["warning", "critical"].contains(&severity), "{name}");
            let said = &alert["annotations"];
            assert!(
                said["summary"].is_string() && said["description"].is_string(),
                "{name}"
            );
            let place = format!("docs/runbooks/alerts.md#{}", name.to_lowercase());
            assert_eq!(said["runbook"], place, "{name}");
            assert!(runbook.contains(&format!("\n### {name}\n")), "{name}");
        }
    }
    let told = runbook
        .lines()
        .filter(|line| line.starts_with("### "))
        .count();
    assert_eq!(
        told,
        names.len(),
        "the runbook tells of alerts that are not"
    );
}

/// The rules in the cluster are the rules in the file.
#[test]
fn charts_carry_the_rules_and_dashboards_of_the_files() {
    let mut seen = BTreeSet::new();
    for (_, _, objects) in golden() {
        for object in &objects {
            let name = object.name().trim_end_matches("-dashboard");
            match object.kind() {
                "PrometheusRule" => {
                    let file = yaml(&deploy().join(format!("prometheus/{name}.yaml")));
                    assert_eq!(*object.at("/spec"), file, "{name}");
                    seen.insert(format!("{name} rules"));
                }
                "ConfigMap" if object.name().ends_with("-dashboard") => {
                    assert_eq!(object.labels()["grafana_dashboard"], "1", "{name}");
                    let text = object.text(&format!("/data/{name}.json"));
                    let carried: Value = serde_json::from_str(text).unwrap();
                    assert_eq!(carried, dashboard(name), "{name}");
                    seen.insert(format!("{name} dashboard"));
                }
                _ => {}
            }
        }
    }
    assert_eq!(seen.len(), 2 * WATCHED.len(), "{seen:?}");
}

fn dashboard(chart: &str) -> Value {
    let file = deploy().join(format!("grafana/{chart}.json"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn dashboards_can_be_loaded_side_by_side() {
    let mut uids = BTreeSet::new();
    for chart in WATCHED {
        let dashboard = dashboard(chart);
        let uid = dashboard["uid"].as_str().unwrap();
        assert!(uid.starts_with("zen-mesh-") && uid.len() <= 40, "{uid}");
        assert!(uids.insert(uid.to_owned()), "{uid} twice");
        assert!(
            dashboard["title"]
                .as_str()
                .unwrap()
                .starts_with("Zen Mesh: ")
        );
        let mut ids = BTreeSet::new();
        let mut places = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let title = &panel["title"];
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{chart}: {title}"
            );
            let place = &panel["gridPos"];
            let (x, y) = (place["x"].as_u64().unwrap(), place["y"].as_u64().unwrap());
            assert!(places.insert((y, x)), "{chart}: {title} lies on another");
            assert!(x + place["w"].as_u64().unwrap() <= 24, "{chart}: {title}");
            assert!(!list(&panel["targets"]).is_empty(), "{chart}: {title}");
        }
    }
    assert_eq!(files(&deploy().join("grafana")).len(), WATCHED.len());
}

fn queries(chart: &str) -> Vec<String> {
    list(&dashboard(chart)["panels"])
        .iter()
        .flat_map(|panel| list(&panel["targets"]).to_vec())
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_query_of_a_dashboard_is_understood_by_prometheus() {
    if !tools::have("promtool", "prometheus").unwrap() {
        return;
    }
    let folder = TempDir::new().unwrap();
    for chart in WATCHED {
        let rules: Vec<_> = queries(chart)
            .iter()
            .enumerate()
            .map(|(at, query)| {
                let query = query
                    .replace("$__rate_interval", "5m")
                    .replace("$namespace", ".*");
                serde_json::json!({"record": format!("query_{at}"), "expr": query})
            })
            .collect();
        let rules = serde_json::json!({"groups": [{"name": chart, "rules": rules}]});
        let file = folder.path().join(format!("{chart}.yaml"));
        fs::write(&file, rules.to_string()).unwrap();
        succeeds(Command::new("promtool").args(["check", "rules"]).arg(&file));
    }
}

#[test]
fn alerts_and_dashboards_speak_of_metrics_that_exist() {
    let known = documented();
    assert!(known.len() > 50, "{known:?}");
    let mut unknown = BTreeSet::new();
    let mut used = BTreeSet::new();
    for chart in WATCHED {
        let alerts = alerts(chart);
        let expressions = alerts.iter().map(|alert| alert["expr"].as_str().unwrap());
        let shown = queries(chart);
        for text in expressions.chain(shown.iter().map(String::as_str)) {
            for metric in words(text) {
                let base = ["_bucket", "_count", "_sum"]
                    .iter()
                    .find_map(|suffix| metric.strip_suffix(suffix))
                    .filter(|base| known.contains(*base))
                    .unwrap_or(metric);
                if !known.contains(base) {
                    unknown.insert(format!("{chart}: {metric}"));
                }
                used.insert(base.to_owned());
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "not in docs/configuration.md: {unknown:#?}"
    );
    let unseen: Vec<_> = known.difference(&used).collect();
    assert!(unseen.is_empty(), "no alert and no panel shows {unseen:?}");
}

/// The metrics that docs/configuration.md names: `zen_a_{b,c}_total`, `zen_d{label}`.
fn documented() -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = fs::read_to_string(file).unwrap();
    let mut found = BTreeSet::new();
    for word in text.split('`').filter(|word| word.starts_with("zen_")) {
        match word.split_once('{') {
            Some((head, rest)) if head.ends_with('_') => {
                let (middles, tail) = rest.split_once('}').unwrap();
                let tail = tail.split('{').next().unwrap();
                found.extend(middles.split(',').map(|m| format!("{head}{m}{tail}")));
            }
            Some((head, _)) => {
                found.insert(head.to_owned());
            }
            None => {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("zen_"))
}

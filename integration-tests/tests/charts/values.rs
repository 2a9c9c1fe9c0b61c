//! Values are described where they stand, and the schemas of the charts agree among each other.

use std::fs;

use serde_json::{Map, Value};

use crate::stage::{CHARTS, deploy};

fn schema(chart: &str) -> Value {
    let file = deploy()
        .join("charts")
        .join(chart)
        .join("values.schema.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A chart is packaged alone, so each schema holds what it shares with others: the same.
#[test]
fn what_schemas_share_is_the_same_in_each() {
    let shared = schema("zen-common");
    let shared = shared["definitions"].as_object().unwrap();
    for chart in CHARTS {
        let schema = schema(chart);
        let text = schema.to_string();
        assert_eq!(schema["additionalProperties"], false, "{chart}");
        for (name, definition) in schema["definitions"].as_object().unwrap() {
            assert_eq!(Some(definition), shared.get(name), "{chart}: {name}");
            assert!(
                text.contains(&format!("\"#/definitions/{name}\"")),
                "{chart}: {name}"
            );
        }
    }
}

/// The comment above a value begins with its path; that of a section may speak for its members.
#[test]
fn every_value_is_described_where_it_stands() {
    let mut silent = Vec::new();
    for chart in CHARTS {
        let file = deploy().join("charts").join(chart).join("values.yaml");
        let text = fs::read_to_string(file).unwrap();
        let schema = schema(chart);
        let mut paths = Vec::new();
        leaves(&schema, &schema, "", &mut paths);
        for path in paths {
            // Parts of an umbrella have values of their own, elsewhere.
            let mut told = text.contains(&format!("# {path}.enabled "));
            let mut of = path.as_str();
            loop {
                told |= text.contains(&format!("# {of} "));
                match of.rsplit_once('.') {
                    Some((above, _)) => of = above,
                    None => break,
                }
            }
            if !told {
                silent.push(format!("{chart}: {path}"));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

/// Set by an umbrella chart, or refused: nothing that an operator sets.
const NOT_SET: [&str; 5] = [
    "enabled",
    "global",
    "zen-common",
    "zen-bridge",
    "global.egress",
];

fn leaves(whole: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    let schema = resolve(whole, schema);
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    // An umbrella's globals and parts are its own to describe.
    let umbrella = whole["properties"]["zen-agent"].is_object();
    let skipped = |path: &str| {
        let bridge = path == "zen-bridge" && !whole["title"].as_str().unwrap().contains("data");
        let global = path == "global" && umbrella;
        NOT_SET.contains(&path) && !global && (path != "zen-bridge" || bridge)
    };
    if properties.is_empty() {
        found.push(path.to_owned());
    }
    for (key, value) in properties {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        if !skipped(&path) {
            leaves(whole, value, &path, found);
        }
    }
}

fn resolve<'a>(whole: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => whole.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// One version everywhere, and dependencies from the folder beside.
#[test]
fn charts_have_the_version_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    for chart in CHARTS.iter().chain(&["zen-common"]) {
        let file = deploy().join("charts").join(chart).join("Chart.yaml");
        let chart_yaml: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(chart_yaml["version"], version, "{chart}");
        assert_eq!(chart_yaml["appVersion"], version, "{chart}");
        assert_eq!(chart_yaml["name"], *chart);
        for dependency in crate::objects::list(&chart_yaml["dependencies"]) {
            assert_eq!(dependency["version"], version, "{chart}");
            let name = dependency["name"].as_str().unwrap();
            assert_eq!(
                dependency["repository"],
                format!("file://../{name}"),
                "{chart}"
            );
        }
    }
}

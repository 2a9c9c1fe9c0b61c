//! `zen export`: what is there, as a mesh file that `zen apply` finds nothing to do for.

use std::collections::BTreeSet;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{self, Document, Endpoint, Flow, Target};
use super::present::{Present, Row};
use super::{Key, Noun};
use crate::api::Api;
use crate::args::{Export, Format};
use crate::output;

const HEADER: &str = "\
# Endpoints, targets and flows of a Zen Mesh. Change this file, then: zen apply -f FILE
# Secrets are named here, never held: lock:<name> is a sealed one (zen secret list), file:<name> a
# file in the plane's secrets directory.
";

/// Members of rows that nobody writes, or that names stand for in a file.
const GIVEN: &[&str] = &[
    "id",
    "tenant_id",
    "name",
    "plane_id",
    "endpoint_id",
    "endpoint_plane_id",
    "target_id",
    "target_plane_id",
    "created_at",
    "updated_at",
    "version",
    "health",
    "warnings",
];

/// Writes the mesh file to standard output.
///
/// # Errors
/// When the API refuses, or shows what this version does not know.
pub(crate) async fn run(options: Export, api: &Api, format: Format) -> anyhow::Result<()> {
    let present = Present::read(api).await?;
    let planes = options
        .planes
        .iter()
        .map(|called| present.plane_id(called).map_err(anyhow::Error::msg))
        .collect::<anyhow::Result<BTreeSet<_>>>()?;
    for member in unknown(&present) {
        output::say(&format!(
            "not exported: {member}, which this version of zen does not know"
        ));
    }
    let document = document(&present, &planes)?;
    let yaml = serde_saphyr::to_string(&document)?;
    match format {
        Format::Json => output::one(format, &serde_json::to_value(&document)?, |_| String::new()),
        Format::Table | Format::Yaml => {
            output::text(&format!("{HEADER}{}\n", yaml.trim_end()));
            Ok(())
        }
    }
}

/// Everything that lives in these planes, or everything if none is named, in a stable order: by
/// plane, then by name. A flow belongs to the plane where it begins.
fn document(present: &Present, planes: &BTreeSet<String>) -> anyhow::Result<Document<String>> {
    let mut document = Document {
        endpoints: Vec::new(),
        targets: Vec::new(),
        flows: Vec::new(),
    };
    let mut rows: Vec<_> = present.rows.iter().collect();
    let called = |key: &Key| {
        let plane = key.plane.as_deref().unwrap_or_default();
        present.plane_called(plane).to_owned()
    };
    rows.sort_by_cached_key(|(key, _)| (called(key), key.name.clone()));
    let within = |key: Option<&Key>| {
        planes.is_empty()
            || key
                .and_then(|key| key.plane.as_ref())
                .is_some_and(|plane| planes.contains(plane))
    };
    for (key, row) in rows {
        match key.noun {
            Noun::Endpoint if within(Some(key)) => {
                let endpoint: Endpoint<String> = written(key, row, &[("plane", called(key))])?;
                document.endpoints.push(endpoint);
            }
            Noun::Target if within(Some(key)) => {
                let target: Target<String> = written(key, row, &[("plane", called(key))])?;
                document.targets.push(target);
            }
            Noun::Flow => {
                let from = present.key_of(Noun::Endpoint, row.text("endpoint_id"));
                let to = present.key_of(Noun::Target, row.text("target_id"));
                // A flow whose end is gone does nothing, and nothing could bring it back.
                if let (true, Some(from), Some(to)) = (within(from), from, to) {
                    document.flows.push(flow(key, row, from, to, present)?);
                }
            }
            Noun::Endpoint | Noun::Target => {}
        }
    }
    Ok(document)
}

fn flow(
    key: &Key,
    row: &Row,
    from: &Key,
    to: &Key,
    present: &Present,
) -> anyhow::Result<Flow<String>> {
    let mut names = Vec::new();
    for (end, name, plane) in [
        (from, "endpoint", "endpoint_plane"),
        (to, "target", "target_plane"),
    ] {
        names.push((name, end.name.clone()));
        let same = |key: &&Key| key.noun == end.noun && key.name == end.name;
        if present.rows.keys().filter(same).count() > 1 {
            let id = end.plane.as_deref().unwrap_or_default();
            names.push((plane, present.plane_called(id).to_owned()));
        }
    }
    written(key, row, &names)
}

/// A row as a file says it.
fn written<T: DeserializeOwned>(
    key: &Key,
    row: &Row,
    names: &[(&str, String)],
) -> anyhow::Result<T> {
    let mut members = row.row.as_object().cloned().unwrap_or_default();
    members.retain(|name, value| {
        let says = document::written(key.noun).contains(&name.as_str());
        // An empty object says nothing.
        says && value
            .as_object()
            .is_none_or(|members| members.values().any(|v| !v.is_null()))
    });
    members.insert("name".to_owned(), key.name.clone().into());
    for (name, value) in names {
        members.insert((*name).to_owned(), value.clone().into());
    }
    serde_json::from_value(Value::Object(members))
        .with_context(|| format!("{} {} is of a newer version", key.noun, key.name))
}

/// Members of rows that would be lost.
fn unknown(present: &Present) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, row) in &present.rows {
        for name in row.row.as_object().into_iter().flat_map(|row| row.keys()) {
            let given =
                GIVEN.contains(&name.as_str()) || (key.noun == Noun::Endpoint && name == "url");
            if !given && !document::written(key.noun).contains(&name.as_str()) {
                found.insert(format!("{}.{name}", key.noun));
            }
        }
    }
    found
}

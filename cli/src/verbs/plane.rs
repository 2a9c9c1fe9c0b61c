//! `zen plane …`

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use zen_chassis::files;

use super::{id_of, made};
use crate::api::Api;
use crate::args::{Bundle, Format, Kind, Plane, Way};
use crate::output::{self, Column};

const PLANES: &str = "/v1/planes";
const COLUMNS: &[Column] = &[
    ("NAME", "/name"),
    ("ID", "/id"),
    ("KIND", "/kind"),
    ("STATUS", "/status"),
    ("LAST HEARTBEAT", "/last_heartbeat_at"),
    ("REVISION", "/applied_revision"),
];

const HOPS: &[Column] = &[
    ("FROM", "/from"),
    ("TO", "/to"),
    ("ADDRESS", "/address"),
    ("TARGET", "/target_id"),
    ("MS", "/rtt_ms"),
    ("CODE", "/code"),
    ("DETAIL", "/detail"),
];

pub(crate) async fn run(verb: Plane, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Plane::Create {
            name,
            kind,
            data_plane,
        } => {
            let kind = match kind {
                Kind::Edge => "edge",
                Kind::Data => "data",
            };
            let mut body = json!({ "name": name, "kind": kind });
            if let Some(plane) = data_plane {
                body["data_plane_id"] = id_of(api, PLANES, &plane).await?.into();
            }
            output::one(format, &api.post(PLANES, &body).await?, made("plane"))
        }
        Plane::List => output::rows(format, &api.all(PLANES).await?, COLUMNS),
        Plane::Show { plane } => {
            let id = id_of(api, PLANES, &plane).await?;
            output::one(format, &api.get(&format!("{PLANES}/{id}")).await?, page)
        }
        Plane::InstallCommand(bundle) | Plane::Regenerate(bundle) => {
            issue(bundle, api, format).await
        }
        Plane::Probe { plane } => {
            let id = id_of(api, PLANES, &plane).await?;
            let probed = api
                .post(&format!("{PLANES}/{id}/probe"), &json!({}))
                .await?;
            let hops = probed["hops"].as_array().cloned().unwrap_or_default();
            output::rows(format, &hops, HOPS)
        }
        Plane::RotateCa { plane } => {
            let id = id_of(api, PLANES, &plane).await?;
            let path = format!("{PLANES}/{id}/rotate-ca");
            api.post(&path, &json!({})).await?;
            let rotated = json!({ "id": id, "name": plane });
            output::one(format, &rotated, |_| format!("plane {plane} has a new CA"))
        }
        Plane::Retire { plane } => {
            let id = id_of(api, PLANES, &plane).await?;
            api.delete(&format!("{PLANES}/{id}")).await?;
            let retired = json!({ "id": id, "name": plane, "status": "retired" });
            output::one(format, &retired, |_| {
                format!(
                    "plane {plane} retired: its agent removes its own Secrets and stops\n\
                     on a cluster, remove the rest: helm uninstall zen-mesh -n zen-mesh"
                )
            })
        }
    }
}

/// Issues a bundle and shows the command that redeems it, or writes the two files.
async fn issue(bundle: Bundle, api: &Api, format: Format) -> anyhow::Result<()> {
    let id = id_of(api, PLANES, &bundle.plane).await?;
    let mut body = json!({});
    if let Some(minutes) = bundle.ttl {
        body["ttl_seconds"] = (minutes * 60).into();
    }
    if let Some(recipient) = bundle.recipient {
        body["recipient"] = recipient.into();
    }
    choose(&bundle.way, &mut body);
    let issued = api.post(&format!("{PLANES}/{id}/bundles"), &body).await?;
    if let Some(folder) = bundle.write_to {
        write_files(&folder, &issued)?;
        let written = json!({ "bundle_id": issued["bundle_id"], "expires_at": issued["expires_at"],
            "folder": folder });
        return output::one(format, &written, |_| {
            let folder = folder.display();
            match issued["identity"].is_null() {
                true => format!("bundle.age written to {folder}; only your own identity opens it"),
                false => format!("bundle.age and identity.txt written to {folder}"),
            }
        });
    }
    output::say(&format!(
        "# valid until {}; earlier unredeemed bundles of this plane are refused now",
        issued["expires_at"].as_str().unwrap_or_default()
    ));
    output::one(format, &issued, handed)
}

/// Says in the request how the plane shall be installed.
fn choose(way: &Way, body: &mut Value) {
    let form = match (way.edge_lite, way.gitops) {
        (true, _) => "edge_lite",
        (_, true) => "gitops",
        _ => "kubernetes",
    };
    body["form"] = form.into();
    let parts = [
        ("ingester", way.ingester),
        ("egress", way.egress),
        ("lock", way.lock),
    ];
    let parts: Vec<_> = parts.iter().filter(|(_, wanted)| *wanted).collect();
    if !parts.is_empty() {
        body["components"] = parts.iter().map(|(name, _)| *name).collect();
    }
    if let Some(namespace) = &way.namespace {
        body["namespace"] = namespace.as_str().into();
    }
}

/// What a person pastes; in the GitOps form after what is committed.
fn handed(issued: &Value) -> String {
    let text = |key: &str| {
        issued[key]
            .as_str()
            .unwrap_or_default()
            .trim_end()
            .to_owned()
    };
    let command = text("install_command");
    if issued["manifests"].is_null() {
        return command;
    }
    let identity = match issued["identity"].is_null() {
        true => "the identity is yours: this, in a shell, sees to it that the cluster has it",
        false => "the identity: paste this into a shell, commit it nowhere",
    };
    format!(
        "# --- manifests.yaml: commit it\n{}\n\n# --- values.yaml: commit it\n{}\n\n\
         # --- {identity}\n{command}",
        text("manifests"),
        text("values")
    )
}

/// Writes bundle and identity where an agent looks for them.
pub(crate) fn write_files(folder: &Path, issued: &Value) -> anyhow::Result<()> {
    files::make_private_folder(folder)?;
    // The bundle goes last: whoever sees it finds the identity beside it.
    if let Some(identity) = issued["identity"].as_str() {
        files::write_durable(&folder.join("identity.txt"), identity.as_bytes(), 0o600)?;
    }
    let sealed = issued["bundle"]
        .as_str()
        .context("the API sent no bundle")?;
    files::write_durable(&folder.join("bundle.age"), sealed.as_bytes(), 0o600)?;
    Ok(())
}

fn page(plane: &Value) -> String {
    let text = |key: &str| match &plane[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut lines = vec![
        format!("{}  {}  {}", text("name"), text("id"), text("kind")),
        format!(
            "status     {}  {}",
            text("status"),
            plane["status_detail"].as_str().unwrap_or("")
        ),
        format!("heartbeat  {}", text("last_heartbeat_at")),
        format!(
            "revision   applied {} of {}",
            text("applied_revision"),
            text("published_revision")
        ),
    ];
    for part in plane["components"].as_array().into_iter().flatten() {
        let word = |key: &str| part[key].as_str().unwrap_or("-").to_owned();
        let state = if part["ready"] == true {
            "ready"
        } else {
            "not ready"
        };
        lines.push(format!(
            "component  {} {}  {}  {state}  queue {}",
            word("component"),
            word("instance"),
            word("version"),
            part["queue_depth"]
        ));
    }
    lines.extend(lock(&plane["lock"]));
    for alert in plane["alerts"].as_array().into_iter().flatten() {
        lines.push(format!("ALERT      {}", event(alert)));
    }
    for entry in plane["timeline"].as_array().into_iter().flatten() {
        lines.push(format!("timeline   {}", event(entry)));
    }
    lines.join("\n")
}

/// The keys of the plane's zen-lock, and what does not open.
fn lock(lock: &Value) -> Vec<String> {
    let listed = |key: &str| lock[key].as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = listed("recipients")
        .iter()
        .enumerate()
        .map(|(place, key)| {
            let newest = if place == 0 { "  for new seals" } else { "" };
            format!("key        {}{newest}", word(key))
        })
        .collect();
    for used in listed("usage") {
        let key = word(&used["key_id"]);
        lines.push(format!("sealed     {} to {key}", used["secrets"]));
    }
    if lock["to_reseal"].as_u64().is_some_and(|left| left > 0) {
        lines.push(format!("re-sealing {} still to do", lock["to_reseal"]));
    }
    for secret in listed("unopened") {
        let (name, code) = (word(&secret["name"]), word(&secret["code"]));
        lines.push(format!(
            "unopened   {name}  {code}  {}",
            word(&secret["remedy"])
        ));
    }
    lines
}

fn event(entry: &Value) -> String {
    ["at", "kind", "code", "detail", "remote_address"]
        .iter()
        .filter_map(|key| entry[key].as_str())
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join("  ")
}

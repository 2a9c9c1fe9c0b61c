//! What the chart is told: as arguments of helm, and as a file of values. None of it is secret.

use serde_json::{Value, json};

use super::{Choice, Install, Part, RELEASE, shell, yaml};
use crate::charts;
use crate::plane::PlaneKind;

/// What is known here.
fn known(install: &Install<'_>, choice: &Choice) -> Value {
    let mut all = json!({ "global": {
        "planeId": install.plane.to_string(),
        "controlPlane": { "address": install.control_plane },
    } });
    if let Some(registry) = install.image_registry {
        all["global"]["imageRegistry"] = registry.into();
    }
    for part in &choice.parts {
        all[part.chart()] = json!({ "enabled": true });
    }
    if install.lock_opens() {
        all[Part::Lock.chart()] = json!({ "enabled": true });
        all["zen-agent"] = json!({ "enrollment": { "lock": { "enabled": true } } });
    }
    all
}

/// `path=value` for each, as one word of a shell.
pub(super) fn arguments(install: &Install<'_>, choice: &Choice) -> Vec<String> {
    let mut leaves = Vec::new();
    flatten(&known(install, choice), "", &mut leaves);
    leaves.iter().map(|leaf| shell::word(leaf)).collect()
}

fn flatten(value: &Value, path: &str, leaves: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(value, &format!("{path}{dot}{key}"), leaves);
            }
        }
        Value::String(text) => leaves.push(format!("{path}={}", escaped(text))),
        other => leaves.push(format!("{path}={other}")),
    }
}

/// Helm reads commas, braces and backslashes in a value as something else.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, ',' | '\\' | '{' | '}') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The same as a file, with what else a GitOps controller must be told.
pub(super) fn file(install: &Install<'_>, choice: &Choice) -> String {
    let Install { repository, .. } = install;
    let (chart, version) = (install.chart(), charts::VERSION);
    let mut text = format!(
        "# Values of the chart {chart} {version}, Helm repository {repository},\n\
         # release {RELEASE}, namespace {}.\n",
        choice.namespace
    );
    text.push_str(&yaml::tree(&known(install, choice), 0));
    if install.kind == PlaneKind::Data {
        text.push_str(
            "zen-bridge:\n  # host:port under which other planes dial the bridge: fill it in.\n  \
             advertise: \"\"\n",
        );
    }
    text
}

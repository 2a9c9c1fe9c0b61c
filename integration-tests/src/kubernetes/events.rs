//! The two forms of an Event: kept in the core group's, shown in both.

use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;

/// Names of fields: in `events.k8s.io`, and in the core group.
const NAMES: &[(&str, &str)] = &[
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// An object of a request in the form that is kept.
pub(super) fn to_kept(kind: &Kind, object: &mut Value) {
    if kind.is_new_event() {
        rename(object, |(new, kept)| (new, kept));
        object["apiVersion"] = "v1".into();
    }
}

/// A kept object as this kind shows it.
pub(super) fn shown(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    if kind.is_new_event() {
        rename(&mut object, |(new, kept)| (kept, new));
        object["apiVersion"] = kind.api_version().into();
    }
    object
}

fn rename(
    object: &mut Value,
    way: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for &names in NAMES {
        let (from, to) = way(names);
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

/// What a new Event must say, as the reference has it; in the kept form.
pub(super) fn check(kind: &Kind, name: &str, event: &Value) -> Result<(), Refusal> {
    let wrong = |field: &str, why: &str| Err(Refusal::invalid(kind, name, field, why));
    let namespace = event["involvedObject"]["namespace"].as_str();
    let own = event["metadata"]["namespace"].as_str().unwrap_or_default();
    if namespace.unwrap_or("default") != own {
        return wrong("involvedObject.namespace", "does not match event.namespace");
    }
    if !kind.is_new_event() {
        return Ok(());
    }
    if !event["eventTime"].is_string() {
        return wrong("eventTime", "Required value");
    }
    for (field, shown, longest) in [
        ("reportingComponent", "reportingController", 128),
        ("reportingInstance", "reportingInstance", 128),
        ("action", "action", 128),
        ("reason", "reason", 128),
    ] {
        match event[field].as_str().unwrap_or_default() {
            "" => return wrong(shown, "Required value"),
            text if text.len() > longest => {
                return wrong(shown, "can have at most 128 characters");
            }
            _ => {}
        }
    }
    if event["message"]
        .as_str()
        .is_some_and(|note| note.len() > 1024)
    {
        return wrong("note", "can have at most 1024 characters");
    }
    if !matches!(event["type"].as_str(), Some("Normal" | "Warning")) {
        return wrong("type", "has invalid value");
    }
    Ok(())
}

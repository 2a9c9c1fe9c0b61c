//! Reads what a person wrote in JSON. A fault names its field and what is expected there, never
//! what was given: that may be a secret in the wrong place.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;

/// Reads a body.
///
/// # Errors
/// A problem with the field that does not fit.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(Problem::invalid("the body must be an object"));
    }
    // Read from text with one value a line: serde then says where it stopped.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| {
        let mut lines = Vec::new();
        fields_of_lines(value, String::new(), &mut lines);
        let line = error.line().saturating_sub(1);
        let place = lines.get(line).cloned().unwrap_or_default();
        let message = error.to_string();
        match message
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next())
        {
            Some(missing) => Problem::field(&below(&place, missing), "required"),
            None => Problem::field(&place, expectation(&message)),
        }
    })
}

/// Changes what is there as a JSON merge patch (RFC 7396) says, and reads the outcome like a body
/// that was newly written: there is one way to check both.
///
/// # Errors
/// As [`read`].
pub(super) fn patched<T: Serialize + DeserializeOwned>(
    now: &T,
    patch: Value,
) -> Result<T, Problem> {
    if !patch.is_object() {
        return Err(Problem::invalid("the body must be an object"));
    }
    let unwritable = |error: serde_json::Error| Problem::internal(error.to_string());
    let mut merged = serde_json::to_value(now).map_err(unwritable)?;
    merge(&mut merged, patch);
    read(&merged)
}

fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(members) = into {
        for (name, change) in patch {
            if change.is_null() {
                members.remove(&name);
            } else {
                merge(members.entry(name).or_insert(Value::Null), change);
            }
        }
    }
}

/// The field that each line of the pretty-printed value belongs to.
fn fields_of_lines(value: &Value, place: String, lines: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (below(&place, name), member))
            .collect(),
        Value::Array(entries) => {
            let entry = |(at, entry)| (below(&place, &format!("{at}")), entry);
            entries.iter().enumerate().map(entry).collect()
        }
        _ => Vec::new(),
    };
    lines.push(place.clone());
    if members.is_empty() {
        return;
    }
    for (place, member) in members {
        fields_of_lines(member, place, lines);
    }
    lines.push(place);
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}

/// What serde expected, without what it found.
fn expectation(message: &str) -> String {
    if message.starts_with("unknown field") {
        return "there is no such field".to_owned();
    }
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(before, _)| before);
    message.rsplit_once(", expected ").map_or_else(
        || "not valid here".to_owned(),
        |(_, expected)| format!("expected {expected}"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow::FlowBody;
    use crate::target::TargetBody;

    #[test]
    fn a_patch_changes_what_it_names_and_null_takes_away() {
        let mut value = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1]});
        merge(
            &mut value,
            json!({"a": null, "b": {"c": 4}, "e": [2, 3], "f": {"g": null}}),
        );
        assert_eq!(value, json!({"b": {"c": 4, "d": 3}, "e": [2, 3], "f": {}}));
    }

    fn fault<T: DeserializeOwned>(value: Value) -> (String, String) {
        let problem = read::<T>(&value).err().unwrap();
        (
            problem.errors[0].field.clone(),
            problem.errors[0].detail.clone(),
        )
    }

    #[test]
    fn a_fault_names_its_field_and_never_the_value() {
        let flow = json!({"name": "f", "endpoint_id": "e", "target_id": "t"});
        let with = |field: &str, value: Value| {
            let mut body = flow.clone();
            body[field] = value;
            body
        };
        assert_eq!(fault::<FlowBody>(with("nam", json!(1))).0, "nam");
        assert_eq!(fault::<FlowBody>(json!({"name": "f"})).1, "required");
        assert_eq!(
            fault::<FlowBody>(with("retry", json!({"max_attempts": "x"}))).0,
            "retry.max_attempts"
        );
        assert_eq!(
            fault::<FlowBody>(with("retry", json!({"max": 1}))).0,
            "retry.max"
        );
        let target = json!({
            "plane_id": "p", "name": "t", "url": "u", "allowed_networks": [],
            "signing_secrets": ["file:a", 7],
        });
        assert_eq!(fault::<TargetBody>(target.clone()).0, "signing_secrets.1");
        for (field, value) in [
            ("signing_secrets", json!("s3cret")),
            ("auth", json!("s3cret")),
        ] {
            let mut body = target.clone();
            body["signing_secrets"] = json!([]);
            body[field] = value;
            let (place, detail) = fault::<TargetBody>(body);
            assert_eq!(place, field);
            assert!(!detail.contains("s3cret"), "{detail}");
        }
    }
}

//! From a form to the body that the API takes, and back. Pure.
//!
//! A form's fields carry the API's own dotted names (`verification.tolerance_seconds`), so that a
//! fault of the API finds its field by name.

use serde_json::{Map, Value};

use super::form::Posted;

/// How a field of a form is written in the API's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text; an empty one is sent as it is.
    Text,
    /// A text; an empty one means that there is none.
    MaybeText,
    /// A number; an empty one means that there is none.
    MaybeNumber,
    /// One entry a line, empty lines left out.
    Lines,
    /// A box to tick.
    Tick,
}

/// The fields of a form: names as in the API.
pub(super) type Fields = [(&'static str, Kind)];

/// The body that the API takes for these fields. What is absent is written as `null`: a merge
/// patch then takes away what was there.
pub(super) fn body(posted: &Posted, fields: &Fields) -> Value {
    let mut body = Value::Object(Map::new());
    for (name, kind) in fields {
        put(&mut body, name, value(posted, name, *kind));
    }
    body
}

/// What the form of a body shows: the way back of [`body`].
pub(super) fn filled(body: &Value) -> Posted {
    flattened(Posted::default(), "", body)
}

/// A number of a form: none if the field is empty. What is no number goes on as it is; the API
/// says what it expects there.
fn value(posted: &Posted, name: &str, kind: Kind) -> Value {
    let text = posted.get(name);
    match kind {
        Kind::Text => Value::from(text),
        Kind::Tick => Value::from(posted.has(name)),
        Kind::Lines => lines(text).collect(),
        Kind::MaybeText | Kind::MaybeNumber if text.is_empty() => Value::Null,
        Kind::MaybeText => Value::from(text),
        Kind::MaybeNumber => text
            .parse::<u64>()
            .map_or_else(|_| Value::from(text), Value::from),
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Puts a value at its dotted place.
fn put(body: &mut Value, place: &str, value: Value) {
    let Value::Object(members) = body else { return };
    match place.split_once('.') {
        None => {
            members.insert(place.to_owned(), value);
        }
        Some((name, below)) => {
            let empty = || Value::Object(Map::new());
            put(members.entry(name).or_insert_with(empty), below, value);
        }
    }
}

fn flattened(posted: Posted, place: &str, value: &Value) -> Posted {
    match value {
        Value::Object(members) => members.iter().fold(posted, |posted, (name, member)| {
            let below = if place.is_empty() {
                name.clone()
            } else {
                format!("{place}.{name}")
            };
            flattened(posted, &below, member)
        }),
        Value::Array(entries) => {
            let lines: Vec<_> = entries.iter().map(plain).collect();
            posted.or(place, lines.join("\n"))
        }
        Value::Null | Value::Bool(false) => posted,
        other => posted.or(place, plain(other)),
    }
}

/// A value as a person types it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: &Fields = &[
        ("name", Kind::Text),
        ("verification.scheme", Kind::Text),
        ("verification.secrets", Kind::Lines),
        ("verification.tolerance_seconds", Kind::MaybeNumber),
        ("ca_pem", Kind::MaybeText),
        ("enabled", Kind::Tick),
    ];

    #[test]
    fn a_form_becomes_the_body_of_the_api_and_the_body_the_same_form() {
        let posted = Posted::default()
            .or("name", " a <b> ")
            .or("verification.scheme", "github")
            .or("verification.secrets", "file:a\r\n\r\n file:b")
            .or("verification.tolerance_seconds", "60")
            .or("ca_pem", "")
            .or("enabled", "on");
        let wanted = json!({
            "name": "a <b>",
            "verification": {
                "scheme": "github", "secrets": ["file:a", "file:b"], "tolerance_seconds": 60,
            },
            "ca_pem": null,
            "enabled": true,
        });
        assert_eq!(body(&posted, FIELDS), wanted);
        assert_eq!(body(&filled(&wanted), FIELDS), wanted);
    }

    #[test]
    fn what_is_no_number_is_left_for_the_api_to_refuse() {
        let posted = Posted::default().or("verification.tolerance_seconds", "soon");
        let body = body(&posted, FIELDS);
        assert_eq!(body["verification"]["tolerance_seconds"], json!("soon"));
        assert_eq!(body["enabled"], json!(false));
    }
}

//! What the server does to every object before it keeps it: whose metadata is whose, what a Secret
//! may hold, what never changes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use serde_json::{Value, json};

use super::events;
use super::kinds::Kind;
use super::refusal::Refusal;

/// Most that a Secret or a ConfigMap may hold, bytes.
const LARGEST: usize = 1024 * 1024;

/// Metadata that the server alone writes.
const OWN: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// Makes an object ready to be kept, or says what is wrong with it.
pub(super) fn admit(
    kind: &Kind,
    namespace: &str,
    name: &str,
    object: &mut Value,
    before: Option<&Value>,
    now: &str,
) -> Result<(), Refusal> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    events::to_kept(kind, object);
    let metadata = &mut object["metadata"];
    metadata["name"] = name.into();
    if kind.namespaced {
        metadata["namespace"] = namespace.into();
    }
    for field in OWN {
        let kept = before.map(|before| before["metadata"][field].clone());
        match (
            kept.filter(|kept| !kept.is_null()),
            metadata.as_object_mut(),
        ) {
            (Some(kept), _) => metadata[*field] = kept,
            (None, Some(metadata)) => drop(metadata.remove(*field)),
            (None, None) => {}
        }
    }
    if before.is_none() {
        if !name_is_good(kind, name) {
            let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                       characters, '-' or '.'";
            return Err(Refusal::invalid(kind, name, "metadata.name", why));
        }
        metadata["uid"] = uid().into();
        metadata["creationTimestamp"] = now.into();
    }
    if kind.status && !kind.group.is_empty() {
        let generation = before.and_then(|before| before["metadata"]["generation"].as_u64());
        let same = before.is_some_and(|before| before["spec"] == object["spec"]);
        let generation = generation.unwrap_or(0) + u64::from(!same);
        object["metadata"]["generation"] = generation.into();
    }
    match kind.resource {
        "secrets" => secret(kind, name, object, before)?,
        "configmaps" => {
            measure(kind, name, &[&object["data"], &object["binaryData"]])?;
            unchanged(kind, name, object, before)?;
        }
        "namespaces" => {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
            object["status"]["phase"] = "Active".into();
        }
        "events" => events::check(kind, name, object)?,
        "roles" | "clusterroles" => {}
        _ if kind.resource.ends_with("bindings") => {
            let same = before.is_none_or(|before| before["roleRef"] == object["roleRef"]);
            if !same {
                return Err(Refusal::invalid(
                    kind,
                    name,
                    "roleRef",
                    "cannot change roleRef",
                ));
            }
        }
        _ => {}
    }
    Ok(())
}

fn secret(
    kind: &Kind,
    name: &str,
    object: &mut Value,
    before: Option<&Value>,
) -> Result<(), Refusal> {
    let plain = object
        .as_object_mut()
        .and_then(|map| map.remove("stringData"));
    for (key, value) in plain
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let value = value.as_str().unwrap_or_default();
        object["data"][key] = STANDARD.encode(value).into();
    }
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let good = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        if key.is_empty() || key.len() > 253 || !key.chars().all(good) {
            let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
            return Err(Refusal::invalid(kind, name, &format!("data[{key}]"), why));
        }
        let text = value.as_str().unwrap_or_default();
        if !value.is_null() && STANDARD.decode(text).is_err() {
            let text =
                format!("Secret in version \"v1\" cannot be handled: data.{key}: illegal base64");
            return Err(Refusal::bad(text));
        }
    }
    if object["type"].is_null() {
        let kept = before.map(|before| before["type"].clone());
        object["type"] = kept.unwrap_or_else(|| "Opaque".into());
    }
    if before.is_some_and(|before| before["type"] != object["type"]) {
        return Err(Refusal::invalid(kind, name, "type", "field is immutable"));
    }
    measure(kind, name, &[&object["data"]])?;
    unchanged(kind, name, object, before)
}

/// Of Secrets the decoded content counts; base64 is four letters for three bytes.
fn measure(kind: &Kind, name: &str, maps: &[&Value]) -> Result<(), Refusal> {
    let mut total = 0;
    for map in maps {
        for value in map
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, value)| value)
        {
            let text = value.as_str().unwrap_or_default();
            total += if kind.resource == "secrets" {
                STANDARD
                    .decode(text)
                    .map_or(text.len(), |bytes| bytes.len())
            } else {
                text.len()
            };
        }
    }
    if total > LARGEST {
        let why = "Too long: may not be more than 1048576 bytes";
        return Err(Refusal::invalid(kind, name, "data", why));
    }
    Ok(())
}

/// What was declared immutable stays as it was.
fn unchanged(
    kind: &Kind,
    name: &str,
    object: &Value,
    before: Option<&Value>,
) -> Result<(), Refusal> {
    let Some(before) = before.filter(|before| before["immutable"] == true) else {
        return Ok(());
    };
    if object["immutable"] != true || object["data"] != before["data"] {
        let why = "field is immutable when `immutable` is set";
        return Err(Refusal::invalid(kind, name, "data", why));
    }
    Ok(())
}

fn name_is_good(kind: &Kind, name: &str) -> bool {
    if kind.group == "rbac.authorization.k8s.io" {
        return !name.is_empty() && !name.contains(['/', '%']);
    }
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.split('.').all(|part| {
            part.starts_with(inner)
                && part.ends_with(inner)
                && part.chars().all(|letter| inner(letter) || letter == '-')
        })
}

fn uid() -> String {
    let bytes: [u8; 16] = rand::rng().random();
    let text = hex::encode(bytes);
    let (a, rest) = text.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// A name that begins so and that nobody has.
pub(super) fn generated(beginning: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rng = rand::rng();
    let end = (0..5).filter_map(|_| LETTERS.get(rng.random_range(0..LETTERS.len())));
    beginning.to_owned() + &end.map(|&letter| char::from(letter)).collect::<String>()
}

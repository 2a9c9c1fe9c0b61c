//! Schemas as callers need them: views in one piece, the changes that a `PATCH` may bring, and the
//! form of ids.

use serde_json::{Map, Value, json};

const SCHEMAS: &str = "#/components/schemas/";

/// Form of an id by the name of the field or parameter that holds it.
const IDS: [(&str, &str); 11] = [
    ("plane_id", "pl"),
    ("data_plane_id", "pl"),
    ("endpoint_plane_id", "pl"),
    ("target_plane_id", "pl"),
    ("endpoint_id", "ep"),
    ("target_id", "tgt"),
    ("flow_id", "flw"),
    ("tenant_id", "ten"),
    ("user_id", "usr"),
    ("delivery_id", "dlv"),
    ("bundle_id", "bnd"),
];

/// The pattern of an id with this prefix.
pub(super) fn id_pattern(prefix: &str) -> String {
    format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")
}

/// Completes the schemas of the document.
pub(super) fn complete(document: &mut Value) {
    let Some(schemas) = document["components"]["schemas"].as_object() else {
        return;
    };
    let mut whole: Map<String, Value> = schemas
        .iter()
        .map(|(name, schema)| (name.clone(), in_one_piece(schemas, schema)))
        .collect();
    for (_, schema) in &mut whole {
        give_ids_their_form(schema);
    }
    let patches: Vec<(String, Value)> = whole
        .iter()
        .filter_map(|(name, schema)| {
            let noun = name.strip_suffix("Body")?;
            Some((format!("{noun}Patch"), patch(&whole, schema, true)))
        })
        .collect();
    whole.extend(patches);
    document["components"]["schemas"] = Value::Object(whole);
}

/// The name of the schema that a reference leads to.
pub(super) fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(SCHEMAS)
}

/// A view that repeats what a person wrote is told as one object: put together of closed parts,
/// no object could be all of them.
fn in_one_piece(schemas: &Map<String, Value>, schema: &Value) -> Value {
    let Some(parts) = schema["allOf"].as_array() else {
        let inner = |part: &Value| in_one_piece(schemas, part);
        return match schema {
            Value::Object(members) => members
                .iter()
                .map(|(name, member)| (name.clone(), inner(member)))
                .collect(),
            Value::Array(entries) => entries.iter().map(inner).collect(),
            other => other.clone(),
        };
    };
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        let part = referred(part)
            .and_then(|name| schemas.get(name))
            .unwrap_or(part);
        let part = in_one_piece(schemas, part);
        if let Some(members) = part["properties"].as_object() {
            properties.extend(members.clone());
        }
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    let mut whole = json!({"type": "object", "properties": properties, "required": required});
    if let Some(about) = schema.get("description") {
        whole["description"] = about.clone();
    }
    whole
}

fn give_ids_their_form(schema: &mut Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        let known = IDS.iter().find(|(known, _)| known == name);
        if let Some((_, prefix)) = known {
            property["pattern"] = json!(id_pattern(prefix));
        }
    }
}

/// What a merge patch (RFC 7396) of such an object may look like: nothing is required, and null
/// takes away. Where one of several forms is possible, only the outcome is checked.
fn patch(schemas: &Map<String, Value>, schema: &Value, outermost: bool) -> Value {
    let schema = referred(schema)
        .and_then(|name| schemas.get(name))
        .unwrap_or(schema);
    let mut schema = schema.clone();
    let chosen = ["oneOf", "anyOf"].map(|word| schema.get(word).cloned());
    if let Some(forms) = chosen.into_iter().flatten().next() {
        return one_of(schemas, &schema, &forms);
    }
    let Some(members) = schema.as_object_mut() else {
        return schema;
    };
    members.remove("required");
    members.remove("default");
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        for (_, property) in properties {
            *property = patch(schemas, property, false);
        }
    }
    if !outermost {
        or_null(members);
    }
    schema
}

/// An optional object is told as a choice of nothing and the object.
fn one_of(schemas: &Map<String, Value>, schema: &Value, forms: &Value) -> Value {
    let forms: Vec<&Value> = forms.as_array().into_iter().flatten().collect();
    let mut some = forms.iter().filter(|form| form["type"] != "null");
    if let (Some(only), None) = (some.next(), some.next()) {
        return patch(schemas, only, false);
    }
    let mut any = json!({});
    if let Some(about) = schema.get("description") {
        any["description"] = about.clone();
    }
    any
}

fn or_null(members: &mut Map<String, Value>) {
    if let Some(values) = members.get_mut("enum").and_then(Value::as_array_mut) {
        values.push(Value::Null);
    }
    match members.get_mut("type") {
        Some(Value::Array(types)) if !types.contains(&json!("null")) => types.push(json!("null")),
        Some(only @ Value::String(_)) => *only = json!([only.clone(), "null"]),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_of_parts_is_one_object() {
        let mut document = json!({"components": {"schemas": {
            "XBody": {
                "type": "object", "required": ["name"], "additionalProperties": false,
                "properties": {"name": {"type": "string"}, "plane_id": {"type": "string"}},
            },
            "XView": {"allOf": [
                {"$ref": "#/components/schemas/XBody"},
                {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            ]},
            "Listed_XView": {"type": "object", "properties": {
                "items": {"type": "array", "items": {"allOf": [
                    {"$ref": "#/components/schemas/XBody"},
                    {"type": "object", "properties": {"id": {"type": "string"}}},
                ]}},
            }},
        }}});
        complete(&mut document);
        let listed = &document["components"]["schemas"]["Listed_XView"]["properties"];
        let item = &listed["items"]["items"];
        assert_eq!(item["additionalProperties"], Value::Null);
        assert_eq!(item["properties"]["id"]["type"], "string");
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["XView"]["required"], json!(["name", "id"]));
        assert_eq!(schemas["XView"]["additionalProperties"], Value::Null);
        let pattern = &schemas["XView"]["properties"]["plane_id"]["pattern"];
        assert_eq!(pattern, &json!(id_pattern("pl")));
        let patch = &schemas["XPatch"];
        assert_eq!(patch["required"], Value::Null);
        assert_eq!(patch["additionalProperties"], false);
        assert_eq!(
            patch["properties"]["name"]["type"],
            json!(["string", "null"])
        );
    }
}

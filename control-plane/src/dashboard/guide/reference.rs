//! The API's document (OpenAPI 3.1) as a person reads it: operations by noun, their parameters and
//! fields, an example. Pure; what the document does not say is left out.

use serde_json::{Map, Value, json};

/// How deep fields of fields are told.
const DEPTH: usize = 3;
/// References followed one after another at the most.
const REFERENCES: usize = 8;
/// In the order of the paths' methods.
const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

/// Operations that belong together.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) anchor: String,
    pub(super) about: String,
    pub(super) operations: Vec<Operation>,
}

/// One operation.
pub(super) struct Operation {
    pub(super) anchor: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) summary: String,
    pub(super) about: String,
    pub(super) parameters: Vec<Field>,
    pub(super) body: Vec<Field>,
    /// Status and fields of the good answer.
    pub(super) answer_status: String,
    pub(super) answer: Vec<Field>,
    /// Status and description of each problem.
    pub(super) problems: Vec<(String, String)>,
    pub(super) curl: String,
}

/// A parameter, or a field of a body.
pub(super) struct Field {
    /// Dotted if it lies in another one.
    pub(super) name: String,
    /// `path`, `query` or `header`; empty in a body.
    pub(super) place: String,
    pub(super) kind: String,
    pub(super) about: String,
    pub(super) wanted: bool,
}

/// The operations of a document, grouped by their first tag in the order they are met.
pub(super) fn groups(document: &Value, base: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (path, item) in members(&document["paths"]) {
        for method in METHODS {
            let written = &item[method];
            if !written.is_object() {
                continue;
            }
            let tag = text(&written["tags"][0]);
            let operation = operation(document, base, path, method, item, written);
            match groups.iter_mut().find(|group| group.name == tag) {
                Some(group) => group.operations.push(operation),
                None => groups.push(Group {
                    anchor: format!("api-{}", anchored(&tag)),
                    about: about_tag(document, &tag),
                    name: tag,
                    operations: vec![operation],
                }),
            }
        }
    }
    groups
}

fn operation(
    document: &Value,
    base: &str,
    path: &str,
    method: &str,
    item: &Value,
    written: &Value,
) -> Operation {
    let parameters: Vec<_> = [item, written]
        .into_iter()
        .flat_map(|level| entries(&level["parameters"]))
        .map(|parameter| parameter_of(document, parameter))
        .collect();
    let body = json_schema(document, resolved(document, &written["requestBody"]));
    let (answer_status, answer) = good_answer(document, written);
    Operation {
        anchor: text(&written["operationId"]),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&written["summary"]),
        about: text(&written["description"]),
        parameters,
        body: fields(document, body),
        answer: fields(document, answer),
        answer_status,
        problems: problems(document, written),
        curl: curl(document, base, path, method, body),
    }
}

fn parameter_of(document: &Value, parameter: &Value) -> Field {
    let parameter = resolved(document, parameter);
    let schema = resolved(document, &parameter["schema"]);
    Field {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        kind: kind(document, schema),
        about: told(parameter, schema),
        wanted: parameter["required"] == true,
    }
}

/// The status and schema of the answer that is no problem.
fn good_answer<'a>(document: &'a Value, written: &'a Value) -> (String, &'a Value) {
    let good = members(&written["responses"]).find(|(status, _)| status.starts_with('2'));
    match good {
        Some((status, response)) => (
            status.clone(),
            json_schema(document, resolved(document, response)),
        ),
        None => (String::new(), &Value::Null),
    }
}

fn problems(document: &Value, written: &Value) -> Vec<(String, String)> {
    members(&written["responses"])
        .filter(|(status, _)| status.starts_with(['4', '5']))
        .map(|(status, response)| {
            let about = text(&resolved(document, response)["description"]);
            (status.clone(), about)
        })
        .collect()
}

/// The schema of the JSON in a body or response; null if there is none.
fn json_schema<'a>(document: &'a Value, holder: &'a Value) -> &'a Value {
    let content = &holder["content"];
    let json = content.get("application/json");
    let first = || members(content).next().map(|(_, media)| media);
    json.or_else(first)
        .map_or(&Value::Null, |media| resolved(document, &media["schema"]))
}

/// The fields of an object, those of inner objects after them with dotted names.
fn fields(document: &Value, schema: &Value) -> Vec<Field> {
    let mut all = Vec::new();
    gather(document, schema, "", 0, &mut all);
    all
}

fn gather(document: &Value, schema: &Value, place: &str, depth: usize, all: &mut Vec<Field>) {
    if depth > DEPTH {
        return;
    }
    let schema = resolved(document, schema);
    for part in entries(&schema["allOf"]) {
        gather(document, part, place, depth + 1, all);
    }
    if schema["type"] == "array" || schema["items"].is_object() {
        gather(
            document,
            &schema["items"],
            &format!("{place}[]"),
            depth,
            all,
        );
        return;
    }
    for choice in entries(&schema["oneOf"]).chain(entries(&schema["anyOf"])) {
        gather(document, choice, place, depth + 1, all);
    }
    for (name, written) in members(&schema["properties"]) {
        let inner = resolved(document, written);
        let dotted = if place.is_empty() {
            name.clone()
        } else {
            format!("{place}.{name}")
        };
        let wanted = entries(&schema["required"]).any(|wanted| wanted == name.as_str());
        all.push(Field {
            kind: kind(document, written),
            about: told(written, inner),
            name: dotted.clone(),
            place: String::new(),
            wanted,
        });
        gather(document, inner, &dotted, depth + 1, all);
    }
}

/// What is said at a place, else at what it refers to, with the values it may have.
fn told(here: &Value, referred: &Value) -> String {
    let said = [here, referred].map(|value| text(&value["description"]));
    let mut told = said.into_iter().find(|said| !said.is_empty());
    for (word, name) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("maxLength", "characters at most:"),
        ("maxItems", "entries at most:"),
        ("default", "unless given:"),
    ] {
        let value = [here, referred]
            .into_iter()
            .map(|schema| &schema[word])
            .find(|value| !value.is_null());
        if let Some(value) = value {
            let before = told.unwrap_or_default();
            let gap = if before.is_empty() { "" } else { " " };
            told = Some(format!("{before}{gap}({name} {})", text(value)));
        }
    }
    told.unwrap_or_default()
}

/// The type in words.
fn kind(document: &Value, schema: &Value) -> String {
    let schema = resolved(document, schema);
    let choices: Vec<_> = entries(&schema["enum"]).map(text).collect();
    if !choices.is_empty() {
        return choices.join(" | ");
    }
    if let Some(only) = schema.get("const") {
        return text(only);
    }
    let parts: Vec<_> = entries(&schema["oneOf"])
        .chain(entries(&schema["anyOf"]))
        .map(|choice| kind(document, choice))
        .filter(|kind| kind != "null" && !kind.is_empty())
        .collect();
    if !parts.is_empty() {
        return parts.join(" | ");
    }
    match &schema["type"] {
        Value::String(word) if word == "array" => {
            format!("list of {}", kind(document, &schema["items"]))
        }
        Value::String(word) => word.clone(),
        Value::Array(words) => {
            let words = words.iter().map(text).filter(|word| word != "null");
            words.collect::<Vec<_>>().join(" | ")
        }
        _ if schema["properties"].is_object() => "object".to_owned(),
        _ => String::new(),
    }
}

/// A call as it is typed.
fn curl(document: &Value, base: &str, path: &str, method: &str, body: &Value) -> String {
    let mut lines = vec![match method {
        "get" => format!("curl '{base}{path}'"),
        _ => format!("curl -X {} '{base}{path}'", method.to_uppercase()),
    }];
    lines.push("-H \"Authorization: Bearer $ZEN_API_KEY\"".to_owned());
    if body.is_object() {
        let example = example(document, body, 0);
        lines.push("-H 'content-type: application/json'".to_owned());
        lines.push(format!("-d '{example}'"));
    }
    lines.join(" \\\n  ")
}

/// An example of what must be given; of an object where nothing must, its first field.
fn example(document: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolved(document, schema);
    if depth > DEPTH {
        return Value::Null;
    }
    if let Some(given) = schema.get("example") {
        return given.clone();
    }
    if let Some(first) = entries(&schema["enum"]).next() {
        return first.clone();
    }
    let inner = entries(&schema["oneOf"]).chain(entries(&schema["anyOf"]));
    let mut inner = inner.chain(entries(&schema["allOf"]));
    if let Some(first) = inner.find(|choice| choice["type"] != "null") {
        return example(document, first, depth + 1);
    }
    let word = match &schema["type"] {
        Value::Array(words) => words.iter().map(text).find(|word| word != "null"),
        other => Some(text(other)),
    };
    match word.unwrap_or_default().as_str() {
        "string" => json!("…"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(true),
        "array" => json!([]),
        _ => {
            let wanted: Vec<_> = entries(&schema["required"]).map(text).collect();
            let chosen = members(&schema["properties"])
                .enumerate()
                .filter(|(at, (name, _))| wanted.contains(name) || (wanted.is_empty() && *at == 0))
                .map(|(_, (name, inner))| (name.clone(), example(document, inner, depth + 1)));
            Value::Object(chosen.collect::<Map<_, _>>())
        }
    }
}

/// What a reference leads to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let mut found = value;
    for _ in 0..REFERENCES {
        let Some(place) = found["$ref"].as_str().and_then(|r| r.strip_prefix('#')) else {
            return found;
        };
        found = document.pointer(place).unwrap_or(&Value::Null);
    }
    found
}

fn about_tag(document: &Value, tag: &str) -> String {
    let known = entries(&document["tags"]).find(|known| known["name"] == tag);
    known
        .map(|known| text(&known["description"]))
        .unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A name as part of an address.
fn anchored(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.to_lowercase().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        json!({
            "tags": [{"name": "endpoints", "description": "Where sources post."}],
            "paths": {"/v1/endpoints/{id}": {
                "parameters": [{"name": "id", "in": "path", "required": true,
                    "schema": {"type": "string"}}],
                "patch": {
                    "operationId": "change_endpoint", "tags": ["endpoints"], "summary": "Change",
                    "requestBody": {"content": {"application/json":
                        {"schema": {"$ref": "#/components/schemas/Body"}}}},
                    "responses": {
                        "200": {"description": "It.", "content": {"application/json":
                            {"schema": {"$ref": "#/components/schemas/Body"}}}},
                        "404": {"$ref": "#/components/responses/Absent"},
                    },
                },
            }},
            "components": {
                "responses": {"Absent": {"description": "There is none."}},
                "schemas": {
                    "Body": {"type": "object", "required": ["name"], "properties": {
                        "name": {"type": "string", "maxLength": 100, "description": "A name."},
                        "limits": {"type": ["object", "null"], "properties": {
                            "bytes": {"type": "integer", "minimum": 1},
                        }},
                        "again": {"$ref": "#/components/schemas/Body"},
                    }},
                },
            },
        })
    }

    #[test]
    fn an_operation_is_told_with_all_that_the_document_says() {
        let groups = groups(&document(), "https://mesh.example");
        assert_eq!(groups[0].about, "Where sources post.");
        let operation = &groups[0].operations[0];
        assert_eq!(
            (operation.method.as_str(), operation.path.as_str()),
            ("PATCH", "/v1/endpoints/{id}")
        );
        assert!(operation.parameters[0].wanted && operation.parameters[0].place == "path");
        let name = operation
            .body
            .iter()
            .find(|field| field.name == "name")
            .unwrap();
        assert_eq!(name.about, "A name. (characters at most: 100)");
        assert!(name.wanted);
        assert!(
            operation
                .body
                .iter()
                .any(|field| field.name == "limits.bytes")
        );
        assert_eq!(operation.answer_status, "200");
        assert_eq!(
            operation.problems,
            [("404".to_owned(), "There is none.".to_owned())]
        );
        assert!(operation.curl.contains("-X PATCH 'https://mesh.example/v1"));
        assert!(
            operation.curl.ends_with(r#"-d '{"name":"…"}'"#),
            "{}",
            operation.curl
        );
    }

    #[test]
    fn a_schema_within_itself_comes_to_an_end() {
        let fields = groups(&document(), "")[0].operations[0].body.len();
        assert!((3..40).contains(&fields), "{fields}");
    }
}

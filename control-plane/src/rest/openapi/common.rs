//! What all operations have in common: who may call, which headers are read, and which problems
//! may come.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::schemas::{id_pattern, referred};
use crate::problem::Problem;

/// `*`, or tags such as `"3"`.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"(, (W/)?"[!#-~]*")*)$"#;

/// Kinds of ids in paths, by the part of the path before them.
const PATH_IDS: [(&str, &str); 9] = [
    ("planes", "pl"),
    ("endpoints", "ep"),
    ("targets", "tgt"),
    ("secrets", "sec"),
    ("flows", "flw"),
    ("deliveries", "dlv"),
    ("users", "usr"),
    ("api-keys", "key"),
    ("tenants", "ten"),
];

/// Completes the operations of the document.
pub(super) fn complete(document: &mut Value) {
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "api_key": {"type": "http", "scheme": "bearer", "description": "An API key, `zen_…`."},
    });
    components["schemas"]["Problem"] = problem_schema();
    components["schemas"]["Fault"] = fault_schema();
    let Some(paths) = document["paths"].as_object_mut() else {
        return;
    };
    for (path, item) in paths {
        let Some(operations) = item.as_object_mut() else {
            continue;
        };
        for (method, operation) in operations {
            complete_one(path, method, operation);
        }
    }
}

fn complete_one(path: &str, method: &str, operation: &mut Value) {
    let public = operation["security"] == json!([{}]) || operation["security"] == json!([]);
    operation["security"] = if public {
        json!([])
    } else {
        json!([{"api_key": []}])
    };
    let mut parameters = own_parameters(operation);
    parameters.splice(0..0, path_parameters(path));
    parameters.extend(headers_of(path, method));
    operation["parameters"] = Value::Array(parameters);
    if method == "patch" {
        take_a_patch(operation);
    }
    let may_come = problems_of(path, method, public, operation);
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    for (status, about) in may_come {
        let response = responses.entry(status.to_string());
        response.or_insert_with(|| json!({"description": about}));
    }
    for (status, response) in responses {
        complete_response(status, response);
    }
}

/// The parameters that stand at the handler. One that is left out is left out: it is never null.
fn own_parameters(operation: &Value) -> Vec<Value> {
    let own = operation["parameters"].as_array().cloned();
    let mut own = own.unwrap_or_default();
    own.retain(|parameter| parameter["in"] != "path");
    for parameter in &mut own {
        let schema = &mut parameter["schema"];
        if let Some(types) = schema["type"].as_array() {
            let some = types.iter().find(|word| *word != "null").cloned();
            schema["type"] = some.unwrap_or_default();
        }
        // An empty value is none, in whatever form another one is.
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("format");
        }
        let forms = schema["oneOf"].as_array().cloned().unwrap_or_default();
        if let Some(only) = forms.iter().find(|form| referred(form).is_some()) {
            parameter["schema"] = only.clone();
        }
    }
    own
}

fn path_parameters(path: &str) -> Vec<Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let named = parts.windows(2).filter_map(|pair| {
        let name = pair[1].strip_prefix('{')?.strip_suffix('}')?;
        let prefix = PATH_IDS.iter().find(|(before, _)| *before == pair[0]);
        let mut schema = json!({"type": "string"});
        if let Some((_, prefix)) = prefix {
            schema["pattern"] = json!(id_pattern(prefix));
        }
        Some(json!({"name": name, "in": "path", "required": true, "schema": schema}))
    });
    named.collect()
}

fn headers_of(path: &str, method: &str) -> Vec<Value> {
    match method {
        // A root is never changed, so that there are no versions of it.
        "delete" if path.starts_with("/v1/roots/") => Vec::new(),
        "post" => vec![json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Makes it safe to repeat the request for 24 hours: the same request with \
                the same key is answered as the first time, with `idempotency-replayed: true`; \
                another request with the key is refused.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        })],
        "patch" | "delete" => vec![json!({
            "name": "If-Match", "in": "header", "required": false,
            "description": "The `ETag` of the version that the change is meant for; another \
                version is left as it is.",
            "schema": {"type": "string", "pattern": TAGS},
        })],
        _ => Vec::new(),
    }
}

/// A `PATCH` takes a merge patch of what its `POST` takes.
fn take_a_patch(operation: &mut Value) {
    let content = &mut operation["requestBody"]["content"];
    let body = content["application/json"]["schema"]["$ref"].clone();
    let noun = body.as_str().and_then(|body| body.strip_suffix("Body"));
    let Some(noun) = noun else {
        return;
    };
    let patch = json!({"schema": {"$ref": format!("{noun}Patch")}});
    *content = json!({"application/json": patch.clone(), "application/merge-patch+json": patch});
}

/// The problems that an operation may answer, by its status.
fn problems_of(
    path: &str,
    method: &str,
    public: bool,
    operation: &Value,
) -> BTreeMap<u16, &'static str> {
    let mut may = BTreeMap::from([
        (
            400,
            "A query parameter, a header or the form of the body is wrong.",
        ),
        (408, "The request took too long."),
        (500, "The control plane failed."),
        (
            503,
            "Something it needs is away for a moment; `Retry-After` says when to try again.",
        ),
    ]);
    if !public {
        may.insert(401, "No valid API key.");
        may.insert(403, "The API key may not do this.");
        may.insert(
            429,
            "Too much at once; `Retry-After` says when to try again.",
        );
    }
    let asks_plane = operation["tags"][0] == "deliveries"
        || ["/test", "/probe"].iter().any(|last| path.ends_with(last));
    if path.contains('{') || asks_plane {
        may.insert(404, "There is no such thing, or it is somebody else's.");
    }
    if operation["requestBody"].is_object() {
        may.insert(413, "The body is larger than 1 MiB.");
        may.insert(415, "The body is not JSON.");
        may.insert(422, "The body has faults; `errors` names the fields.");
    }
    if method != "get" || asks_plane {
        may.insert(409, "It does not fit to what is there; the code says why.");
        may.insert(507, "The database has no room left.");
    }
    if matches!(method, "patch" | "delete") {
        may.insert(412, "It is at another version than `If-Match` says.");
    }
    if asks_plane {
        may.insert(502, "The plane could not answer.");
        may.insert(504, "The plane did not answer in time.");
    }
    may
}

fn complete_response(status: &str, response: &mut Value) {
    let text = |about: &str| json!({"description": about, "schema": {"type": "string"}});
    let mut headers = Map::new();
    headers.insert("x-request-id".to_owned(), text("Names the request."));
    if status.starts_with(['4', '5']) {
        let problem = json!({"$ref": "#/components/schemas/Problem"});
        response["content"] = json!({"application/problem+json": {"schema": problem}});
    }
    if ["429", "503"].contains(&status) {
        let seconds = json!({
            "description": "Seconds after which to try again.",
            "schema": {"type": "integer", "minimum": 0},
        });
        headers.insert("Retry-After".to_owned(), seconds);
    }
    if status == "201" || status == "200" {
        headers.insert(
            "ETag".to_owned(),
            text("The version, if the thing has versions."),
        );
    }
    if status == "201" {
        headers.insert(
            "Location".to_owned(),
            text("Where the thing is, if it has a place."),
        );
    }
    response["headers"] = Value::Object(headers);
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = Problem::CODES.iter().map(|(code, ..)| *code).collect();
    let fault = json!({"$ref": "#/components/schemas/Fault"});
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["type", "status", "code", "title", "detail", "instance"],
        "properties": {
            "type": {"type": "string", "description": "`urn:zen-mesh:problem:` and the code."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {"type": "string", "enum": codes, "description": "Stable."},
            "title": {"type": "string", "description": "The same for every problem of the code."},
            "detail": {"type": "string", "description": "What is the matter this time."},
            "instance": {"type": "string", "description": "Names the request."},
            "errors": {"type": "array", "items": fault, "description": "Faults of single fields."},
        },
    })
}

fn fault_schema() -> Value {
    json!({
        "type": "object",
        "required": ["field", "detail"],
        "properties": {
            "field": {"type": "string", "description": "Dotted; empty for the whole body."},
            "detail": {"type": "string"},
        },
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn every_status_of_a_problem_may_come_somewhere() {
        let operation = json!({"tags": ["deliveries"], "requestBody": {}});
        let patch = problems_of("/v1/x/{id}", "patch", false, &operation);
        for (_, status, _) in Problem::CODES {
            // The path's own business, not an operation's.
            if *status != StatusCode::METHOD_NOT_ALLOWED {
                assert!(patch.contains_key(&status.as_u16()), "{status}");
            }
        }
    }
}

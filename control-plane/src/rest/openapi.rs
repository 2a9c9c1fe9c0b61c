//! The API's documentation: what stands at the handlers, and what all operations have in common,
//! as one OpenAPI 3.1 document.

mod common;
mod schemas;

use std::sync::Arc;

use axum::Extension;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operations;
use crate::control::Control;

const ABOUT: &str = "Planes, endpoints, targets and flows of Zen Mesh, what is delivered and what \
    is not, and who may change what.\n\n\
    Times are RFC 3339 in UTC. Lists come in pages: `next_cursor` of one page is `cursor` of the \
    next. Whatever goes wrong is a problem (RFC 9457) with a stable `code`. A `POST` with an \
    `Idempotency-Key` may be repeated for 24 hours: the first answer is given again. A change with \
    `If-Match` is made only to the version it is meant for. A secret is only ever named \
    (`file:<name>`, `lock:<name>`), and sent only sealed, for keys that the control plane has not.";

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new().routes(routes!(get_openapi))
}

/// Show this document
///
/// OpenAPI 3.1, made from the code that answers. It needs no key.
#[utoipa::path(get, path = "/openapi.json", tag = "about", security(()),
    responses((status = 200, description = "The document.", body = Object)))]
async fn get_openapi(Extension(document): Extension<Arc<Value>>) -> Response {
    axum::Json(document.as_ref()).into_response()
}

/// The whole document, for who shows it.
pub(crate) fn document() -> Value {
    let (_, written) = OpenApiRouter::new()
        .nest("/v1", operations())
        .split_for_parts();
    finished(&written)
}

/// What stands at the handlers, completed by what all of them have in common.
fn finished(written: &OpenApi) -> Value {
    // Made of plain texts and numbers in this process: it is always JSON.
    let mut document = serde_json::to_value(written).unwrap_or_default();
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "Zen Mesh",
        "version": env!("CARGO_PKG_VERSION"),
        "description": ABOUT,
    });
    document["servers"] = json!([{"url": "/", "description": "This control plane."}]);
    schemas::complete(&mut document);
    common::complete(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn each_operation(document: &Value) -> Vec<(String, String, Value)> {
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
        });
        operations.collect()
    }

    #[test]
    fn every_operation_is_told_whole() {
        let document = document();
        let mut ids = BTreeSet::new();
        for (path, method, operation) in each_operation(&document) {
            let place = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{place}: its operationId is another's");
            assert!(operation["summary"].is_string(), "{place}: no summary");
            assert!(operation["security"].is_array(), "{place}: no security");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{place}");
            let responses = operation["responses"].as_object().unwrap();
            let good = responses.keys().filter(|status| status.starts_with('2'));
            assert_eq!(good.count(), 1, "{place}: one good answer");
            for (status, response) in responses {
                let problem = status.starts_with(['4', '5']);
                let content = response["content"].as_object();
                let expected = match (problem, status.as_str()) {
                    (true, _) => Some("application/problem+json"),
                    (false, "204" | "304") => None,
                    (false, _) => Some("application/json"),
                };
                let shown = content.and_then(|types| types.keys().next());
                assert_eq!(shown.map(String::as_str), expected, "{place} {status}");
            }
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                let parameters = operation["parameters"].as_array().unwrap();
                let told =
                    |parameter: &Value| parameter["name"] == name && parameter["in"] == "path";
                assert!(parameters.iter().any(told), "{place}: {name} is not told");
            }
        }
    }

    #[test]
    fn what_people_write_is_bounded() {
        let document = document();
        for (path, method, operation) in each_operation(&document) {
            let content = &operation["requestBody"]["content"];
            for (_, body) in content.as_object().into_iter().flatten() {
                let name = body["schema"]["$ref"].as_str().unwrap();
                let name = name.rsplit('/').next().unwrap();
                unbounded(&document, name, &format!("{method} {path}"));
            }
        }
    }

    fn unbounded(document: &Value, name: &str, place: &str) {
        let schema = &document["components"]["schemas"][name];
        assert_eq!(schema["additionalProperties"], false, "{place}: {name}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn look(document: &Value, value: &Value) {
            if let Some(reference) = value["$ref"].as_str() {
                let place = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(place).is_some(), "{reference}");
            }
            match value {
                Value::Object(members) => members.values().for_each(|value| look(document, value)),
                Value::Array(entries) => entries.iter().for_each(|value| look(document, value)),
                _ => {}
            }
        }
        let document = document();
        look(&document, &document);
    }
}

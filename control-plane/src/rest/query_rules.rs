//! Refuses query parameters that the documentation does not know, and those that come twice: a
//! misspelt filter must not silently select everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::problem::Problem;

/// The parameters of every operation, by path.
pub(super) struct QueryRules(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl QueryRules {
    /// The rules that an OpenAPI document tells.
    pub(super) fn of(document: &Value) -> Self {
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let known = |operation: &Value| -> BTreeSet<String> {
            let parameters = operation["parameters"].as_array();
            parameters
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "query")
                .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
                .collect()
        };
        let paths = members(&document["paths"]);
        let rules = paths.iter().map(|(path, item)| {
            let operations = members(item);
            let operations = operations.iter();
            let known = operations.map(|(method, operation)| (method.clone(), known(operation)));
            (path.clone(), known.collect())
        });
        Self(rules.collect())
    }

    /// What is wrong with the query, if anything.
    fn fault(&self, path: &str, method: &str, query: &str) -> Option<String> {
        let method = match method {
            "HEAD" => "get".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let known = self.0.get(path)?.get(&method)?;
        let mut seen = BTreeSet::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            // A name of any length is not repeated.
            let shown: String = name.chars().take(64).collect();
            if !known.contains(name.as_ref()) {
                return Some(format!("{shown}: there is no such parameter"));
            }
            if value.contains(char::is_control) {
                return Some(format!("{shown}: no control characters"));
            }
            if !seen.insert(name) {
                return Some(format!("{shown}: send it once"));
            }
        }
        None
    }
}

/// Lets a request pass whose query is known.
pub(super) async fn check(
    State(rules): State<Arc<QueryRules>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let fault = request
        .uri()
        .query()
        .and_then(|query| rules.fault(path.as_str(), request.method().as_str(), query));
    match fault {
        Some(fault) => Problem::query(fault).into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_documented_parameters_pass_and_each_only_once() {
        let document = json!({"paths": {"/v1/x": {"get": {
            "parameters": [{"name": "a", "in": "query"}, {"name": "b", "in": "header"}]
        }}}});
        let rules = QueryRules::of(&document);
        let fault = |query| rules.fault("/v1/x", "GET", query);
        assert_eq!(fault(""), None);
        assert_eq!(fault("a=1"), None);
        assert_eq!(rules.fault("/v1/x", "HEAD", "a=%20"), None);
        for refused in ["b=1", "a=1&a=1", "a=1&%61=2", "a[]=1", "a=%00"] {
            assert!(fault(refused).is_some(), "{refused}");
        }
    }
}

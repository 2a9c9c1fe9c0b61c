//! A request's path and query, as rights and verbs understand them.

use std::collections::HashMap;

use http::{Method, Uri};

use super::kinds::{self, Kind};
use super::refusal::Refusal;

/// One request for objects.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) kind: &'static Kind,
    pub(super) verb: &'static str,
    /// Empty: of the cluster, or of all namespaces.
    pub(super) namespace: String,
    /// Empty for a collection.
    pub(super) name: String,
    pub(super) subresource: String,
    query: HashMap<String, String>,
}

impl Call {
    /// What a request asks for; `None` where no kind of object lies there.
    pub(super) fn parse(method: &Method, uri: &Uri) -> Option<Result<Self, Refusal>> {
        let path: Vec<_> = uri.path().trim_matches('/').split('/').collect();
        let (group, version, rest) = match path.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // A namespace itself and what belongs to it share a beginning.
            ["namespaces", _, "status" | "finalize"] | ["namespaces", _] => ("", rest),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, "", ""),
            [resource, name] => (*resource, *name, ""),
            [resource, name, subresource] => (*resource, *name, *subresource),
            _ => return None,
        };
        let kind = kinds::find(group, version, resource)?;
        let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let mut call = Self {
            kind,
            verb: "",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
            query: pairs.into_owned().collect(),
        };
        let Some(verb) = verb(method, name.is_empty(), call.flag("watch")) else {
            let text = "the server does not allow this method on the requested resource";
            return Some(Err(Refusal::method(text)));
        };
        call.verb = verb;
        Some(Ok(call))
    }

    /// One that the test itself makes.
    pub(super) fn of(kind: &'static Kind, verb: &'static str, namespace: &str) -> Self {
        Self {
            kind,
            verb,
            namespace: namespace.to_owned(),
            name: String::new(),
            subresource: String::new(),
            query: HashMap::new(),
        }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.query.insert(name.to_owned(), value.to_owned());
    }

    /// A parameter of the query, unless it is empty.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let value = self.query.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// A parameter that is yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.query(name), Some("true" | "1"))
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.query(name) else {
            return Ok(None);
        };
        let number = text.parse();
        number
            .map(Some)
            .map_err(|_| Refusal::bad(format!("{name}: Invalid value: {text:?}")))
    }

    /// The name that rights are judged by: also of a list or watch that selects just one.
    pub(super) fn judged_name(&self) -> &str {
        if !self.name.is_empty() || !["list", "watch", "deletecollection"].contains(&self.verb) {
            return &self.name;
        }
        let selected = self.query("fieldSelector").unwrap_or_default();
        let mut terms = selected.split(',');
        let name = terms.find_map(|term| {
            let name = term.strip_prefix("metadata.name=")?;
            Some(name.strip_prefix('=').unwrap_or(name))
        });
        name.unwrap_or_default()
    }

    /// Who says to write; without a word it is the program's name.
    pub(super) fn manager(&self, user_agent: &str) -> String {
        let own = user_agent.split('/').next().unwrap_or_default();
        let own = if own.is_empty() { "unknown" } else { own };
        self.query("fieldManager").unwrap_or(own).to_owned()
    }
}

fn verb(method: &Method, collection: bool, watch: bool) -> Option<&'static str> {
    Some(match (method.as_str(), collection) {
        ("GET", true) if watch => "watch",
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("POST", _) => "create",
        ("PUT", false) => "update",
        ("PATCH", false) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => return None,
    })
}

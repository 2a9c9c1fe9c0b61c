//! Label and field selectors.

use serde_json::Value;

use super::call::Call;
use super::refusal::Refusal;

/// Fields that may be selected by beside name and namespace, by resource.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "pods",
        &["spec.nodeName", "spec.serviceAccountName", "status.phase"],
    ),
    ("secrets", &["type"]),
    ("namespaces", &["status.phase"]),
    (
        "events",
        &[
            "reason",
            "type",
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.uid",
        ],
    ),
];

/// What a list or watch selects.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

impl Selector {
    pub(super) fn of(call: &Call) -> Result<Self, Refusal> {
        let labels = terms(call.query("labelSelector").unwrap_or_default())?;
        let fields = terms(call.query("fieldSelector").unwrap_or_default())?;
        let own = FIELDS.iter().find(|(of, _)| *of == call.kind.resource);
        let own = own.map_or(&[][..], |(_, fields)| fields);
        for term in &fields {
            let key = term.key.as_str();
            if !["metadata.name", "metadata.namespace"].contains(&key) && !own.contains(&key) {
                return Err(Refusal::bad(format!("field label not supported: {key}")));
            }
        }
        let mut selector = Self { labels, fields };
        if !call.name.is_empty() {
            selector.fields.push(Term {
                key: "metadata.name".to_owned(),
                test: Test::In(vec![call.name.clone()]),
            });
        }
        Ok(selector)
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let field = |path: &str| object.pointer(&format!("/{}", path.replace('.', "/")));
        self.labels
            .iter()
            .all(|term| term.holds(labels.get(&term.key).and_then(Value::as_str)))
            && self.fields.iter().all(|term| {
                let value = field(&term.key).and_then(Value::as_str);
                term.holds(Some(value.unwrap_or_default()))
            })
    }
}

impl Term {
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |all: &[String]| value.is_some_and(|value| all.iter().any(|one| one == value));
        match &self.test {
            Test::In(all) => among(all),
            Test::NotIn(all) => !among(all),
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
        }
    }
}

fn terms(text: &str) -> Result<Vec<Term>, Refusal> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    let parts = parts.iter().map(|part| part.trim());
    parts.filter(|part| !part.is_empty()).map(term).collect()
}

fn term(text: &str) -> Result<Term, Refusal> {
    let made = |key: &str, test| {
        Ok(Term {
            key: key.trim().to_owned(),
            test,
        })
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = text.split_once("!=") {
        return made(key, Test::NotIn(one(value)));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return made(key, Test::In(one(value)));
    }
    for (word, negative) in [(" notin ", true), (" in ", false)] {
        let Some((key, set)) = text.split_once(word) else {
            continue;
        };
        let set = set.trim().strip_prefix('(');
        let Some(set) = set.and_then(|set| set.strip_suffix(')')) else {
            return Err(Refusal::bad(format!("unable to parse requirement: {text}")));
        };
        let set = set.split(',').map(|value| value.trim().to_owned());
        let set: Vec<_> = set.collect();
        let test = if negative {
            Test::NotIn(set)
        } else {
            Test::In(set)
        };
        return made(key, test);
    }
    match text.strip_prefix('!') {
        Some(key) => made(key, Test::Missing),
        None => made(text, Test::Exists),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects_as_written() {
        let object = json!({ "metadata": { "labels": { "app": "a", "tier": "front" } } });
        for (text, selected) in [
            ("app=a", true),
            ("app==b", false),
            ("app!=b,tier", true),
            ("app in (a, b),!missing", true),
            ("tier notin (front)", false),
            ("other notin (x)", true),
            ("!app", false),
            ("", true),
        ] {
            let selector = Selector {
                labels: terms(text).unwrap(),
                fields: Vec::new(),
            };
            assert_eq!(selector.selects(&object), selected, "{text}");
        }
    }
}

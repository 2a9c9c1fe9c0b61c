//! Rendered objects of Kubernetes, and what the tests ask about them.

use std::collections::BTreeMap;

use serde_json::Value;

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Object(pub(crate) Value);

/// One container of a pod.
#[derive(Clone, Copy)]
pub(crate) struct Container<'a>(pub(crate) &'a Value);

/// Labels or what selects by them.
pub(crate) type Labels = BTreeMap<String, String>;

impl Object {
    /// The objects in what helm rendered.
    pub(crate) fn all(text: &str) -> Vec<Self> {
        let values: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        values
            .into_iter()
            .filter(|value| !value.is_null())
            .map(Self)
            .collect()
    }

    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("/kind")
    }

    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Kind and name, for messages.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.kind(), self.name())
    }

    pub(crate) fn labels(&self) -> Labels {
        labels(self.at("/metadata/labels"))
    }

    /// Whether helm makes it for `helm test` only.
    pub(crate) fn is_test(&self) -> bool {
        self.text("/metadata/annotations/helm.sh~1hook") == "test"
    }

    /// The pod that it is or makes: metadata and spec.
    pub(crate) fn pod(&self) -> Option<&Value> {
        match self.kind() {
            "Pod" => Some(&self.0),
            "Deployment" | "StatefulSet" | "Job" => Some(self.at("/spec/template")),
            _ => None,
        }
    }

    /// The labels of its pods.
    pub(crate) fn pod_labels(&self) -> Option<Labels> {
        Some(labels(&self.pod()?["metadata"]["labels"]))
    }

    /// All containers of its pods, those that run first at the beginning.
    pub(crate) fn containers(&self) -> Vec<Container<'_>> {
        let Some(pod) = self.pod() else {
            return Vec::new();
        };
        ["initContainers", "containers"]
            .into_iter()
            .flat_map(|key| list(&pod["spec"][key]))
            .map(Container)
            .collect()
    }
}

impl Container<'_> {
    pub(crate) fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// Environment variables with a value of their own.
    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        list(&self.0["env"])
            .iter()
            .filter_map(|entry| Some((entry["name"].as_str()?, entry["value"].as_str()?)))
            .collect()
    }
}

/// The members of a list; none if it is none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A map of texts.
pub(crate) fn labels(value: &Value) -> Labels {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Whether a LabelSelector selects what has these labels.
pub(crate) fn selects(selector: &Value, of: &Labels) -> bool {
    let exact = labels(&selector["matchLabels"]);
    let exact = exact.iter().all(|(key, value)| of.get(key) == Some(value));
    let expressions = list(&selector["matchExpressions"]).iter().all(|rule| {
        let key = rule["key"].as_str().unwrap();
        assert_eq!(rule["operator"], "In", "{rule}");
        let values = list(&rule["values"]);
        of.get(key)
            .is_some_and(|value| values.iter().any(|allowed| allowed == value.as_str()))
    });
    exact && expressions
}

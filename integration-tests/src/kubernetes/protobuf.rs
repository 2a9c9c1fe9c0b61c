//! The bodies that come as protobuf: helm keeps its releases in Secrets through a client that
//! prefers it, and so does kubectl ask what it may do. Answers are JSON, which both take too.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};

/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    of: Option<Type>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Message)]
struct Type {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Message)]
struct Secret {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(map = "string, bytes", tag = "2")]
    data: HashMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(map = "string, string", tag = "4")]
    string_data: HashMap<String, String>,
}

#[derive(Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
}

#[derive(Message)]
struct DeleteOptions {
    #[prost(message, optional, tag = "2")]
    preconditions: Option<Preconditions>,
    #[prost(string, repeated, tag = "5")]
    dry_run: Vec<String>,
}

#[derive(Message)]
struct Preconditions {
    #[prost(string, optional, tag = "1")]
    uid: Option<String>,
    #[prost(string, optional, tag = "2")]
    resource_version: Option<String>,
}

#[derive(Message)]
struct AccessReview {
    #[prost(message, optional, tag = "2")]
    spec: Option<AccessSpec>,
}

#[derive(Message)]
struct AccessSpec {
    #[prost(message, optional, tag = "1")]
    attributes: Option<AccessAttributes>,
}

#[derive(Message)]
struct AccessAttributes {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    verb: String,
    #[prost(string, tag = "3")]
    group: String,
    #[prost(string, tag = "5")]
    resource: String,
    #[prost(string, tag = "6")]
    subresource: String,
    #[prost(string, tag = "7")]
    name: String,
}

/// The body as JSON; `None` where it is of another kind or damaged.
pub(super) fn decode(body: &[u8]) -> Option<Value> {
    let envelope = Unknown::decode(body.strip_prefix(MAGIC)?).ok()?;
    let of = envelope.of?;
    let raw = envelope.raw.as_slice();
    Some(match of.kind.as_str() {
        "Secret" => {
            let secret = Secret::decode(raw).ok()?;
            let metadata = secret.metadata.unwrap_or_default();
            let data = secret.data.iter();
            let data: HashMap<_, _> = data
                .map(|(key, value)| (key, STANDARD.encode(value)))
                .collect();
            let mut object = json!({ "apiVersion": of.api_version, "kind": of.kind,
                "metadata": { "name": metadata.name, "namespace": metadata.namespace,
                "labels": metadata.labels, "annotations": metadata.annotations },
                "type": secret.kind, "data": data, "stringData": secret.string_data });
            // An empty one was not told.
            for (field, told) in [
                ("uid", metadata.uid),
                ("resourceVersion", metadata.resource_version),
            ] {
                if !told.is_empty() {
                    object["metadata"][field] = told.into();
                }
            }
            object
        }
        "DeleteOptions" => {
            let options = DeleteOptions::decode(raw).ok()?;
            let mut object = json!({});
            if let Some(wanted) = options.preconditions {
                object["preconditions"] =
                    json!({ "uid": wanted.uid, "resourceVersion": wanted.resource_version });
            }
            if !options.dry_run.is_empty() {
                object["dryRun"] = options.dry_run.into();
            }
            object
        }
        "SelfSubjectAccessReview" => {
            let spec = AccessReview::decode(raw).ok()?.spec.unwrap_or_default();
            let asked = spec.attributes.unwrap_or_default();
            json!({ "apiVersion": of.api_version, "kind": of.kind, "metadata": {},
                "spec": { "resourceAttributes": { "namespace": asked.namespace,
                "verb": asked.verb, "group": asked.group, "resource": asked.resource,
                "subresource": asked.subresource, "name": asked.name } } })
        }
        _ => return None,
    })
}

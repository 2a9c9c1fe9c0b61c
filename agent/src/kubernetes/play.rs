//! Plays an API server in memory for the tests next to the code: objects, versions, conflicts, and
//! whatever a test lets go wrong. The whole of it, over TLS, is in `integration-tests`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::BoxError;
use zen_chassis::Random;

use super::api::Api;

/// What a test lets happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// It is carried out and answered.
    Good,
    /// It is carried out, and its answer lost.
    LostAnswer,
    /// Nobody is there.
    Refused,
    /// Nothing comes back, and nothing is done.
    Silence,
    /// This status, and nothing is done.
    Status(u16),
}

/// Decides it, by method and path.
type Fate = Box<dyn FnMut(&Method, &str) -> Luck + Send>;

/// The server. Clones are the same.
#[derive(Clone)]
pub(crate) struct Server(Arc<Mutex<State>>);

struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    fate: Fate,
    requests: Vec<String>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            version: 1,
            fate: Box::new(|_, _| Luck::Good),
            requests: Vec::new(),
        })))
    }

    /// From now on requests fare as `fate` says.
    pub(crate) fn fate(&self, fate: impl FnMut(&Method, &str) -> Luck + Send + 'static) {
        self.0.lock().fate = Box::new(fate);
    }

    /// One agent's way to it.
    pub(crate) fn api(&self, seed: u64) -> Api {
        let server = self.clone();
        let answer = move |request| server.clone().answer(request);
        Api::played(answer, Random::seeded(seed))
    }

    /// An object by the end of its path, such as `secrets/x`.
    pub(crate) fn object(&self, end: &str) -> Option<Value> {
        let state = self.0.lock();
        state.objects.get(end).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().objects.keys().cloned().collect()
    }

    /// Changes an object as somebody else would.
    pub(crate) fn edit(&self, end: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock();
        state.version += 1;
        let version = state.version.to_string();
        let object = state.objects.get_mut(end).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = version.into();
    }

    pub(crate) fn remove(&self, end: &str) {
        self.0.lock().objects.remove(end);
    }

    /// `METHOD end` of what came since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().requests)
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let end: Vec<_> = head.uri.path().rsplitn(3, '/').take(2).collect();
        let end = format!("{}/{}", end[1], end[0]);
        let luck = {
            let mut state = self.0.lock();
            state.requests.push(format!("{} {end}", head.method));
            (state.fate)(&head.method, &end)
        };
        match luck {
            Luck::Refused => return Err("connection refused".into()),
            Luck::Silence => std::future::pending().await,
            Luck::Status(status) => return Ok(reply(status, &json!({ "kind": "Status" }))),
            Luck::Good | Luck::LostAnswer => {}
        }
        // A request takes a moment, so that others come in between.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, object) = self.0.lock().carry_out(&head.method, &end, body);
        tokio::time::sleep(Duration::from_millis(3)).await;
        match luck {
            Luck::LostAnswer => Err("connection reset".into()),
            _ => Ok(reply(status, &object)),
        }
    }
}

impl State {
    fn carry_out(&mut self, method: &Method, end: &str, mut body: Value) -> (u16, Value) {
        let status = |code: u16| (code, json!({ "kind": "Status", "code": code }));
        let before = self.objects.get(end).cloned();
        let current = before
            .as_ref()
            .map(|object| object["metadata"]["resourceVersion"].clone());
        let wanted = match method.as_str() {
            "DELETE" => body["preconditions"]["resourceVersion"].take(),
            _ => body["metadata"]["resourceVersion"].clone(),
        };
        if !wanted.is_null() && current.as_ref() != Some(&wanted) {
            return status(if method == Method::PUT && before.is_none() {
                404
            } else {
                409
            });
        }
        match (method.as_str(), before) {
            ("GET", Some(object)) => (200, object),
            ("DELETE", Some(_)) => {
                self.objects.remove(end);
                (200, json!({ "kind": "Status" }))
            }
            ("GET" | "DELETE" | "PUT", None) => status(404),
            ("PUT", Some(_)) => (200, self.keep(end, body)),
            ("PATCH", before) => {
                let mut object = before.unwrap_or_else(|| json!({}));
                merge(&mut object, body);
                (200, self.keep(end, object))
            }
            _ => status(405),
        }
    }

    fn keep(&mut self, end: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(end.to_owned(), object.clone());
        object
    }
}

fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) if into.is_object() => {
            for (key, value) in fields {
                merge(&mut into[key], value);
            }
        }
        other => *into = other,
    }
}

fn reply(status: u16, object: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::from(object.to_string().into_bytes()))
        .unwrap()
}

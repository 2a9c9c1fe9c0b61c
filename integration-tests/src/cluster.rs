//! An API server with what the agent's promises rest on: versions and conflicts, server-side apply,
//! watches with a history that can be compacted, rights by name, token reviews, Retry-After; over
//! TLS, to be stopped and started again. What it has is kept, as etcd would.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::ports::{self, Port};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use zen_agent::kubernetes::{KubernetesConfig, Right, rights};

/// The namespace that everything is in.
pub const NAMESPACE: &str = "zen-mesh";

/// One request as rights judge it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Whose token came with it.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// In the plural.
    pub resource: String,
    /// Of the object; empty where it is not known yet.
    pub name: String,
}

/// The server, running or not.
pub struct Cluster {
    address: SocketAddr,
    _port: Port,
    certificate: String,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    running: Option<JoinSet<()>>,
}

struct Shared {
    state: parking::Mutex<State>,
    /// The newest version, for watches.
    version: watch::Sender<u64>,
    /// Changes when all watches are to end.
    cut: watch::Sender<u64>,
}

/// A lock that no panic poisons for the others of a test.
mod parking {
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

#[derive(Default)]
struct State {
    /// By resource and name.
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    history: Vec<Change>,
    /// Watches from before this version get 410, as an event or as the answer's status.
    compacted: u64,
    told_as_event: bool,
    rights: Vec<Right>,
    asked: Vec<Asked>,
    /// Every request is answered so, with this `Retry-After`.
    weather: Option<(u16, u64)>,
    /// Tokens of components: user and audiences.
    tokens: HashMap<String, (String, Vec<String>)>,
}

#[derive(Clone)]
struct Change {
    version: u64,
    kind: &'static str,
    resource: String,
    object: Value,
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

impl Cluster {
    /// Starts one on loopback that grants the agent what it says it needs.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts one on an address of this machine.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_at(host: IpAddr) -> anyhow::Result<Self> {
        let port = ports::reserve()?;
        let address = SocketAddr::new(host, port.address.port());
        let key = rcgen::generate_simple_self_signed(vec![host.to_string()])?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], der)?;
        let state = State {
            version: 100,
            rights: rights(&KubernetesConfig::default()),
            ..State::default()
        };
        let mut cluster = Self {
            address,
            _port: port,
            certificate: key.cert.pem(),
            tls: TlsAcceptor::from(Arc::new(config)),
            shared: Arc::new(Shared {
                state: parking::Mutex::new(state),
                version: watch::Sender::new(100),
                cut: watch::Sender::new(0),
            }),
            running: None,
        };
        cluster.start_again().await?;
        Ok(cluster)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// PEM of its certificate, which is its own root.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.certificate
    }

    /// Starts it on the same port, with what it had.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, self.tls.clone(), Arc::clone(&self.shared)));
        self.running = Some(tasks);
        Ok(())
    }

    /// Stops it; every connection breaks.
    pub async fn stop(&mut self) {
        if let Some(mut tasks) = self.running.take() {
            tasks.shutdown().await;
        }
    }

    /// A kubeconfig for this user.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self, folder: &Path, user: &str) -> anyhow::Result<PathBuf> {
        let file = folder.join(format!("kubeconfig-{user}"));
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": STANDARD.encode(&self.certificate),
            }}],
            "users": [{ "name": "u", "user": { "token": user } }],
            "contexts": [{ "name": "c", "context": {
                "cluster": "c", "user": "u", "namespace": NAMESPACE,
            }}],
        });
        std::fs::write(&file, text.to_string())?;
        Ok(file)
    }

    /// As `kubectl apply` of an operator.
    pub fn apply(&self, resource: &str, name: &str, mut object: Value) {
        object["metadata"]["name"] = name.into();
        let mut state = self.shared.state.lock();
        state.put(resource, name, object);
        self.shared.version.send_replace(state.version);
    }

    /// Applies both Secrets of an issued bundle, as the install command does.
    pub fn enrol(&self, plane: &str, issued: &Value) {
        for (name, key, of) in [
            ("zen-enrollment", "bundle.age", "bundle"),
            ("zen-enrollment-key", "identity.txt", "identity"),
        ] {
            let content = STANDARD.encode(issued[of].as_str().unwrap_or_default());
            self.apply(
                "secrets",
                name,
                json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                    "metadata": { "annotations": { "zen-mesh.io/plane-id": plane } },
                    "data": { key: content },
                }),
            );
        }
    }

    /// An object as it is.
    #[must_use]
    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let state = self.shared.state.lock();
        let key = (resource.to_owned(), name.to_owned());
        state.objects.get(&key).cloned()
    }

    /// Names of all objects of a resource.
    #[must_use]
    pub fn names(&self, resource: &str) -> BTreeSet<String> {
        let state = self.shared.state.lock();
        let of = state.objects.keys().filter(|(of, _)| of == resource);
        of.map(|(_, name)| name.clone()).collect()
    }

    /// Reasons of all Events.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let state = self.shared.state.lock();
        let events = state.objects.iter().filter(|((of, _), _)| of == "events");
        events
            .map(|(_, event)| event["reason"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What was asked since the last call, by anybody.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.state.lock().asked)
    }

    /// Grants these rights and no others.
    pub fn grant(&self, rights: Vec<Right>) {
        self.shared.state.lock().rights = rights;
    }

    /// From now on everything is answered with this status and `Retry-After`; or nothing is.
    pub fn weather(&self, weather: Option<(u16, u64)>) {
        self.shared.state.lock().weather = weather;
    }

    /// Forgets the history and ends all watches: who was behind gets 410.
    pub fn compact(&self, told_as_event: bool) {
        {
            let mut state = self.shared.state.lock();
            state.told_as_event = told_as_event;
            state.version += 10;
            state.compacted = state.version;
            state.history.clear();
        }
        self.shared.cut.send_modify(|cut| *cut += 1);
    }

    /// Gives a component's service account a token.
    pub fn token(&self, token: &str, user: &str, audiences: &[&str]) {
        let audiences = audiences.iter().map(|&a| a.to_owned()).collect();
        let known = (user.to_owned(), audiences);
        self.shared
            .state
            .lock()
            .tokens
            .insert(token.to_owned(), known);
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(request, &shared).await) }
            });
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

struct Target {
    group: String,
    resource: String,
    name: String,
    query: HashMap<String, String>,
}

/// `/api/v1/…` or `/apis/GROUP/v1/…`, with or without a namespace.
fn target(request: &Request<Incoming>) -> Option<Target> {
    let path: Vec<_> = request.uri().path().trim_matches('/').split('/').collect();
    let (group, rest) = match path.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, "v1", rest @ ..] => (*group, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", NAMESPACE, rest @ ..] => rest,
        ["tokenreviews"] => rest,
        _ => return None,
    };
    let pairs = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    Some(Target {
        group: group.to_owned(),
        resource: (*rest.first()?).to_owned(),
        name: rest.get(1).copied().unwrap_or_default().to_owned(),
        query: pairs.into_owned().collect(),
    })
}

async fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Response<Body> {
    let user = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default()
        .to_owned();
    let Some(mut target) = target(&request) else {
        return status(404, "no such path");
    };
    let method = request.method().clone();
    let watches = target.query.get("watch").map(String::as_str) == Some("true");
    let verb = match (&method, target.name.is_empty()) {
        (&Method::GET, true) if watches => "watch",
        (&Method::GET, true) => "list",
        (&Method::GET, false) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        _ => "delete",
    };
    if ["watch", "list"].contains(&verb) {
        // A right on a name holds for exactly this selector.
        let selected = target.query.get("fieldSelector");
        let name = selected.and_then(|selector| selector.strip_prefix("metadata.name="));
        target.name = name.unwrap_or_default().to_owned();
    }
    let form = request.headers().get("content-type").cloned();
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return status(400, "broken off"),
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = shared.state.lock();
    let named = if verb == "create" { "" } else { &target.name };
    let asked = state.note(&user, verb, &target, named);
    if let Some((code, after)) = state.weather {
        let mut response = status(code, "not now");
        response.headers_mut().insert("retry-after", after.into());
        return response;
    }
    if !state.allows(&asked) {
        return state.forbidden(&asked);
    }
    if watches {
        let from = target
            .query
            .get("resourceVersion")
            .and_then(|v| v.parse().ok());
        let lasts = target
            .query
            .get("timeoutSeconds")
            .and_then(|v| v.parse().ok());
        let (compacted, as_event) = (state.compacted, state.told_as_event);
        drop(state);
        let from = from.unwrap_or(0);
        if from < compacted {
            let text = "too old resource version";
            if as_event {
                let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": text, "reason": "Expired", "code": 410 });
                return whole(200, &json!({ "type": "ERROR", "object": gone }));
            }
            return status(410, text);
        }
        return follow(shared, target, from, lasts.unwrap_or(300));
    }
    let response = state.carry_out(verb, &target, body, form.as_ref(), &user);
    shared.version.send_replace(state.version);
    response
}

impl State {
    fn note(&mut self, user: &str, verb: &str, target: &Target, name: &str) -> Asked {
        let asked = Asked {
            user: user.to_owned(),
            verb: verb.to_owned(),
            group: target.group.clone(),
            resource: target.resource.clone(),
            name: name.to_owned(),
        };
        self.asked.push(asked.clone());
        asked
    }

    fn allows(&self, asked: &Asked) -> bool {
        self.rights.iter().any(|right| {
            right.verbs.contains(&&*asked.verb)
                && right.group == asked.group
                && right.resource == asked.resource
                && (right.names.is_empty() || right.names.contains(&asked.name))
        })
    }

    fn forbidden(&self, asked: &Asked) -> Response<Body> {
        let Asked {
            verb,
            resource,
            name,
            ..
        } = asked;
        let text =
            format!("{resource} {name:?} is forbidden: User cannot {verb} resource {resource:?}");
        status(403, &text)
    }

    fn carry_out(
        &mut self,
        verb: &str,
        target: &Target,
        mut body: Value,
        form: Option<&http::HeaderValue>,
        user: &str,
    ) -> Response<Body> {
        let Target { resource, name, .. } = target;
        let key = (resource.clone(), name.clone());
        let before = self.objects.get(&key).cloned();
        let current = before
            .as_ref()
            .map(|o| o["metadata"]["resourceVersion"].clone());
        let wanted = match verb {
            "delete" => body["preconditions"]["resourceVersion"].clone(),
            _ => body["metadata"]["resourceVersion"].clone(),
        };
        let stale = !wanted.is_null() && current.as_ref() != Some(&wanted);
        match (verb, before) {
            ("list", _) => {
                let items: Vec<_> = self.objects.get(&key).cloned().into_iter().collect();
                let meta = json!({ "resourceVersion": self.version.to_string() });
                let list =
                    json!({ "kind": "List", "apiVersion": "v1", "metadata": meta, "items": items });
                whole(200, &list)
            }
            ("get", Some(object)) => whole(200, &object),
            ("create", _) if resource == "tokenreviews" => {
                body["status"] = self.review(&body["spec"]);
                whole(201, &body)
            }
            ("create", _) => {
                let name = body["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                if self.objects.contains_key(&(resource.clone(), name.clone())) {
                    return status(409, "already exists");
                }
                whole(201, &self.put(resource, &name, body))
            }
            ("get" | "update" | "delete", None) => status(404, "not found"),
            (_, Some(_)) if stale => status(409, "the object has been modified"),
            ("delete", Some(object)) => {
                self.objects.remove(&key);
                self.change("DELETED", resource, object);
                whole(200, &json!({ "kind": "Status", "status": "Success" }))
            }
            ("update", Some(_)) if wanted.is_null() => {
                status(422, "must be specified for an update")
            }
            ("update", Some(_)) => whole(200, &self.put(resource, name, body)),
            ("patch", before) => {
                if form.is_none_or(|form| form != "application/apply-patch+yaml")
                    || !target.query.contains_key("fieldManager")
                {
                    return status(415, "only server-side apply is understood");
                }
                if before.is_none() {
                    if stale {
                        return status(409, "no object of this version");
                    }
                    let made = self.note(user, "create", target, name);
                    if !self.allows(&made) {
                        return self.forbidden(&made);
                    }
                }
                let mut object = before.unwrap_or_else(|| json!({}));
                merge(&mut object, body);
                whole(200, &self.put(resource, name, object))
            }
            _ => status(405, "not understood"),
        }
    }

    fn review(&self, spec: &Value) -> Value {
        let known = self.tokens.get(spec["token"].as_str().unwrap_or_default());
        let Some((user, audiences)) = known else {
            return json!({ "authenticated": false, "error": "invalid bearer token" });
        };
        let wanted = spec["audiences"].as_array().cloned().unwrap_or_default();
        let common: Vec<_> = wanted
            .iter()
            .filter(|wanted| audiences.iter().any(|own| *wanted == own))
            .collect();
        if common.is_empty() {
            return json!({ "authenticated": false, "error": "token audiences are invalid" });
        }
        json!({ "authenticated": true, "user": { "username": user }, "audiences": common })
    }

    /// What does not change an object makes no new version.
    fn put(&mut self, resource: &str, name: &str, mut object: Value) -> Value {
        let key = (resource.to_owned(), name.to_owned());
        let before = self.objects.get(&key).cloned();
        let kind = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        object["metadata"]["namespace"] = NAMESPACE.into();
        if let Some(before) = before {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if object == before {
                return before;
            }
        }
        object["metadata"]["resourceVersion"] = (self.version + 1).to_string().into();
        self.objects.insert(key, object.clone());
        self.change(kind, resource, object.clone());
        object
    }

    fn change(&mut self, kind: &'static str, resource: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push(Change {
            version: self.version,
            kind,
            resource: resource.to_owned(),
            object,
        });
    }
}

/// Changes of one object from a version on, until the time is over or all watches are cut.
fn follow(shared: &Arc<Shared>, target: Target, from: u64, lasts: u64) -> Response<Body> {
    let (mut versions, mut cut) = (shared.version.subscribe(), shared.cut.subscribe());
    cut.mark_unchanged();
    let end = tokio::time::Instant::now() + Duration::from_secs(lasts);
    let shared = Arc::clone(shared);
    let lines = async move {
        loop {
            versions.mark_unchanged();
            let found = {
                let state = shared.state.lock();
                let of = |change: &&Change| {
                    change.resource == target.resource
                        && change.object["metadata"]["name"] == *target.name
                };
                let newer: Vec<_> = state
                    .history
                    .iter()
                    .filter(|change| change.version > from)
                    .filter(of)
                    .cloned()
                    .collect();
                newer
            };
            if !found.is_empty() {
                return Some(found);
            }
            tokio::select! {
                changed = versions.changed() => changed.ok()?,
                _ = cut.changed() => return None,
                () = tokio::time::sleep_until(end) => return None,
            }
        }
    };
    // One batch of changes a watch: the next request asks for what follows.
    let stream = futures::stream::once(lines).flat_map(|found| {
        let found = found.unwrap_or_default();
        futures::stream::iter(found.into_iter().map(|change| {
            let line = json!({ "type": change.kind, "object": change.object });
            Ok(Frame::data(Bytes::from(format!("{line}\n"))))
        }))
    });
    Response::new(StreamBody::new(stream.boxed()))
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

fn status(code: u16, message: &str) -> Response<Body> {
    let text = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": message, "code": code });
    whole(code, &text)
}

fn whole(code: u16, object: &Value) -> Response<Body> {
    let bytes = Bytes::from(object.to_string());
    let stream = futures::stream::once(async move { Ok(Frame::data(bytes)) });
    let mut response = Response::new(StreamBody::new(stream.boxed()));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

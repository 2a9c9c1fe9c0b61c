//! A Kubernetes API server for tests, after the Kubernetes API reference: what the product, kubectl
//! and helm rest on behaves as there. It keeps its objects over a restart, as etcd would, and has
//! bad days on command.

mod admission;
mod call;
mod delete;
mod discovery;
mod events;
mod faults;
mod kinds;
mod managed;
mod object;
mod patch;
mod protobuf;
mod rbac;
mod read;
mod refusal;
mod select;
mod serve;
mod state;
mod store;
mod tokens;
mod watch;
mod write;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch as channel;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use zen_chassis::Clock;

use crate::ports::{self, Port};
use call::Call;
use state::{Faults, Shared, State};
use store::{Key, Store};
use tokens::{Tokens, User, Wanted};
use write::Write;

/// One request as rights judge it, and what became of it. A server-side apply that creates is
/// noted as `create` of that name too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// `system:serviceaccount:…`, or a user's name.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// In plural.
    pub resource: String,
    /// `status`, `token`; empty for the object itself.
    pub subresource: String,
    /// Empty for the whole cluster.
    pub namespace: String,
    /// Of a list or watch: the one that its field selector names.
    pub name: String,
    /// Status of the answer.
    pub code: u16,
}

/// A server, running or not.
pub struct ApiServer {
    port: Port,
    listen: IpAddr,
    ca: String,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    admin: String,
    running: Option<JoinSet<()>>,
}

impl ApiServer {
    /// Starts one on loopback.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(IpAddr::from([127, 0, 0, 1]), &[], Clock::system()).await
    }

    /// Starts one that listens there and whose certificate holds for these hosts beside loopback's.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_at(listen: IpAddr, hosts: &[&str], clock: Clock) -> anyhow::Result<Self> {
        let (ca, tls) = certificate(hosts)?;
        let mut tokens = Tokens::default();
        let admin = tokens.user(User::named("kubernetes-admin", &["system:masters"]));
        let state = State {
            store: Store::default(),
            tokens,
            asked: Vec::new(),
            faults: Faults::default(),
            ca: ca.clone(),
            routes: HashMap::new(),
            admissions: Vec::new(),
        };
        let mut server = Self {
            port: ports::reserve()?,
            listen,
            ca,
            tls,
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                version: channel::Sender::new(0),
                cut: channel::Sender::new(0),
                clock,
            }),
            admin,
            running: None,
        };
        for name in ["default", "kube-system"] {
            server.put(&json!({ "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": name } }))?;
        }
        server.start_again().await?;
        Ok(server)
    }

    /// Starts it on the same address, with what it had.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind((self.listen, self.port.address.port())).await?;
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&self.shared);
        tasks.spawn(serve::serve(listener, self.tls.clone(), shared));
        self.running = Some(tasks);
        Ok(())
    }

    /// Stops it: connections break and new ones are refused.
    pub async fn stop(&mut self) {
        if let Some(mut tasks) = self.running.take() {
            tasks.shutdown().await;
        }
    }

    /// Where it listens, on loopback.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// PEM of its certificate's root.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// A token that may do everything.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// A token of a user, who may do what bindings grant.
    #[must_use]
    pub fn user(&self, name: &str, groups: &[&str]) -> String {
        let user = User::named(name, groups);
        self.shared.state.lock().tokens.user(user)
    }

    /// A token of a service account, as its TokenRequest would be answered; without audiences it is
    /// for this server.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn token(
        &self,
        namespace: &str,
        name: &str,
        audiences: &[&str],
        seconds: u64,
        pod: Option<(&str, &str)>,
    ) -> anyhow::Result<String> {
        let wanted = Wanted {
            namespace,
            name,
            audiences: audiences.iter().map(|&text| text.to_owned()).collect(),
            now_ms: self.shared.now_ms(),
            seconds,
            pod: pod.map(|(name, uid)| (name.to_owned(), uid.to_owned())),
        };
        let State { tokens, store, .. } = &mut *self.shared.state.lock();
        let token = tokens.account(store, wanted);
        token.with_context(|| format!("no service account {namespace}/{name}"))
    }

    /// Writes a kubeconfig for a token.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self, file: &Path, token: &str, namespace: &str) -> anyhow::Result<PathBuf> {
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{ "name": "double", "cluster": {
                "server": format!("https://{}", self.port.address),
                "certificate-authority-data": STANDARD.encode(&self.ca),
            }}],
            "users": [{ "name": "user", "user": { "token": token } }],
            "contexts": [{ "name": "double", "context": {
                "cluster": "double", "user": "user", "namespace": namespace,
            }}],
        });
        std::fs::write(file, text.to_string())?;
        Ok(file.to_owned())
    }

    /// An object, by the plural of its kind; the namespace is empty for those of the cluster.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(kinds::by_resource(resource)?, namespace, name);
        let object = self.shared.state.lock().store.get(&key)?;
        Some(Value::clone(&object))
    }

    /// All objects of a kind in a namespace (empty: in all), by name.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let Some(kind) = kinds::by_resource(resource) else {
            return Vec::new();
        };
        let all = self.shared.state.lock().store.list(kind, namespace);
        all.iter().map(|object| Value::clone(object)).collect()
    }

    /// Applies an object as an operator would (server-side, by force); its namespace must be there.
    ///
    /// # Errors
    /// What a client would be told.
    pub fn put(&self, object: &Value) -> anyhow::Result<Value> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let kind = kinds::of(&text(&object["apiVersion"]), &text(&object["kind"]));
        let kind = kind.with_context(|| format!("no such kind: {object}"))?;
        let mut call = Call::of(kind, "patch", &text(&metadata["namespace"]));
        call.name = text(&metadata["name"]);
        call.set("fieldManager", "operator");
        call.set("force", "true");
        self.write(&call, object.clone(), "application/apply-patch+yaml")
    }

    /// Replaces an object's status, as a controller would.
    ///
    /// # Errors
    /// What a client would be told.
    pub fn put_status(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        status: &Value,
    ) -> anyhow::Result<Value> {
        let kind = kinds::by_resource(resource).context("no such resource")?;
        let mut call = Call::of(kind, "patch", namespace);
        name.clone_into(&mut call.name);
        "status".clone_into(&mut call.subresource);
        let patch = json!({ "status": status });
        self.write(&call, patch, "application/merge-patch+json")
    }

    /// Removes an object; whether it was there.
    #[must_use]
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let Some(kind) = kinds::by_resource(resource) else {
            return false;
        };
        let mut call = Call::of(kind, "delete", namespace);
        name.clone_into(&mut call.name);
        self.write(&call, Value::Null, "").is_ok()
    }

    fn write(&self, call: &Call, body: Value, media_type: &str) -> anyhow::Result<Value> {
        let user = User::named("operator", &["system:masters"]);
        let write = Write {
            call,
            user: &user,
            manager: "operator",
            media_type,
            body,
            now_ms: self.shared.now_ms(),
        };
        let done = self.shared.change(|state| match call.verb {
            "delete" => state.delete(&write),
            _ => state.patch(write),
        });
        let (_, object) = done.map_err(|refusal| anyhow::anyhow!("{}", refusal.status()))?;
        Ok(object)
    }

    /// Tells of new versions, for those who look at objects from within the test.
    #[must_use]
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// What was asked since the last call, by anybody but the test itself.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.state.lock().asked)
    }
}

/// A root's PEM, and what a server needs that it vouches for.
fn certificate(hosts: &[&str]) -> anyhow::Result<(String, TlsAcceptor)> {
    let root_key = KeyPair::generate()?;
    let mut root = CertificateParams::new(Vec::new())?;
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name
        .push(DnType::CommonName, "kubernetes");
    let pem = root.self_signed(&root_key)?.pem();
    let issuer = Issuer::new(root, root_key);
    let own = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
    let names = own.iter().chain(hosts).map(|&name| name.to_owned());
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(names.collect::<Vec<_>>())?.signed_by(&key, &issuer)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], der)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((pem, TlsAcceptor::from(Arc::new(config))))
}

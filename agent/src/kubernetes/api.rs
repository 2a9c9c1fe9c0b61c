//! Requests to the API server, spelled out one by one so that what is asked for can be compared
//! with what is granted. Each has a time limit; a server that asks for a pause gets it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Secret;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder};
use zen_chassis::Random;
use zen_chassis::backoff::Backoff;
use zen_chassis::chain::Chain;
use zeroize::Zeroizing;

use super::fault::{Fault, Kind};
use super::settings::KubernetesConfig;

/// Who says so, in what is applied.
pub(crate) const FIELD_MANAGER: &str = "zen-agent";
/// Time for a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time until an answer begins, also that of a watch.
const ANSWER: Duration = Duration::from_secs(30);
/// Time for one try of a request, from its start to the end of the answer.
const TRY: Duration = Duration::from_secs(10);
/// A connection on which nothing comes back is given up after about three of these.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Largest answer, bytes: no object is larger than etcd's limit of 1.5 MiB, told in base64.
const ANSWER_SIZE: usize = 8 * 1024 * 1024;
/// Pauses between tries.
const RETRIES: Backoff = Backoff {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(5),
};

/// One object, or the place where objects of a kind are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing {
    group: &'static str,
    resource: &'static str,
    name: String,
}

impl Thing {
    pub(crate) fn secret(name: &str) -> Self {
        Self::named("", "secrets", name)
    }

    pub(crate) fn config_map(name: &str) -> Self {
        Self::named("", "configmaps", name)
    }

    pub(crate) fn lease(name: &str) -> Self {
        Self::named("coordination.k8s.io", "leases", name)
    }

    pub(crate) fn events() -> Self {
        Self::named("events.k8s.io", "events", "")
    }

    pub(crate) fn token_reviews() -> Self {
        Self::named("authentication.k8s.io", "tokenreviews", "")
    }

    pub(crate) fn access_reviews() -> Self {
        Self::named("authorization.k8s.io", "selfsubjectaccessreviews", "")
    }

    fn named(group: &'static str, resource: &'static str, name: &str) -> Self {
        Self {
            group,
            resource,
            name: name.to_owned(),
        }
    }

    fn path(&self, namespace: &str) -> String {
        let root = match self.group {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let place = match self.resource {
            // Of the whole cluster.
            "tokenreviews" | "selfsubjectaccessreviews" => String::new(),
            _ => format!("/namespaces/{namespace}"),
        };
        let end = match self.name.as_str() {
            "" => String::new(),
            name => format!("/{name}"),
        };
        format!("{root}{place}/{}{end}", self.resource)
    }
}

/// The API server, asked about one namespace. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    gate: Gate,
    namespace: Arc<str>,
    random: Random,
    within: Duration,
}

/// Where the API server is and who asks.
pub(crate) async fn config(settings: &KubernetesConfig) -> anyhow::Result<Config> {
    let config = match &settings.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("kubernetes.kubeconfig: cannot use {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .context("kubernetes.kubeconfig")?
        }
        None => Config::incluster().context(
            "kubernetes: this is no pod of a cluster with a service account; set \
             kubernetes.kubeconfig",
        )?,
    };
    anyhow::ensure!(
        config.proxy_url.is_none(),
        "kubernetes.kubeconfig: a proxy to the API server is not supported"
    );
    Ok(config)
}

impl Api {
    pub(crate) fn new(config: &Config, namespace: &str, random: Random) -> anyhow::Result<Self> {
        let gate = Gate::default();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(2));
        let https = config
            .rustls_https_connector_with_connector(tcp)
            .context("the API server's certificates cannot be used")?;
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(https);
        let seen = gate.clone();
        // Not kube's own stack: it tries again for hours, logs at its own levels, and sets no limit
        // to the wait for an answer.
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .map_response(move |response| {
                seen.look(&response);
                response
            })
            .option_layer(config.auth_layer().context("kubernetes: credentials")?)
            .layer(
                config
                    .extra_headers_layer()
                    .context("kubernetes: headers")?,
            )
            .map_err(BoxError::from)
            .timeout(ANSWER)
            .service(http);
        Ok(Self {
            client: Client::new(service, namespace),
            gate,
            namespace: namespace.into(),
            random,
            within: TRY,
        })
    }

    /// A server that a test plays.
    #[cfg(test)]
    pub(crate) fn played<S, F>(server: S, random: Random) -> Self
    where
        S: FnMut(Request<Body>) -> F + Send + 'static,
        F: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        let gate = Gate::default();
        let seen = gate.clone();
        let service = ServiceBuilder::new()
            .map_response(move |response| {
                seen.look(&response);
                response
            })
            .service(tower::service_fn(server));
        Self {
            client: Client::new(service, "zen-mesh"),
            gate,
            namespace: "zen-mesh".into(),
            random,
            within: TRY,
        }
    }

    /// The same server with another limit for one try.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// For kube's own machinery; whoever uses it waits for [`Self::may_ask`] before each request.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Waits until the server wants to be asked again.
    pub(crate) async fn may_ask(&self) {
        self.gate.open().await;
    }

    /// The object, if it is there.
    pub(crate) async fn get<K: DeserializeOwned>(&self, thing: &Thing) -> Result<Option<K>, Fault> {
        match self.call(Method::GET, "get", thing, "", None).await {
            Ok(object) => Ok(Some(object)),
            Err(fault) if fault.kind == Kind::Status(404) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The Secret of this name, found as a right to list that name alone allows.
    pub(crate) async fn find_secret(&self, name: &str) -> Result<Option<Secret>, Fault> {
        let query = format!("?fieldSelector=metadata.name%3D{name}");
        let found: List<Secret> = self
            .call(Method::GET, "list", &Thing::secret(""), &query, None)
            .await?;
        let is_it = |secret: &Secret| secret.metadata.name.as_deref() == Some(name);
        Ok(found.items.into_iter().find(is_it))
    }

    /// Server-side apply: makes the object, or gives it what `body` says.
    pub(crate) async fn apply<K: DeserializeOwned>(
        &self,
        thing: &Thing,
        body: &impl Serialize,
    ) -> Result<K, Fault> {
        let query = format!("?fieldManager={FIELD_MANAGER}&force=true");
        let content = Some(("application/apply-patch+yaml", to_json(body)?));
        self.call(Method::PATCH, "patch", thing, &query, content)
            .await
    }

    /// Replaces the object, unless it changed since the version that `body` names.
    pub(crate) async fn replace<K: Serialize + DeserializeOwned>(
        &self,
        thing: &Thing,
        body: &K,
    ) -> Result<K, Fault> {
        let query = format!("?fieldManager={FIELD_MANAGER}");
        let content = Some(("application/json", to_json(body)?));
        self.call(Method::PUT, "update", thing, &query, content)
            .await
    }

    /// Makes a new object.
    pub(crate) async fn create<K: Serialize + DeserializeOwned>(
        &self,
        thing: &Thing,
        body: &K,
    ) -> Result<K, Fault> {
        let query = format!("?fieldManager={FIELD_MANAGER}");
        let content = Some(("application/json", to_json(body)?));
        self.call(Method::POST, "create", thing, &query, content)
            .await
    }

    /// Removes the object, if it still is of `version`; one that is not there is fine.
    pub(crate) async fn delete(&self, thing: &Thing, version: Option<&str>) -> Result<(), Fault> {
        let content = match version {
            Some(version) => {
                let options = serde_json::json!({
                    "kind": "DeleteOptions", "apiVersion": "v1",
                    "preconditions": { "resourceVersion": version },
                });
                Some(("application/json", to_json(&options)?))
            }
            None => None,
        };
        let done: Result<serde_json::Value, Fault> = self
            .call(Method::DELETE, "delete", thing, "", content)
            .await;
        match done {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == Kind::Status(404) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Repeats what fails only for now, for at most `limit`, with growing pauses.
    pub(crate) async fn persist<T, F>(
        &self,
        limit: Duration,
        mut request: impl FnMut() -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let until = Instant::now() + limit;
        let mut failed = 0;
        loop {
            let fault = match request().await {
                Err(fault) if fault.is_transient() => fault,
                outcome => return outcome,
            };
            failed += 1;
            let pause = RETRIES.pause(failed, self.random.fraction());
            if Instant::now() + pause >= until {
                return Err(fault);
            }
            tracing::debug!(%fault, "asked again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn call<K: DeserializeOwned>(
        &self,
        method: Method,
        verb: &str,
        thing: &Thing,
        query: &str,
        content: Option<(&str, Zeroizing<Vec<u8>>)>,
    ) -> Result<K, Fault> {
        let about = |kind, what: &str| {
            let Thing { resource, name, .. } = thing;
            let named = if name.is_empty() { "" } else { " " };
            Fault::new(kind, &format!("{verb} {resource}{named}{name}: {what}"))
        };
        let uri = format!("{}{query}", thing.path(&self.namespace));
        let mut request = Request::builder().method(method).uri(uri);
        let body = match content {
            Some((form, bytes)) => {
                request = request.header(CONTENT_TYPE, form);
                // Wiped when it was sent: it may be a Secret.
                Body::from(Bytes::from_owner(bytes))
            }
            None => Body::empty(),
        };
        let request = request
            .body(body)
            .map_err(|error| about(Kind::Garbled, &Chain(&error).to_string()))?;
        if tokio::time::timeout(self.within, self.gate.open())
            .await
            .is_err()
        {
            let what = "not asked: the API server wants a longer pause (Retry-After)";
            return Err(about(Kind::NoAnswer, what));
        }
        let answered = tokio::time::timeout(self.within, self.exchange(request));
        let (status, text) = match answered.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(about(Kind::NoAnswer, &error)),
            Err(_) => {
                let what = format!("no answer within {:?}", self.within);
                return Err(about(Kind::NoAnswer, &what));
            }
        };
        if status.is_success() {
            // Nothing of the answer is told: it may be a Secret.
            serde_json::from_slice(&text)
                .map_err(|_| about(Kind::Garbled, "the answer cannot be read"))
        } else {
            Err(about(Kind::Status(status.as_u16()), &reason(status, &text)))
        }
    }

    async fn exchange(
        &self,
        request: Request<Body>,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), String> {
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| words(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_SIZE)
            .collect()
            .await
            .map_err(|error| format!("the answer broke off: {}", words(&*error)))?;
        Ok((status, Zeroizing::new(body.to_bytes().to_vec())))
    }
}

/// An error with its causes; kube repeats the cause in its own text, which is left out here.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

fn to_json(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    serde_json::to_vec(body)
        .map(Zeroizing::new)
        .map_err(|error| Fault::new(Kind::Garbled, &error.to_string()))
}

/// What the server says to its refusal: a `Status`, or plain text.
fn reason(status: StatusCode, text: &[u8]) -> String {
    let said = match serde_json::from_slice::<Status>(text) {
        Ok(said) => said.message,
        Err(_) => String::from_utf8_lossy(text).trim().to_owned(),
    };
    if status == StatusCode::UNAUTHORIZED {
        return format!("the API server does not accept the service account's token: {said}");
    }
    format!("answered {}: {said}", status.as_u16())
}

/// Closed for as long as the server asked not to be asked. Clones are the same.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Option<Instant>>>);

impl Gate {
    async fn open(&self) {
        loop {
            let until = *self.0.lock();
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    fn look<B>(&self, response: &Response<B>) {
        let status = response.status();
        if (status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error())
            && let Some(pause) = retry_after(response.headers())
        {
            let until = Instant::now() + pause;
            let mut closed = self.0.lock();
            *closed = Some(closed.map_or(until, |before| before.max(until)));
        }
    }
}

/// Seconds, as the API server says it; never a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thing_has_its_path() {
        let path = |thing: Thing| thing.path("zen-mesh");
        assert_eq!(
            path(Thing::secret("s")),
            "/api/v1/namespaces/zen-mesh/secrets/s"
        );
        assert_eq!(
            path(Thing::lease("l")),
            "/apis/coordination.k8s.io/v1/namespaces/zen-mesh/leases/l"
        );
        assert_eq!(
            path(Thing::events()),
            "/apis/events.k8s.io/v1/namespaces/zen-mesh/events"
        );
        assert_eq!(
            path(Thing::token_reviews()),
            "/apis/authentication.k8s.io/v1/tokenreviews"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_for_a_pause_gets_it() {
        let gate = Gate::default();
        let answer = |status: u16, after: &str| {
            Response::builder()
                .status(status)
                .header(RETRY_AFTER, after)
                .body(())
                .unwrap()
        };
        let begun = Instant::now();
        gate.look(&answer(200, "9"));
        gate.open().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        gate.look(&answer(429, "7"));
        gate.look(&answer(503, "2"));
        gate.open().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(7));
        gate.look(&answer(429, "99999999999"));
        gate.open().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(7) + LONGEST_PAUSE);
    }

    #[test]
    fn the_servers_own_words_are_told() {
        let status = br#"{"kind":"Status","message":"secrets \"x\" is forbidden","code":403}"#;
        assert_eq!(
            reason(StatusCode::FORBIDDEN, status),
            "answered 403: secrets \"x\" is forbidden"
        );
        assert_eq!(
            reason(StatusCode::TOO_MANY_REQUESTS, b"Too many requests\n"),
            "answered 429: Too many requests"
        );
    }
}

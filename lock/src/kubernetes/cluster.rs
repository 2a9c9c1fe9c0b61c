//! The API server as zen-lock asks it: a JSON object in, a JSON object out, each call bounded in time.

use std::time::Duration;

use anyhow::Context;
use http::{Method, Request, StatusCode};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use zen_chassis::chain::Chain;

use super::settings::KubernetesConfig;

/// Time for one call: an admission may take ten seconds in all.
const WITHIN: Duration = Duration::from_secs(4);
/// A patch of single fields (RFC 7386), one by steps (RFC 6902), and a server-side apply.
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STEPS: &str = "application/json-patch+json";
pub(super) const APPLY: &str = "application/apply-patch+yaml";
/// As whom zen-lock writes.
pub(super) const MANAGER: &str = "zen-lock";

/// The API server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    /// zen-lock's own namespace.
    pub(super) namespace: String,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("no answer within {WITHIN:?}")]
    Late,
    #[error("answered with {0}: {1}")]
    Refused(StatusCode, String),
    #[error("the API server cannot be asked")]
    Call(#[source] Box<kube::Error>),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
}

impl ApiError {
    /// Somebody else wrote in between.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(StatusCode::CONFLICT, _))
    }
}

impl Cluster {
    /// Reads how to reach the API server; that it answers is not asked.
    pub(super) async fn open(settings: &KubernetesConfig) -> anyhow::Result<Self> {
        let config = match &settings.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| {
                    format!("kubernetes.kubeconfig: cannot use {}", path.display())
                })?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .context("kubernetes.kubeconfig")?
            }
            None => Config::incluster().context(
                "kubernetes: this is no pod of a cluster with a service account; set \
                 kubernetes.kubeconfig",
            )?,
        };
        let own = settings.namespace.clone();
        let namespace = own.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("kubernetes")?;
        Ok(Self { client, namespace })
    }

    /// For kube's watcher.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The object at a path, if it is there.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.call(Method::GET, path, "", Vec::new()).await {
            Ok(object) => Ok(Some(object)),
            Err(ApiError::Refused(StatusCode::NOT_FOUND, _)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object in the list at a path.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let body = object.to_string().into_bytes();
        self.call(Method::POST, path, "application/json", body)
            .await
    }

    /// Changes the object at a path.
    pub(super) async fn patch(
        &self,
        path: &str,
        kind: &str,
        patch: &Value,
    ) -> Result<Value, ApiError> {
        let query = match kind {
            APPLY => format!("{path}?fieldManager={MANAGER}&force=true"),
            _ => format!("{path}?fieldManager={MANAGER}"),
        };
        let body = patch.to_string().into_bytes();
        self.call(Method::PATCH, &query, kind, body).await
    }

    /// Makes an object under its name, or nothing if somebody else has: a conflict then. To make one
    /// by server-side apply takes a right on its name alone.
    pub(super) async fn make(
        &self,
        path: &str,
        manager: &str,
        object: &Value,
    ) -> Result<Value, ApiError> {
        let query = format!("{path}?fieldManager={manager}");
        let body = object.to_string().into_bytes();
        self.call(Method::PATCH, &query, APPLY, body).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Value, ApiError> {
        let mut request = Request::builder().method(method).uri(path);
        if !kind.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, kind);
        }
        let request = request.body(body)?;
        let answered = tokio::time::timeout(WITHIN, self.client.request::<Value>(request)).await;
        match answered {
            Err(_) => Err(ApiError::Late),
            Ok(Ok(object)) => Ok(object),
            Ok(Err(kube::Error::Api(status))) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY);
                Err(ApiError::Refused(code, status.message.clone()))
            }
            Ok(Err(error)) => Err(ApiError::Call(Box::new(error))),
        }
    }
}

/// Where a namespace's objects of a kind are, and one of them.
pub(super) fn secret_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

pub(super) fn config_map_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}")
}

pub(super) fn pod_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

pub(super) fn zenlock_path(namespace: &str, name: &str) -> String {
    format!("/apis/security.zen-mesh.io/v1/namespaces/{namespace}/zenlocks/{name}")
}

pub(super) const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
pub(super) const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub(super) const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// Logs a failure of the API server once, and its end.
#[derive(Default)]
pub(super) struct Trouble(Option<String>);

impl Trouble {
    pub(super) fn note<T>(
        &mut self,
        doing: &'static str,
        outcome: Result<T, ApiError>,
    ) -> Option<T> {
        match outcome {
            Ok(done) => {
                if self.0.take().is_some() {
                    tracing::info!(doing, "the API server does as asked again");
                }
                Some(done)
            }
            Err(error) => {
                let error = Chain(&error).to_string();
                if self.0.as_ref() != Some(&error) {
                    tracing::warn!(doing, error, "the API server does not do as asked");
                    self.0 = Some(error);
                }
                None
            }
        }
    }
}

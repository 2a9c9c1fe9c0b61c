//! A server and clients for it.

use std::path::PathBuf;

use http::{Request, Response};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use zen_integration_tests::kubernetes::ApiServer;

/// The namespace of everything here.
pub(crate) const NAMESPACE: &str = "zen-mesh";

pub(crate) struct Stage {
    pub(crate) server: ApiServer,
    pub(crate) folder: TempDir,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let server = ApiServer::start().await.unwrap();
        server.put(&namespace(NAMESPACE)).unwrap();
        Self {
            server,
            folder: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        self.server.kubeconfig(&file, token, NAMESPACE).unwrap()
    }

    pub(crate) async fn client(&self, token: &str) -> Client {
        let file = Kubeconfig::read_from(self.kubeconfig("client", token)).unwrap();
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(file, &options)
            .await
            .unwrap();
        // A test wants to see every answer.
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    pub(crate) async fn admin(&self) -> Client {
        self.client(self.server.admin()).await
    }

    pub(crate) async fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.admin().await, NAMESPACE)
    }

    pub(crate) async fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.admin().await, NAMESPACE)
    }
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// An object of a type, from JSON.
pub(crate) fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn map(name: &str, key: &str, value: &str) -> ConfigMap {
    of(json!({ "metadata": { "name": name }, "data": { key: value } }))
}

/// What the server said when it refused: code and reason.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    let status = status(result);
    (status.code, status.reason)
}

#[track_caller]
pub(crate) fn status<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> Status {
    match result.unwrap_err() {
        kube::Error::Api(status) => *status,
        other => panic!("not the server's word: {other:?}"),
    }
}

/// A request as it goes over the wire; headers and body of the answer.
pub(crate) async fn raw(
    client: &Client,
    method: &str,
    path: &str,
    media_type: &str,
    body: &Value,
) -> Response<Value> {
    use http_body_util::BodyExt as _;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media_type)
        .body(kube::client::Body::from(body.to_string().into_bytes()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, serde_json::from_slice(&bytes).unwrap())
}

//! An API server as far as the doctor sees one: Secrets by name, and reviews of access.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What it has and allows.
pub(crate) struct ApiServer {
    /// Content by Secret and key.
    pub(crate) secrets: HashMap<(&'static str, &'static str), Vec<u8>>,
    /// `verb resource name` that is denied.
    pub(crate) denied: Vec<&'static str>,
    /// Whether reviews are refused altogether.
    pub(crate) no_reviews: bool,
}

impl ApiServer {
    /// Serves on a free port; the answer is a kubeconfig in `folder`.
    pub(crate) async fn start(self, folder: &Path) -> PathBuf {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { Ok::<_, Infallible>(shared.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        kubeconfig(folder, &address.to_string())
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let secrets = "/api/v1/namespaces/zen-mesh/secrets";
        if head.method == Method::POST && path.ends_with("/selfsubjectaccessreviews") {
            if self.no_reviews {
                let said = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                    "message": "selfsubjectaccessreviews is forbidden",
                });
                return answer(403, &said);
            }
            return answer(201, &self.review(serde_json::from_slice(&body).unwrap()));
        }
        if path == secrets {
            let name = query.rsplit("%3D").next().unwrap();
            let items: Vec<_> = self.secret(name).into_iter().collect();
            let list =
                json!({ "kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": items });
            return answer(200, &list);
        }
        let named = path
            .strip_prefix(secrets)
            .and_then(|rest| self.secret(rest.trim_start_matches('/')));
        match named {
            Some(secret) => answer(200, &secret),
            None => answer(
                404,
                &json!({ "kind": "Status", "code": 404, "message": "none" }),
            ),
        }
    }

    fn secret(&self, name: &str) -> Option<Value> {
        let data: serde_json::Map<_, _> = self
            .secrets
            .iter()
            .filter(|((secret, _), _)| *secret == name)
            .map(|((_, key), content)| ((*key).to_owned(), STANDARD.encode(content).into()))
            .collect();
        (!data.is_empty()).then(|| {
            json!({
                "kind": "Secret", "apiVersion": "v1", "data": data,
                "metadata": { "name": name, "namespace": "zen-mesh", "resourceVersion": "1" },
            })
        })
    }

    fn review(&self, mut review: Value) -> Value {
        let asked = &review["spec"]["resourceAttributes"];
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        let question = format!("{} {} {}", text("verb"), text("resource"), text("name"));
        let allowed = !self.denied.contains(&question.trim_end());
        review["status"] = json!({ "allowed": allowed });
        review
    }
}

/// A kubeconfig that leads to `address`.
pub(crate) fn kubeconfig(folder: &Path, address: &str) -> PathBuf {
    let file = folder.join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "contexts": [{ "name": "test", "context": {
            "cluster": "test", "user": "test", "namespace": "zen-mesh" } }],
        "users": [{ "name": "test", "user": {} }],
    });
    std::fs::write(&file, text.to_string()).unwrap();
    file
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

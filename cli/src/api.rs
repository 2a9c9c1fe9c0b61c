//! The REST client: JSON in, JSON out, problems as errors people can act on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use zen_chassis::files;

/// Longest answer that is read.
const ANSWER: usize = 64 * 1024 * 1024;
/// Rows of one page.
const PAGE: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(30);

/// The API said no.
#[derive(Debug, thiserror::Error)]
#[error("{title} ({code}){}", detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
pub(crate) struct Problem {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// Stable code.
    pub(crate) code: String,
    title: String,
    detail: Option<String>,
}

/// A control plane's REST API.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    authorization: header::HeaderValue,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Api {
    /// A client; nothing is connected yet.
    pub(crate) fn new(base: &str, key_file: &Path, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let key = files::read_capped(key_file, 4096)?;
        let key = String::from_utf8(key).context("the API key is not text")?;
        let mut authorization = header::HeaderValue::from_str(&format!("Bearer {}", key.trim()))
            .context("the API key has characters that no key has")?;
        authorization.set_sensitive(true);
        let mut roots = rustls::RootCertStore::empty();
        if let Some(file) = ca_file.filter(|_| base.starts_with("https:")) {
            for certificate in CertificateDer::pem_file_iter(file)
                .with_context(|| format!("cannot read {}", file.display()))?
            {
                roots.add(certificate?)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            authorization,
            client,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// One thing and its version, if the control plane names one.
    pub(crate) async fn get_with_version(
        &self,
        path: &str,
    ) -> anyhow::Result<(Value, Option<String>)> {
        self.exchange(Method::GET, path, None, None).await
    }

    /// Changes a thing only if it still has this version.
    pub(crate) async fn patch_if(
        &self,
        path: &str,
        body: &Value,
        version: Option<&str>,
    ) -> anyhow::Result<Value> {
        let answer = self.exchange(Method::PATCH, path, Some(body), version);
        Ok(answer.await?.0)
    }

    /// Removes a thing only if it still has this version.
    pub(crate) async fn delete_if(&self, path: &str, version: Option<&str>) -> anyhow::Result<()> {
        self.exchange(Method::DELETE, path, None, version).await?;
        Ok(())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    /// Every row of a list, page by page.
    pub(crate) async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.some(path, "", usize::MAX).await
    }

    /// So many rows of a list at the most; `filter` begins with `&` or is empty.
    pub(crate) async fn some(
        &self,
        path: &str,
        filter: &str,
        most: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        while rows.len() < most {
            let limit = (most - rows.len()).min(PAGE);
            let page = self
                .get(&format!("{path}?limit={limit}{filter}{cursor}"))
                .await?;
            rows.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(next) if !next.is_empty() => {
                    cursor = query(&[("cursor", Some(next))]);
                }
                _ => break,
            }
        }
        Ok(rows)
    }

    /// The one row whose `id` or `name` is `wanted`.
    pub(crate) async fn find(&self, path: &str, wanted: &str) -> anyhow::Result<Value> {
        let mut rows = self.all(path).await?;
        rows.retain(|row| row["id"] == wanted || row["name"] == wanted);
        // A name may have been used before by something that is gone now.
        if rows.len() > 1 {
            rows.retain(|row| row["status"] != "retired");
        }
        match rows.len() {
            0 => anyhow::bail!("{path} has nothing named {wanted:?}"),
            1 => Ok(rows.remove(0)),
            several => anyhow::bail!("{several} of {path} are named {wanted:?}: give the id"),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        Ok(self.exchange(method, path, body, None).await?.0)
    }

    /// One request and its answer, with the version (`ETag`) of what it shows; `version` is the
    /// one that the thing must still have (`If-Match`).
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<&str>,
    ) -> anyhow::Result<(Value, Option<String>)> {
        let url = format!("{}{path}", self.base);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, self.authorization.clone());
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(version) = version {
            request = request.header(header::IF_MATCH, version);
        }
        let request = request.body(Full::new(
            body.map_or_else(Bytes::new, |body| body.to_string().into()),
        ))?;
        let answer = tokio::time::timeout(TIMEOUT, self.client.request(request))
            .await
            .with_context(|| format!("{url} gave no answer within {} s", TIMEOUT.as_secs()))?
            .with_context(|| format!("cannot reach {url}"))?;
        let status = answer.status();
        let version = answer.headers().get(header::ETAG);
        let version = version.and_then(|tag| tag.to_str().ok().map(ToOwned::to_owned));
        let bytes = Limited::new(answer.into_body(), ANSWER)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the answer of {url} broke off: {error}"))?
            .to_bytes();
        if status.is_success() {
            let value = match bytes.is_empty() {
                true => Value::Null,
                false => serde_json::from_slice(&bytes)?,
            };
            return Ok((value, version));
        }
        let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |key: &str| problem[key].as_str().map(ToOwned::to_owned);
        Err(Problem {
            status,
            code: text("code").unwrap_or_else(|| status.as_u16().to_string()),
            title: text("title").unwrap_or_else(|| "the API refused".to_owned()),
            detail: details(&problem),
        }
        .into())
    }
}

/// Query parameters to append to others, without those that have no value.
pub(crate) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let mut written = url::form_urlencoded::Serializer::new(String::new());
    let given = parameters
        .iter()
        .filter_map(|(name, value)| Some((name, (*value)?)));
    for (name, value) in given {
        written.append_pair(name, value);
    }
    match written.finish() {
        none if none.is_empty() => none,
        some => format!("&{some}"),
    }
}

/// What is wrong: field by field where the problem names fields, else its detail.
fn details(problem: &Value) -> Option<String> {
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| {
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("field"), text("detail"))
        })
        .collect();
    if fields.is_empty() {
        return problem["detail"].as_str().map(ToOwned::to_owned);
    }
    Some(fields.join("; "))
}

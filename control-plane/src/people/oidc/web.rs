//! Calls to the provider: TLS only, bounded in time and size, no redirects.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use url::Url;

/// Time for one call.
const CALL: Duration = Duration::from_secs(10);
/// Largest answer.
const ANSWER: usize = 256 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// The request cannot be made.
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    /// No connection, or it broke.
    #[error("the call failed")]
    Call(#[from] hyper_util::client::legacy::Error),
    /// No answer in time.
    #[error("no answer within 10 s")]
    Timeout,
    /// The answer broke off or is too large.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another status than 200.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The answer is not what it should be.
    #[error("the answer is not of the expected form")]
    Form(#[from] serde_json::Error),
}

/// A client over TLS.
pub(super) struct Web(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Web {
    /// Trusts the certificates in the file, or the system's.
    ///
    /// # Errors
    /// When there are none.
    pub(super) fn new(ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?;
        let config = match ca_file {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(file)? {
                    roots.add(certificate?)?;
                }
                anyhow::ensure!(!roots.is_empty(), "no certificate in {}", file.display());
                builder.with_root_certificates(roots)
            }
            None => builder.with_native_roots()?,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_only()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// See [`WebError`].
    pub(super) async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, WebError> {
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .body(Full::default())?;
        self.call(request).await
    }

    /// Posts a form and reads JSON; `basic` are a client's id and secret.
    ///
    /// # Errors
    /// See [`WebError`].
    pub(super) async fn post_form<T: DeserializeOwned>(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<T, WebError> {
        let encoded = |pairs: &[(&str, &str)]| {
            url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .finish()
        };
        let mut request = Request::post(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some((id, secret)) = basic {
            // RFC 6749, 2.3.1: both are form-encoded before they are joined.
            let plain = |text: &str| encoded(&[("", text)]).trim_start_matches('=').to_owned();
            let pair = STANDARD.encode(format!("{}:{}", plain(id), plain(secret)));
            let mut value =
                HeaderValue::from_str(&format!("Basic {pair}")).map_err(http::Error::from)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        self.call(request.body(Full::from(encoded(form)))?).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<T, WebError> {
        let called = async {
            let response = self.0.request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(WebError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), ANSWER).collect().await;
            Ok(body.map_err(WebError::Body)?.to_bytes())
        };
        let body = tokio::time::timeout(CALL, called)
            .await
            .map_err(|_| WebError::Timeout)??;
        Ok(serde_json::from_slice(&body)?)
    }
}

//! A webhook source on one keep-alive HTTP/1.1 connection after another: posts until it has a
//! 2xx, as real sources do, and remembers what was accepted.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::sign;

/// How a source signs.
#[derive(Clone)]
pub enum Scheme {
    /// Not at all.
    None,
    /// As GitHub does, with this secret.
    Github(Vec<u8>),
}

/// A source that posts to one endpoint.
#[derive(Clone)]
pub struct Source {
    url: String,
    scheme: Scheme,
    more: Vec<(String, String)>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Source {
    /// A source for the endpoint at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>, scheme: Scheme) -> Self {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self {
            url: url.into(),
            scheme,
            more: Vec::new(),
            client,
        }
    }

    /// The same source with one more header on each request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.more.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Posts once. The answer is the event id of a 202.
    ///
    /// # Errors
    /// Any other answer, or none.
    pub async fn post(&self, id: &str, body: Bytes) -> anyhow::Result<String> {
        let mut request = Request::post(&self.url).header("content-type", "application/json");
        for (name, value) in &self.more {
            request = request.header(name, value);
        }
        if let Scheme::Github(secret) = &self.scheme {
            request = request
                .header("x-github-event", "push")
                .header("x-github-delivery", id)
                .header("x-hub-signature-256", sign::github(secret, &body));
        }
        let answer = self.client.request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        anyhow::ensure!(
            status == 202,
            "{status}: {}",
            String::from_utf8_lossy(&text)
        );
        let event: Value = serde_json::from_slice(&text)?;
        Ok(event["event_id"].as_str().unwrap_or_default().to_owned())
    }

    /// Posts until it is accepted, up to `patience`.
    ///
    /// # Errors
    /// What the last answer was.
    pub async fn post_until_accepted(
        &self,
        id: &str,
        body: Bytes,
        patience: Duration,
    ) -> anyhow::Result<String> {
        crate::eventually::eventually("the event is accepted", patience, || {
            self.post(id, body.clone())
        })
        .await
    }
}

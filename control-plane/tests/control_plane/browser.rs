//! A browser without a screen: keeps cookies, sends what browsers send with forms.
#![expect(clippy::unwrap_used, reason = "a test fails so")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// What came back.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Page {
    /// Where it sends the browser.
    pub(crate) fn location(&self) -> &str {
        self.headers["location"].to_str().unwrap()
    }
}

/// A browser with its cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) http: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// What it says about where its requests come from.
    pub(crate) site: Option<&'static str>,
}

impl Browser {
    pub(crate) fn new(http: SocketAddr) -> Self {
        Self {
            http,
            cookies: BTreeMap::new(),
            site: Some("same-origin"),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send("GET", path, "text/plain", String::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let kind = "application/x-www-form-urlencoded";
        self.send("POST", path, kind, body).await
    }

    /// A call of a page's script.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let page = self.send(method, path, "application/json", body).await;
        let value = serde_json::from_str(&page.text).unwrap_or_default();
        (page.status, value)
    }

    async fn send(&mut self, method: &str, path: &str, kind: &str, body: String) -> Page {
        let stream = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.http.to_string())
            .header("user-agent", "test browser")
            .header("content-type", kind);
        if let Some(site) = self.site {
            request = request.header("sec-fetch-site", site);
        }
        if !self.cookies.is_empty() {
            let pairs = self.cookies.iter().map(|(n, v)| format!("{n}={v}"));
            request = request.header("cookie", pairs.collect::<Vec<_>>().join("; "));
        }
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        driver.abort();
        for cookie in parts.headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

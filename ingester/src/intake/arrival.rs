//! A request as it came in, its body unread.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Request};
use zen_proto::ids::EndpointId;

use super::refusal::Refusal;
use crate::configure::Configuration;
use crate::routing::Endpoint;

const PREFIX: &str = "/hooks/";

/// A request for `/hooks/<endpoint id>`, or for something that is not there.
pub(crate) struct Arrival<B> {
    parts: Parts,
    pub(super) body: B,
    pub(super) source: IpAddr,
}

impl<B> Arrival<B> {
    pub(super) fn new(request: Request<B>, source: IpAddr) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            parts,
            body,
            source,
        }
    }

    /// The endpoint that the path names, if it takes anything at all.
    pub(super) fn find_endpoint(
        &self,
        configuration: &Configuration,
    ) -> Result<Arc<Endpoint>, Refusal> {
        let id: EndpointId = self
            .endpoint_text()
            .parse()
            .map_err(|_| Refusal::unknown())?;
        let table = configuration.table();
        let table = table.as_ref().ok_or_else(Refusal::unconfigured)?;
        table.endpoint(id).cloned().ok_or_else(Refusal::unknown)
    }

    /// What stands where the endpoint's id belongs; empty for other paths.
    pub(super) fn endpoint_text(&self) -> &str {
        let rest = self
            .parts
            .uri
            .path()
            .strip_prefix(PREFIX)
            .unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }

    /// Path below the endpoint and query, as received.
    pub(super) fn below_endpoint(&self) -> String {
        let whole = self
            .parts
            .uri
            .path_and_query()
            .map_or("", |all| all.as_str());
        let before = PREFIX.len() + self.endpoint_text().len();
        whole.get(before..).unwrap_or_default().to_owned()
    }

    /// The trace context that came along, if it has the form of one; else empty.
    pub(super) fn traceparent(&self) -> &str {
        let text = self
            .parts
            .headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        text.filter(|text| is_traceparent(text)).unwrap_or_default()
    }

    /// The same with another body.
    pub(super) fn with_body<C>(self, body: C) -> Arrival<C> {
        Arrival {
            parts: self.parts,
            body,
            source: self.source,
        }
    }

    pub(super) const fn method(&self) -> &Method {
        &self.parts.method
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }
}

/// `version-trace-parent-flags` of W3C Trace Context, in lower-case hexadecimal.
fn is_traceparent(text: &str) -> bool {
    text.len() == 55
        && text.bytes().enumerate().all(|(place, byte)| match place {
            2 | 35 | 52 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(uri: &str) -> Arrival<()> {
        let request = Request::builder().uri(uri).body(()).unwrap();
        Arrival::new(request, IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn the_path_names_the_endpoint_and_what_is_below_it() {
        for (uri, endpoint, below) in [
            ("/hooks/ep_1", "ep_1", ""),
            ("/hooks/ep_1/", "ep_1", "/"),
            ("/hooks/ep_1/a/b?c=%20d", "ep_1", "/a/b?c=%20d"),
            ("/hooks/ep_1?x=/y", "ep_1", "?x=/y"),
            ("http://host/hooks/ep_1/a", "ep_1", "/a"),
        ] {
            let arrival = arrival(uri);
            assert_eq!(arrival.endpoint_text(), endpoint, "{uri}");
            assert_eq!(arrival.below_endpoint(), below, "{uri}");
        }
        assert_eq!(arrival("/other/ep_1").endpoint_text(), "");
        assert_eq!(arrival("/hooks/").endpoint_text(), "");
    }

    #[test]
    fn only_what_has_the_form_of_a_trace_context_is_one() {
        assert!(is_traceparent(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ));
        assert!(!is_traceparent(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
        ));
        assert!(!is_traceparent(
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        ));
    }
}

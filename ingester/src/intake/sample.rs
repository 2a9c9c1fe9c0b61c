//! A sample webhook that this ingester makes itself: signed as the endpoint's sources sign, and then
//! judged, known to be new and stored by the very way of a webhook. Only its method and address are
//! not judged: nobody sent it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use serde_json::json;
use tracing::Span;
use zen_proto::ids::EndpointId;
use zen_proto::query::v1::TestAccepted;

use super::accepted::Accepted;
use super::arrival::Arrival;
use super::refusal::Refusal;
use super::routed::Routed;
use super::verified::Verified;
use super::{Intake, count};
use crate::routing::Endpoint;

/// Where a sample comes from.
const NOWHERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

impl Intake {
    /// Takes a sample in for the endpoint, if the tenant has it (empty means any).
    pub(crate) async fn sample(&self, id: EndpointId, tenant_id: &str) -> TestAccepted {
        let began = Instant::now();
        let outcome = match self.endpoint_of(id, tenant_id) {
            Ok(endpoint) => {
                let outcome = self.take_sample(Arc::clone(&endpoint)).await;
                count(&endpoint, &outcome);
                outcome
            }
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(accepted) => {
                self.metrics.accepted(began.elapsed());
                TestAccepted {
                    event_id: accepted.event_id.to_string(),
                    ..TestAccepted::default()
                }
            }
            Err(refusal) => {
                self.metrics.refused(refusal.code);
                TestAccepted {
                    code: refusal.code.to_owned(),
                    detail: refusal.detail.into_owned(),
                    ..TestAccepted::default()
                }
            }
        }
    }

    fn endpoint_of(&self, id: EndpointId, tenant_id: &str) -> Result<Arc<Endpoint>, Refusal> {
        let table = self.configuration.table();
        let table = table.as_ref().ok_or_else(Refusal::unconfigured)?;
        let found = table.endpoint(id).cloned();
        let of_tenant =
            |endpoint: &Arc<Endpoint>| tenant_id.is_empty() || endpoint.tenant_id == tenant_id;
        found.filter(of_tenant).ok_or_else(Refusal::unknown)
    }

    async fn take_sample(&self, endpoint: Arc<Endpoint>) -> Result<Accepted, Refusal> {
        let now_ms = self.stage.clock.unix_ms();
        let random: [u8; 12] = self.stage.random.bytes();
        let arrival = webhook(&endpoint, &hex::encode(random), now_ms)?;
        let routed = Routed::unjudged(arrival, endpoint)?;
        let verified = Verified::new(routed.read_body().await?, now_ms)?;
        verified.accept(self, now_ms, &Span::none()).await
    }
}

/// A webhook as the endpoint's source would send it.
fn webhook(
    endpoint: &Endpoint,
    random: &str,
    now_ms: u64,
) -> Result<Arrival<Full<Bytes>>, Refusal> {
    let now_seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let id = format!("zen_test_{random}");
    let body = json!({
        "id": id,
        "type": "zen.test",
        "created": now_seconds,
        "data": { "endpoint_id": endpoint.id },
    });
    let body = Bytes::from(body.to_string());
    let signed = endpoint.verifier.sign(&id, &body, now_seconds);
    let signed = signed.ok_or_else(Refusal::secret_unavailable)?;
    let mut request = Request::new(Full::new(body));
    if let Some(method) = endpoint.methods.first() {
        *request.method_mut() = method.clone();
    }
    *request.uri_mut() =
        Uri::try_from(format!("/hooks/{}", endpoint.id)).map_err(|_| Refusal::unknown())?;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    for (name, value) in signed {
        // Made of hexadecimal, base64 and digits: always a valid header.
        if let Ok(value) = HeaderValue::from_str(&value) {
            request.headers_mut().insert(name, value);
        }
    }
    Ok(Arrival::new(request, NOWHERE))
}

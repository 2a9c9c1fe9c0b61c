//! The way of a webhook, one type a stage: an [`Arrival`] is routed to its endpoint ([`Routed`]), read and
//! verified on its raw bytes ([`Verified`]), known to be new and stored ([`Accepted`]). A 2xx means that the event is
//! on the disk; whatever goes wrong before ends in a [`Refusal`].

mod accepted;
mod arrival;
mod certificate;
mod refusal;
mod routed;
mod sample;
mod server;
#[cfg(test)]
mod tests;
mod verified;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::Full;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, field};
use zen_chassis::{Stage, trace_context};
use zen_proto::ids::EventId;

use crate::configure::Configuration;
use crate::metrics::Metrics;
use crate::routing::Endpoint;
use crate::store::Store;

use accepted::Accepted;
use arrival::Arrival;
use refusal::Refusal;
use routed::Routed;
use verified::Verified;

pub(crate) use certificate::LiveCertificate;
pub(crate) use server::{Bounds, Door};

/// Everything that taking webhooks in needs.
pub(crate) struct Intake {
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    pub(crate) stage: Stage,
    /// Appends under way: an event that is queued for the disk is settled even if its source has gone.
    pub(crate) appends: TaskTracker,
    /// Time for one request.
    pub(crate) request_timeout: Duration,
    /// Whether spans go anywhere; if not, none is made for a webhook.
    pub(crate) traced: bool,
}

impl Intake {
    /// Answers one request, whatever it is.
    pub(crate) async fn answer<B>(
        &self,
        request: Request<B>,
        source: IpAddr,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: std::error::Error,
    {
        if request.uri().path() == "/healthz" {
            return healthz(request.method());
        }
        let began = Instant::now();
        let is_http1 = request.version() < Version::HTTP_2;
        let arrival = Arrival::new(request, source);
        let span = self.span(&arrival);
        let taking = self.take(arrival, &span).instrument(span.clone());
        let outcome = match tokio::time::timeout(self.request_timeout, taking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refusal::timeout(self.request_timeout)),
        };
        match outcome {
            Ok(accepted) => {
                span.record("event", field::display(accepted.event_id));
                if accepted.repeated {
                    self.metrics.duplicate();
                } else {
                    self.metrics.accepted(began.elapsed());
                }
                accepted_response(accepted.event_id)
            }
            Err(refusal) => {
                span.record("code", refusal.code);
                self.metrics.refused(refusal.code);
                tracing::debug!(code = refusal.code, detail = %refusal.detail, %source, "webhook refused");
                let close = is_http1 && refusal.leaves_body;
                let mut response = refusal.into_response();
                if close {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                response
            }
        }
    }

    /// The story: from a request to a durable event.
    async fn take<B>(&self, arrival: Arrival<B>, span: &Span) -> Result<Accepted, Refusal>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: std::error::Error,
    {
        let endpoint = arrival.find_endpoint(&self.configuration)?;
        let taken = async {
            let routed = Routed::new(arrival, Arc::clone(&endpoint))?;
            let now_ms = self.stage.clock.unix_ms();
            let read = tokio::time::timeout(self.request_timeout, routed.read_body()).await;
            let read = read.map_err(|_| Refusal::slow_body(self.request_timeout))??;
            let verified = Verified::new(read, now_ms)?;
            verified.accept(self, now_ms, span).await
        };
        let outcome = taken.await;
        count(&endpoint, &outcome);
        outcome
    }

    /// The webhook's span, a child of its source's; none if spans go nowhere.
    fn span<B>(&self, arrival: &Arrival<B>) -> Span {
        if !self.traced {
            return Span::none();
        }
        let span = tracing::info_span!(
            target: "zen_ingester",
            "webhook",
            otel.kind = "server",
            endpoint = arrival.endpoint_text(),
            event = field::Empty,
            code = field::Empty,
        );
        trace_context::continue_from(&span, arrival.traceparent());
        span
    }
}

/// Counts what became of a webhook at its endpoint.
fn count(endpoint: &Endpoint, outcome: &Result<Accepted, Refusal>) {
    match outcome {
        Ok(accepted) if accepted.repeated => endpoint.counters.duplicates.add(1),
        Ok(_) => endpoint.counters.accepted.add(1),
        Err(_) => endpoint.counters.refused.add(1),
    }
}

/// Whether a span made now would be collected.
pub(crate) fn is_traced() -> bool {
    let probe = tracing::info_span!(target: "zen_ingester", "probe");
    !trace_context::outgoing(&probe, "").is_empty()
}

fn accepted_response(event_id: EventId) -> Response<Full<Bytes>> {
    let id = event_id.to_string();
    let body = format!("{{\"event_id\":\"{id}\"}}");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::ACCEPTED;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    // An id is letters, digits and an underscore: always a valid header.
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(id)) {
        headers.insert("x-zen-event-id", value);
    }
    response
}

fn healthz(method: &Method) -> Response<Full<Bytes>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Response::new(Full::new(Bytes::from_static(b"ok\n")));
    }
    Refusal::method(HeaderValue::from_static("GET, HEAD")).into_response()
}

//! W3C trace context carried as text in an event, through queues and processes.
//! Without a trace collector the text is passed on as it came.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// Makes `span` a child of the remote span named by `traceparent`; malformed text is ignored, as
/// the W3C recommendation asks.
pub fn continue_from(span: &Span, traceparent: &str) {
    let context = parse(traceparent);
    if context.span().span_context().is_valid() {
        // Refused only when no tracing layer is installed; then there is nothing to join.
        let _joined = span.set_parent(context);
    }
}

/// Links `span` to the remote span named by `traceparent`, without nesting under it.
pub fn link_to(span: &Span, traceparent: &str) {
    span.add_link(parse(traceparent).span().span_context().clone());
}

/// The trace context of `span` as text to send on; `received` if spans are not collected.
#[must_use]
pub fn outgoing(span: &Span, received: &str) -> String {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return received.to_owned();
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT).unwrap_or_else(|| received.to_owned())
}

fn parse(traceparent: &str) -> Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

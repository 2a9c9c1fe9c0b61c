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
    carrier
        .remove(TRACEPARENT)
        .unwrap_or_else(|| received.to_owned())
}

fn parse(traceparent: &str) -> Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    /// Runs `look` where spans are collected.
    fn collected(look: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), look);
    }

    #[test]
    fn a_span_continues_the_trace_it_was_given() {
        let received = format!("00-{TRACE}-00f067aa0ba902b7-01");
        collected(|| {
            let span = tracing::info_span!("webhook");
            continue_from(&span, &received);
            let sent = outgoing(&span, &received);
            assert!(sent.contains(TRACE), "{sent}");
            assert!(
                !sent.contains("00f067aa0ba902b7"),
                "the span has no id of its own: {sent}"
            );
        });
    }

    #[test]
    fn a_linked_span_begins_a_trace_of_its_own() {
        let received = format!("00-{TRACE}-00f067aa0ba902b7-01");
        collected(|| {
            let span = tracing::info_span!("attempt");
            link_to(&span, &received);
            assert!(!outgoing(&span, &received).contains(TRACE));
        });
    }

    #[test]
    fn without_a_collector_the_text_goes_through() {
        let received = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let span = tracing::info_span!("webhook");
        continue_from(&span, &received);
        assert_eq!(outgoing(&span, &received), received);
        assert_eq!(outgoing(&span, "nonsense"), "nonsense");
    }
}

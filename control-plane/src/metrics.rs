//! What the control plane counts.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};
use zen_chassis::metrics::SECONDS;

/// The control plane's instruments.
pub(crate) struct Metrics {
    /// Open sessions.
    pub(crate) sessions: UpDownCounter<i64>,
    redemptions: Counter<u64>,
    recoveries: Counter<u64>,
    sign_ins: Counter<u64>,
    snapshots: Counter<u64>,
    queries: Counter<u64>,
    resealed: Counter<u64>,
    handshakes_refused: Counter<u64>,
    requests: Histogram<f64>,
    leaf_not_after: Gauge<u64>,
}

impl Metrics {
    /// Instruments of this meter.
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, about| meter.u64_counter(name).with_description(about).build();
        Self {
            sessions: meter
                .i64_up_down_counter("zen_control_plane_sessions")
                .with_description("open sessions of agents")
                .build(),
            redemptions: counter("zen_control_plane_redemptions", "redemptions, by outcome"),
            recoveries: counter("zen_control_plane_recoveries", "recoveries, by outcome"),
            sign_ins: counter("zen_control_plane_sign_ins", "sign-ins, by outcome"),
            snapshots: counter(
                "zen_control_plane_snapshots_published",
                "snapshots published",
            ),
            queries: counter(
                "zen_control_plane_queries",
                "questions to planes, by outcome",
            ),
            resealed: counter(
                "zen_control_plane_secrets_resealed",
                "secrets that a plane's zen-lock sealed again, by outcome",
            ),
            handshakes_refused: counter(
                "zen_control_plane_handshakes_refused",
                "refused TLS handshakes of agents, by code",
            ),
            requests: meter
                .f64_histogram("zen_control_plane_http_request")
                .with_unit("s")
                .with_description("REST requests, by class of status")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            leaf_not_after: meter
                .u64_gauge("zen_control_plane_cert_not_after_timestamp_seconds")
                .with_description("when the control plane's leaf ends, Unix seconds")
                .build(),
        }
    }

    /// A redemption ended with `outcome`: `ENROLLED`, `REPEATED` or a refusal's code.
    pub(crate) fn redemption(&self, outcome: &'static str) {
        self.redemptions
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A recovery ended with `outcome`: `RECOVERED` or a refusal's code.
    pub(crate) fn recovery(&self, outcome: &'static str) {
        self.recoveries.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Somebody tried to sign in: `in`, `refused` or `limited`.
    pub(crate) fn sign_in(&self, outcome: &'static str) {
        self.sign_ins.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A snapshot was published.
    pub(crate) fn published(&self) {
        self.snapshots.add(1, &[]);
    }

    /// A question to a plane ended with `outcome`.
    pub(crate) fn query(&self, outcome: &'static str) {
        self.queries.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A plane's zen-lock sealed a secret again: `taken` or `refused`.
    pub(crate) fn resealed(&self, outcome: &'static str) {
        self.resealed.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// A TLS handshake was refused.
    pub(crate) fn handshake_refused(&self, code: &'static str) {
        self.handshakes_refused
            .add(1, &[KeyValue::new("code", code)]);
    }

    /// A REST request was answered.
    pub(crate) fn request(&self, status: http::StatusCode, seconds: f64) {
        let class = match status.as_u16() {
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests
            .record(seconds, &[KeyValue::new("status", class)]);
    }

    /// The leaf in use ends at this Unix second.
    pub(crate) fn leaf_not_after(&self, unix_seconds: u64) {
        self.leaf_not_after.record(unix_seconds, &[]);
    }
}

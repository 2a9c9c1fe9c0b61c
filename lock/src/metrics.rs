//! zen-lock's instruments. Labels come from closed sets.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use zen_chassis::clock;
use zen_identity::LiveIdentity;

/// Buckets of an opening, seconds: one takes some 100 µs.
const SECONDS: [f64; 12] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0,
];

/// Counters and histograms. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    opens: Counter<u64>,
    open_duration: Histogram<f64>,
    handshakes: Counter<u64>,
    unaudited: Counter<u64>,
    admissions: Counter<u64>,
    admission_duration: Histogram<f64>,
    resealed: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, text: &'static str| {
            meter.u64_counter(name).with_description(text).build()
        };
        Self {
            opens: counter(
                "zen_lock_opens",
                "Secrets asked for, by purpose and outcome",
            ),
            open_duration: meter
                .f64_histogram("zen_lock_open_duration")
                .with_unit("s")
                .with_description("From the question to its answer")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            handshakes: counter(
                "zen_lock_handshakes_refused",
                "TLS handshakes that failed, by code",
            ),
            unaudited: counter(
                "zen_lock_audit_failures",
                "Secrets not handed out because the audit log could not be written",
            ),
            admissions: counter(
                "zen_lock_admissions",
                "Questions of the API server, by webhook and outcome",
            ),
            admission_duration: meter
                .f64_histogram("zen_lock_admission_duration")
                .with_unit("s")
                .with_description("From the API server's question to its answer")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            resealed: counter(
                "zen_lock_resealed",
                "Secrets sealed again for the newest key, by outcome",
            ),
        }
    }

    /// A question was answered; `outcome` is `opened`, `unchanged` or a code.
    pub(crate) fn asked(&self, purpose: &'static str, outcome: &'static str, took: Duration) {
        let labels = [
            KeyValue::new("purpose", purpose),
            KeyValue::new("outcome", outcome),
        ];
        self.opens.add(1, &labels);
        self.open_duration.record(took.as_secs_f64(), &[]);
    }

    /// The API server was answered; `outcome` is `allowed`, `changed` or a code.
    pub(crate) fn admitted(&self, webhook: &'static str, outcome: &'static str, took: Duration) {
        let labels = [
            KeyValue::new("webhook", webhook),
            KeyValue::new("outcome", outcome),
        ];
        self.admissions.add(1, &labels);
        let labels = [KeyValue::new("webhook", webhook)];
        self.admission_duration.record(took.as_secs_f64(), &labels);
    }

    /// A TLS handshake failed.
    pub(crate) fn handshake_refused(&self, code: &'static str) {
        self.handshakes.add(1, &[KeyValue::new("code", code)]);
    }

    /// The audit log could not be written.
    pub(crate) fn unaudited(&self) {
        self.unaudited.add(1, &[]);
    }

    /// A secret was sealed again and handed over; `outcome` is `sent` or `failed`.
    pub(crate) fn resealed(&self, outcome: &'static str) {
        self.resealed.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Gauges that are asked at each scrape.
    pub(crate) fn observe(meter: &Meter, identity: Option<LiveIdentity>, levels: Levels) {
        let gauge = |name: &'static str, text: &'static str| {
            meter.u64_observable_gauge(name).with_description(text)
        };
        if let Some(identity) = identity {
            gauge(
                "zen_lock_cert_not_after_timestamp",
                "When the certificate in use ends, Unix time",
            )
            .with_unit("s")
            .with_callback(move |gauge| {
                if let Some(end) = identity.leaf_not_after() {
                    gauge.observe(clock::to_unix_ms(end) / 1_000, &[]);
                }
            })
            .build();
        }
        for (name, text, level) in [
            (
                "zen_lock_identities",
                "Keys to open with",
                levels.identities,
            ),
            (
                "zen_lock_secrets",
                "Secrets of the plane that open",
                levels.opens,
            ),
            (
                "zen_lock_secrets_unopened",
                "Secrets of the plane that do not open",
                levels.unopened,
            ),
            (
                "zen_lock_reseal_pending",
                "Secrets still to be sealed for the newest key",
                levels.to_reseal,
            ),
        ] {
            gauge(name, text)
                .with_callback(move |gauge| gauge.observe(level(), &[]))
                .build();
        }
    }
}

/// Asked at each scrape.
type Level = Box<dyn Fn() -> u64 + Send + Sync>;

/// What the gauges show.
pub(crate) struct Levels {
    pub(crate) identities: Level,
    pub(crate) opens: Level,
    pub(crate) unopened: Level,
    pub(crate) to_reseal: Level,
}

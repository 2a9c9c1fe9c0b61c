//! The instruments of this egress. Label sets are built once.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use tokio::sync::watch;
use zen_chassis::metrics::SECONDS;

use crate::codes;
use crate::ledger::{Acceptance, Fate, Summary};

/// Counters and histograms. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    accepted: Counter<u64>,
    duplicates: Counter<u64>,
    refused: Counter<u64>,
    handshakes: Counter<u64>,
    delivered: Counter<u64>,
    dead_lettered: Counter<u64>,
    dead_codes: Vec<(&'static str, [KeyValue; 1])>,
    dropped: Counter<u64>,
    replayed: Counter<u64>,
    attempts: Counter<u64>,
    succeeded: [KeyValue; 1],
    failed: [KeyValue; 1],
    attempt_duration: Histogram<f64>,
    commit_duration: Histogram<f64>,
}

impl Metrics {
    /// Makes the instruments; `in_flight` and `paused` are asked at each scrape.
    pub(crate) fn new(
        meter: &Meter,
        summary: watch::Receiver<Summary>,
        in_flight: impl Fn() -> u64 + Send + Sync + 'static,
        paused: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let counter = |name: &'static str, text: &'static str| {
            meter.u64_counter(name).with_description(text).build()
        };
        let seconds = |name: &'static str, text: &'static str| {
            let boundaries = SECONDS.to_vec();
            let histogram = meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(text);
            histogram.with_boundaries(boundaries).build()
        };
        gauge(
            meter,
            "zen_egress_targets_paused",
            "Targets that answered 410",
            paused,
        );
        gauge(
            meter,
            "zen_egress_attempts_in_flight",
            "Attempts under way",
            in_flight,
        );
        gauges(meter, summary);
        Self {
            accepted: counter(
                "zen_egress_deliveries_accepted",
                "Deliveries new in the ledger",
            ),
            duplicates: counter("zen_egress_deliveries_duplicate", "Deliveries known before"),
            refused: counter(
                "zen_egress_deliveries_refused",
                "Deliveries that no ledger takes",
            ),
            handshakes: counter(
                "zen_egress_handshakes_refused",
                "TLS handshakes of ingesters that failed, by code",
            ),
            delivered: counter(
                "zen_egress_deliveries_delivered",
                "Deliveries their target has",
            ),
            dead_lettered: counter(
                "zen_egress_deliveries_dead_lettered",
                "Deliveries given up, by reason",
            ),
            dead_codes: codes::DEAD_LETTER
                .map(|code| (code, [KeyValue::new("code", code)]))
                .to_vec(),
            dropped: counter(
                "zen_egress_dead_letters_dropped",
                "Dead letters dropped before their time to keep the bound on their bytes",
            ),
            replayed: counter(
                "zen_egress_dead_letters_replayed",
                "Dead letters that were let wait again",
            ),
            attempts: counter("zen_egress_attempts", "Attempts made, by outcome"),
            succeeded: [KeyValue::new("outcome", "delivered")],
            failed: [KeyValue::new("outcome", "failed")],
            attempt_duration: seconds("zen_egress_attempt_duration", "Time of one attempt"),
            commit_duration: seconds(
                "zen_egress_ledger_commit_duration",
                "Time to make one batch of the ledger durable",
            ),
        }
    }

    /// A batch is in the ledger.
    pub(crate) fn taken(&self, taken: &[Acceptance]) {
        let stored = taken
            .iter()
            .filter(|one| **one == Acceptance::Stored)
            .count() as u64;
        self.accepted.add(stored, &[]);
        self.duplicates.add(taken.len() as u64 - stored, &[]);
    }

    /// Deliveries were refused for good.
    pub(crate) fn refused(&self, deliveries: usize) {
        self.refused.add(deliveries as u64, &[]);
    }

    /// Somebody did not get past the handshake.
    pub(crate) fn handshake_refused(&self, code: &'static str) {
        self.handshakes.add(1, &[KeyValue::new("code", code)]);
    }

    /// Dead letters wait again.
    pub(crate) fn replayed(&self, dead_letters: u64) {
        self.replayed.add(dead_letters, &[]);
    }

    /// An attempt was made.
    pub(crate) fn attempted(&self, delivered: bool, took: Duration) {
        let outcome = if delivered {
            &self.succeeded
        } else {
            &self.failed
        };
        self.attempts.add(1, outcome);
        self.attempt_duration.record(took.as_secs_f64(), outcome);
    }

    /// A settlement is in the ledger.
    pub(crate) fn settled(&self, fate: &Fate) {
        match fate {
            Fate::Delivered => self.delivered.add(1, &[]),
            Fate::Retry { .. } => {}
            Fate::DeadLetter { code, .. } => self.dead_lettered(code),
        }
    }

    /// A delivery became a dead letter.
    pub(crate) fn dead_lettered(&self, code: &str) {
        let known = self.dead_codes.iter().find(|(known, _)| *known == code);
        self.dead_lettered
            .add(1, known.map_or(&[], |(_, labels)| labels.as_slice()));
    }

    /// Dead letters were dropped before their time.
    pub(crate) fn dropped(&self, dead_letters: usize) {
        self.dropped.add(dead_letters as u64, &[]);
    }

    /// A batch of the ledger is durable.
    pub(crate) fn committed(&self, took: Duration) {
        self.commit_duration.record(took.as_secs_f64(), &[]);
    }
}

fn gauges(meter: &Meter, summary: watch::Receiver<Summary>) {
    let gauge = |name, text, value: fn(&Summary) -> u64| {
        let summary = summary.clone();
        gauge(meter, name, text, move || value(&summary.borrow()));
    };
    gauge(
        "zen_egress_deliveries_pending",
        "Deliveries waiting or under way",
        |held| held.pending,
    );
    gauge(
        "zen_egress_pending_bytes",
        "Bytes of body waiting",
        |held| held.pending_bytes,
    );
    gauge("zen_egress_dead_letters", "Dead letters kept", |held| {
        held.dead_letters
    });
    gauge(
        "zen_egress_dead_letter_bytes",
        "Bytes of body in dead letters",
        |held| held.dead_bytes,
    );
    gauge(
        "zen_egress_oldest_pending_timestamp_seconds",
        "When the oldest waiting delivery was accepted, 0 if none waits",
        |held| held.oldest_accepted_ms / 1_000,
    );
}

fn gauge(
    meter: &Meter,
    name: &'static str,
    text: &'static str,
    value: impl Fn() -> u64 + Send + Sync + 'static,
) {
    // The provider keeps the callback; the handle is of no further use.
    let _registered = meter
        .u64_observable_gauge(name)
        .with_description(text)
        .with_callback(move |observer| observer.observe(value(), &[]))
        .build();
}

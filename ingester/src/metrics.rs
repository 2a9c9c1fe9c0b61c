//! The ingester's instruments. Labels come from closed sets.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use crate::plan::Road;
use crate::status::Progress;
use crate::store::Store;

/// What is counted as it happens.
#[derive(Clone)]
pub(crate) struct Metrics {
    accepted: Counter<u64>,
    refused: Counter<u64>,
    duplicates: Counter<u64>,
    accept_duration: Histogram<f64>,
    dispatched: Counter<u64>,
    retries: Counter<u64>,
    dropped: Counter<u64>,
    unreadable: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_description(what).build()
        };
        Self {
            accepted: counter(
                "zen_ingester_events_accepted",
                "Events accepted and durable",
            ),
            refused: counter("zen_ingester_events_refused", "Webhooks refused, by reason"),
            duplicates: counter(
                "zen_ingester_events_duplicates",
                "Repeats of accepted events",
            ),
            accept_duration: meter
                .f64_histogram("zen_ingester_accept_duration")
                .with_unit("s")
                .with_boundaries(zen_chassis::metrics::SECONDS.to_vec())
                .with_description("From a webhook's headers to its answer of 2xx")
                .build(),
            dispatched: counter(
                "zen_ingester_deliveries_dispatched",
                "Deliveries made durable by the other side, by road",
            ),
            retries: counter(
                "zen_ingester_dispatch_retries",
                "Broken or refused tries, by road",
            ),
            dropped: counter(
                "zen_ingester_deliveries_dropped",
                "Deliveries given up before they were handed on, by road and reason",
            ),
            unreadable: counter(
                "zen_ingester_records_unreadable",
                "Damaged or lost stretches of the journal met by a road",
            ),
        }
    }

    /// Shows the journal and the roads as gauges, read when they are scraped.
    pub(crate) fn observe(meter: &Meter, store: &Store, progress: &[Progress]) {
        let shown = store.clone();
        let _bytes = meter
            .u64_observable_gauge("zen_ingester_journal_bytes")
            .with_description("Bytes of events kept in the journal")
            .with_callback(move |observer| observer.observe(shown.stats().bytes, &[]))
            .build();
        let limit = store.max_bytes();
        let _limit = meter
            .u64_observable_gauge("zen_ingester_journal_limit_bytes")
            .with_description("Size at which the journal takes nothing more")
            .with_callback(move |observer| observer.observe(limit, &[]))
            .build();
        let (shown, roads) = (store.clone(), progress.to_vec());
        let _lag = meter
            .u64_observable_gauge("zen_ingester_journal_lag_bytes")
            .with_description("Bytes of the journal that a road has still to hand on")
            .with_callback(move |observer| {
                let end = shown.journal().end();
                for road in &roads {
                    observer.observe(road.lag_bytes(end), &[label(road.road())]);
                }
            })
            .build();
    }

    /// One event was accepted, so long after its headers came.
    pub(crate) fn accepted(&self, took: Duration) {
        self.accepted.add(1, &[]);
        self.accept_duration.record(took.as_secs_f64(), &[]);
    }

    /// One webhook was a repeat.
    pub(crate) fn duplicate(&self) {
        self.duplicates.add(1, &[]);
    }

    /// One webhook was refused.
    pub(crate) fn refused(&self, code: &'static str) {
        self.refused.add(1, &[KeyValue::new("reason", code)]);
    }

    /// Deliveries are durable on the other side.
    pub(crate) fn dispatched(&self, road: Road, deliveries: u64) {
        self.dispatched.add(deliveries, &[label(road)]);
    }

    /// A try on a road came to nothing and is repeated.
    pub(crate) fn retry(&self, road: Road) {
        self.retries.add(1, &[label(road)]);
    }

    /// Deliveries were given up: `expired`, `refused` or `lost`.
    pub(crate) fn dropped(&self, road: Road, reason: &'static str, deliveries: u64) {
        self.dropped
            .add(deliveries, &[label(road), KeyValue::new("reason", reason)]);
    }

    /// A road met a stretch of the journal it cannot read.
    pub(crate) fn unreadable(&self, road: Road) {
        self.unreadable.add(1, &[label(road)]);
    }
}

fn label(road: Road) -> KeyValue {
    KeyValue::new("road", road.as_str())
}

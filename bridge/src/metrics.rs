//! The bridge's metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use crate::parcel::Refusal;

/// All instruments; none carries labels but `code`.
pub(crate) struct Metrics {
    pub(crate) published: Counter<u64>,
    refused: Counter<u64>,
    refused_labels: [[KeyValue; 1]; Refusal::ALL.len()],
    pub(crate) relayed: Counter<u64>,
    pub(crate) redelivered: Counter<u64>,
    pub(crate) acknowledged: Counter<u64>,
    expired: Counter<u64>,
    expired_since_start: AtomicU64,
    pub(crate) corrupt: Counter<u64>,
    pub(crate) lanes: UpDownCounter<i64>,
    pub(crate) attached: UpDownCounter<i64>,
    pub(crate) cut: Counter<u64>,
    pub(crate) publish_duration: Histogram<f64>,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = |name, text| meter.u64_counter(name).with_description(text).build();
        let level = |name, text| {
            meter
                .i64_up_down_counter(name)
                .with_description(text)
                .build()
        };
        Self {
            published: counter("zen_bridge_parcels_published", "parcels made durable"),
            refused: counter(
                "zen_bridge_parcels_refused",
                "parcels refused to publishers",
            ),
            refused_labels: Refusal::ALL.map(|refusal| [KeyValue::new("code", refusal.code())]),
            relayed: counter("zen_bridge_parcels_relayed", "parcels handed to egresses"),
            redelivered: counter(
                "zen_bridge_parcels_redelivered",
                "parcels among the relayed that had been handed out before",
            ),
            acknowledged: counter("zen_bridge_parcels_acknowledged", "parcels egresses have"),
            expired: counter(
                "zen_bridge_parcels_expired",
                "parcels dropped, nobody took them",
            ),
            expired_since_start: AtomicU64::new(0),
            corrupt: counter("zen_bridge_records_corrupt", "damaged records met in lanes"),
            lanes: level("zen_bridge_lanes", "open lanes"),
            attached: level("zen_bridge_attached", "attached egresses"),
            cut: counter(
                "zen_bridge_streams_cut",
                "streams ended, their peer lost its right",
            ),
            publish_duration: meter
                .f64_histogram("zen_bridge_publish_duration")
                .with_unit("s")
                .with_description("from a publish request to its parcels being durable")
                .with_boundaries(zen_chassis::metrics::SECONDS.to_vec())
                .build(),
        }
    }

    /// Counts parcels refused for one reason.
    pub(crate) fn refused(&self, refusal: Refusal, parcels: u64) {
        self.refused
            .add(parcels, &self.refused_labels[refusal as usize]);
    }

    /// Counts parcels that expired, for the scrape and for the status.
    pub(crate) fn expired(&self, parcels: u64) {
        self.expired.add(parcels, &[]);
        self.expired_since_start
            .fetch_add(parcels, Ordering::Relaxed);
    }

    /// Parcels expired since the start.
    pub(crate) fn expired_since_start(&self) -> u64 {
        self.expired_since_start.load(Ordering::Relaxed)
    }
}

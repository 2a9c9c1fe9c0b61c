//! Metrics: OpenTelemetry instruments, scraped as Prometheus text. Each component has its own
//! registry, so that several can live in one process, told apart by constant labels.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

/// Bucket bounds for durations in seconds, from a fast disk's sync to a slow target.
pub const SECONDS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// Every registry of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registries(Arc<Mutex<Vec<(Registry, SdkMeterProvider)>>>);

/// The metrics registry refused an exporter.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up metrics")]
pub struct MetricsError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Registries {
    /// A meter for one component; every series of it carries `labels`.
    ///
    /// # Errors
    /// When a label is no valid Prometheus label.
    pub fn meter(&self, labels: &[(&str, &str)]) -> Result<Meter, MetricsError> {
        let labels: HashMap<_, _> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let registry = Registry::new_custom(None, (!labels.is_empty()).then_some(labels))
            .map_err(|e| MetricsError(Box::new(e)))?;
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|e| MetricsError(Box::new(e)))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("zen");
        meter
            .u64_gauge("zen_build_info")
            .with_description("1, with the version of this build")
            .build()
            .record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        self.0.lock().push((registry, provider));
        Ok(meter)
    }

    /// Everything, as Prometheus text.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn scrape(&self) -> Result<String, MetricsError> {
        let mut families: Vec<MetricFamily> = Vec::new();
        for (registry, _) in self.0.lock().iter() {
            for mut family in registry.gather() {
                match families
                    .iter_mut()
                    .find(|known| known.name() == family.name())
                {
                    Some(known) => known.mut_metric().append(&mut family.take_metric()),
                    None => families.push(family),
                }
            }
        }
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new()
            .encode_to_string(&families)
            .map_err(|e| MetricsError(Box::new(e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_components_of_one_kind_share_a_family() {
        let registries = Registries::default();
        for plane in ["a", "b"] {
            let meter = registries.meter(&[("plane", plane)]).unwrap();
            meter.u64_counter("zen_test_things").build().add(3, &[]);
        }
        let text = registries.scrape().unwrap();
        assert_eq!(
            text.matches("# TYPE zen_test_things_total counter").count(),
            1,
            "{text}"
        );
        assert!(
            text.contains("zen_test_things_total{plane=\"b\"} 3"),
            "{text}"
        );
    }
}

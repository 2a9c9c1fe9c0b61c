//! Rows of figures, as a table or as one JSON object.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::machine::Machine;

/// One figure beside its limit.
#[derive(Clone, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) limit: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

impl Row {
    /// A rate with latencies taken in microseconds.
    pub(crate) fn rate(name: &str, ours: f64, unit: &'static str, took: &Histogram<u64>) -> Self {
        let ms = |quantile| took.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            name: name.to_owned(),
            ours,
            unit,
            p50_ms: Some(ms(0.5)),
            p99_ms: Some(ms(0.99)),
            ..Self::default()
        }
    }

    pub(crate) fn against(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// The middle one of several rounds.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn print(bench: &str, machine: &Machine, rows: &[Row], as_json: bool) {
    if as_json {
        let rows: Vec<Value> = rows.iter().map(json_row).collect();
        println!(
            "{}",
            json!({ "bench": bench, "machine": machine.json(), "rows": rows })
        );
        return;
    }
    println!(
        "  {:<28} {:>12} {:>12} {:>6}  {:<12} {:>8} {:>8}",
        "", "ours", "limit", "ratio", "unit", "p50 ms", "p99 ms"
    );
    for row in rows {
        let or = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let digits = if row.ours < 1_000.0 { 2 } else { 0 };
        println!(
            "  {:<28} {:>12.digits$} {:>12} {:>6}  {:<12} {:>8} {:>8}",
            row.name,
            row.ours,
            or(row.limit, digits),
            or(row.limit.map(|limit| row.ours / limit), 2),
            row.unit,
            or(row.p50_ms, 2),
            or(row.p99_ms, 2)
        );
    }
}

fn json_row(row: &Row) -> Value {
    let mut value = json!({ "name": row.name, "ours": row.ours, "unit": row.unit });
    if let Some(limit) = row.limit {
        value["limit"] = limit.into();
        value["ratio"] = (row.ours / limit).into();
    }
    if let Some(p50) = row.p50_ms {
        value["p50_ms"] = p50.into();
    }
    if let Some(p99) = row.p99_ms {
        value["p99_ms"] = p99.into();
    }
    value
}

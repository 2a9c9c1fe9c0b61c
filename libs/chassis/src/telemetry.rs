//! Logs and traces of the process: one subscriber, started before anything that can fail for
//! long. Log lines go to standard error, spans to an OTLP collector if one is named.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// What goes to the log, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A level or a filter such as `info,zen_egress=debug`.
    pub level: String,
    /// `auto` is text on a terminal and JSON elsewhere.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpSettings {
    /// OTLP/gRPC collector, `http://host:4317`; none means no traces.
    pub endpoint: Option<String>,
    /// Share of traces started here that are kept, 0 to 1; a caller's decision is followed.
    pub sample_ratio: f64,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample_ratio: 1.0,
        }
    }
}

/// Telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter does not parse.
    #[error("log.level {0:?} is not a level or filter")]
    Filter(String, #[source] ParseError),
    /// The collector's address is wrong.
    #[error("cannot send traces to {0:?}")]
    Exporter(String, #[source] opentelemetry_otlp::ExporterBuildError),
    /// A subscriber is in place already.
    #[error("logging is already set up in this process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub struct LogLevel(Option<reload::Handle<Targets, Registry>>);

impl LogLevel {
    /// A handle that changes nothing, for processes that log elsewhere.
    #[must_use]
    pub const fn fixed() -> Self {
        Self(None)
    }

    /// The filter in force.
    #[must_use]
    pub fn get(&self) -> String {
        let current = self
            .0
            .as_ref()
            .and_then(|handle| handle.with_current(ToString::to_string).ok());
        current.unwrap_or_default()
    }

    /// Puts another filter in force.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn set(&self, filter: &str) -> Result<(), TelemetryError> {
        let parsed = parse_filter(filter)?;
        if let Some(handle) = &self.0 {
            // Fails only when the subscriber is gone, at the end of the process.
            let _changed = handle.reload(parsed);
        }
        Ok(())
    }
}

/// Started telemetry; flush it before the process ends.
pub struct Telemetry {
    /// Changes what is logged.
    pub level: LogLevel,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Installs the subscriber of this process. Must run inside the tokio runtime.
    ///
    /// # Errors
    /// See [`TelemetryError`].
    pub fn start(
        component: &'static str,
        log: &LogSettings,
        otlp: &OtlpSettings,
    ) -> Result<Self, TelemetryError> {
        let (filter, handle) = reload::Layer::new(parse_filter(&log.level)?);
        let json = match log.format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !std::io::stderr().is_terminal(),
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = if json {
            lines
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .boxed()
        } else {
            lines.with_ansi(std::io::stderr().is_terminal()).boxed()
        };
        let traces = otlp
            .endpoint
            .as_deref()
            .map(|to| tracer(component, to, otlp))
            .transpose()?;
        let spans = traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("zen"))
                // The exporter's own transport must not trace itself.
                .with_filter(Targets::new().with_target("zen", LevelFilter::INFO))
        });
        Registry::default()
            .with(filter)
            .with(lines)
            .with(spans)
            .try_init()
            .map_err(TelemetryError::Twice)?;
        Ok(Self {
            level: LogLevel(Some(handle)),
            traces,
        })
    }

    /// Sends what is still queued, within 5 s.
    pub async fn flush(self) {
        if let Some(traces) = self.traces {
            let flush = move || traces.shutdown_with_timeout(Duration::from_secs(5));
            if let Ok(Err(error)) = tokio::task::spawn_blocking(flush).await {
                tracing::warn!(error = %error, "traces were not all sent");
            }
        }
    }
}

fn parse_filter(filter: &str) -> Result<Targets, TelemetryError> {
    filter
        .parse()
        .map_err(|e| TelemetryError::Filter(filter.to_owned(), e))
}

fn tracer(
    component: &'static str,
    endpoint: &str,
    settings: &OtlpSettings,
) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|e| TelemetryError::Exporter(endpoint.to_owned(), e))?;
    let keep = Sampler::TraceIdRatioBased(settings.sample_ratio.clamp(0.0, 1.0));
    Ok(SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(keep)))
        .with_resource(
            Resource::builder()
                .with_service_name(format!("zen-{component}"))
                .build(),
        )
        .with_batch_exporter(exporter)
        .build())
}

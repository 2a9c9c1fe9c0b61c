//! The admin listener, on its own port:
//! `/livez` the process turns · `/readyz` 503 with what is pending · `/metrics` Prometheus text ·
//! `/log-level` GET and PUT · `/debug/state` each component's own summary.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics::Registries;
use crate::ready::Readiness;
use crate::telemetry::LogLevel;

/// The admin listener's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Address; none switches the listener off. Default `0.0.0.0:9600`.
    pub listen: Option<SocketAddr>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 9600))),
        }
    }
}

/// Makes a component's summary for `/debug/state`; must hold no secret.
pub type StateView = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What the admin listener shows, of all components of the process. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    registries: Registries,
    level: LogLevel,
    shown: Arc<Mutex<Vec<Shown>>>,
}

struct Shown {
    name: String,
    ready: Readiness,
    views: Arc<Mutex<Vec<(&'static str, StateView)>>>,
}

const CONNECTIONS: usize = 64;

impl Admin {
    /// Nothing to show yet.
    #[must_use]
    pub fn new(registries: Registries, level: LogLevel) -> Self {
        Self {
            registries,
            level,
            shown: Arc::default(),
        }
    }

    /// The registries behind `/metrics`.
    #[must_use]
    pub const fn registries(&self) -> &Registries {
        &self.registries
    }

    /// Shows one more component; the answer takes its summaries.
    #[must_use]
    pub fn show(&self, name: &str, ready: Readiness) -> Views {
        let views = Views::default();
        let shown = Shown {
            name: name.to_owned(),
            ready,
            views: Arc::clone(&views.0),
        };
        self.shown.lock().push(shown);
        views
    }

    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).try_acquire_owned())
            else {
                continue;
            };
            let admin = self.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let admin = admin.clone();
                    async move { Ok::<_, Infallible>(admin.answer(request).await) }
                });
                // A broken admin connection concerns only its caller.
                let _ended = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(place);
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method().clone(), request.uri().path()) {
            (Method::GET, "/livez") => text(StatusCode::OK, "ok\n".to_owned()),
            (Method::GET, "/readyz") => self.readyz(),
            (Method::GET, "/metrics") => match self.registries.scrape() {
                Ok(families) => text(StatusCode::OK, families),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            (Method::GET, "/log-level") => text(StatusCode::OK, format!("{}\n", self.level.get())),
            (Method::PUT, "/log-level") => self.set_level(request).await,
            (Method::GET, "/debug/state") => self.state(),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /livez /readyz /metrics /log-level /debug/state\n".to_owned(),
            ),
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        let shown = self.shown.lock();
        let several = shown.len() > 1;
        let mut lines = String::new();
        for component in shown.iter() {
            for (name, reason) in component.ready.pending() {
                if several {
                    lines.push_str(&component.name);
                    lines.push_str(": ");
                }
                lines.push_str(&format!("{name}: {reason}\n"));
            }
        }
        if lines.is_empty() {
            text(StatusCode::OK, "ready\n".to_owned())
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    }

    async fn set_level(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let body = match Limited::new(request.into_body(), 1024).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return text(StatusCode::BAD_REQUEST, "cannot read the body\n".to_owned()),
        };
        match self.level.set(String::from_utf8_lossy(&body).trim()) {
            Ok(()) => text(StatusCode::OK, format!("{}\n", self.level.get())),
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }

    fn state(&self) -> Response<Full<Bytes>> {
        let mut all = serde_json::Map::new();
        for component in self.shown.lock().iter() {
            let views = component.views.lock();
            let summary = views
                .iter()
                .map(|(name, view)| ((*name).to_owned(), view()))
                .collect();
            all.insert(component.name.clone(), serde_json::Value::Object(summary));
        }
        let mut response = text(StatusCode::OK, serde_json::Value::Object(all).to_string());
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// Takes one component's summaries for `/debug/state`. Cheap to clone.
#[derive(Clone, Default)]
pub struct Views(Arc<Mutex<Vec<(&'static str, StateView)>>>);

impl Views {
    /// Adds a summary under `name`.
    pub fn add(
        &self,
        name: &'static str,
        view: impl Fn() -> serde_json::Value + Send + Sync + 'static,
    ) {
        self.0.lock().push((name, Arc::new(view)));
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

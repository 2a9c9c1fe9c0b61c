//! A private service at the far end: it remembers every request and behaves as told.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One event as the service saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How often it came.
    pub times: u32,
    /// The `Idempotency-Key`s it came with.
    pub keys: Vec<String>,
    /// When it first came.
    pub first: Instant,
    /// Headers of the first time.
    pub headers: HeaderMap,
    /// Body of the first time.
    pub body: Bytes,
}

/// What came, by event id (`x-zen-event-id`).
pub type Received = HashMap<String, Seen>;

/// A running service.
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    /// What came and was answered with 2xx.
    pub received: watch::Receiver<Received>,
    /// Requests answered, whatever the status.
    pub requests: Arc<AtomicU64>,
    status: Arc<AtomicU16>,
    _tasks: JoinSet<()>,
}

impl Service {
    /// Starts on a free loopback port, answering 204.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts on a free port of this address, answering 204.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_at(host: IpAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let address = listener.local_addr()?;
        let (record, received) = watch::channel(Received::new());
        let status = Arc::new(AtomicU16::new(204));
        let requests = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let shared = Shared {
            record,
            status: Arc::clone(&status),
            requests: Arc::clone(&requests),
        };
        tasks.spawn(serve(listener, shared));
        Ok(Self {
            address,
            received,
            requests,
            status,
            _tasks: tasks,
        })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Shared {
    record: watch::Sender<Received>,
    status: Arc<AtomicU16>,
    requests: Arc<AtomicU64>,
}

async fn serve(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let _nodelay = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(take(request, &shared).await) }
            });
            // A killed sender breaks its connection; that is what the tests are for.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn take(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let now = Instant::now();
    let (head, body) = request.into_parts();
    let mut response = Response::new(Full::default());
    let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let status = StatusCode::from_u16(shared.status.load(Ordering::SeqCst));
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if response.status().is_success() {
        let text = |name: &str| {
            head.headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let (event, key) = (text("x-zen-event-id"), text("idempotency-key"));
        shared.record.send_modify(|all| {
            let seen = all.entry(event).or_insert_with(|| Seen {
                times: 0,
                keys: Vec::new(),
                first: now,
                headers: head.headers.clone(),
                body,
            });
            seen.times += 1;
            if !seen.keys.contains(&key) {
                seen.keys.push(key);
            }
        });
    }
    response
}

//! A private service that notes every request and answers as a test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) delay: Duration,
}

pub(crate) fn status(status: u16) -> Reply {
    Reply {
        status,
        ..Reply::default()
    }
}

/// The running service.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    seen: watch::Receiver<Vec<Seen>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Target {
    /// Serves; `answer` gets the request and its number, from 1.
    pub(crate) async fn serve(
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve_over(None, answer).await
    }

    /// The same over TLS, if there is a configuration for it.
    pub(crate) async fn serve_over(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let port = listener.local_addr().unwrap().port();
        let url = format!("{scheme}://localhost:{port}/in");
        let (seen_in, seen) = watch::channel(Vec::new());
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let desk = Arc::new(Desk {
            seen: seen_in,
            answer: Box::new(answer),
        });
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                opened.fetch_add(1, Ordering::SeqCst);
                let (desk, tls) = (desk.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, desk).await,
                        Some(tls) => {
                            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                            if let Ok(stream) = acceptor.accept(stream).await {
                                talk(stream, desk).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            url,
            seen,
            connections,
        }
    }

    /// Everything seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// How many requests came for each delivery.
    pub(crate) fn by_delivery(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for seen in self.seen.borrow().iter() {
            *all.entry(seen.header("idempotency-key").to_owned())
                .or_default() += 1;
        }
        all
    }

    /// Waits until so many requests have come.
    pub(crate) async fn wait(&self, requests: usize) -> Vec<Seen> {
        self.wait_until(&format!("{requests} requests"), |seen| {
            seen.len() >= requests
        })
        .await
    }

    pub(crate) async fn wait_until(
        &self,
        what: &str,
        wanted: impl Fn(&[Seen]) -> bool,
    ) -> Vec<Seen> {
        let mut seen = self.seen.clone();
        let reached = seen.wait_for(|seen| wanted(seen));
        match tokio::time::timeout(Duration::from_secs(40), reached).await {
            Ok(seen) => seen.unwrap().clone(),
            Err(_) => panic!(
                "not seen in time: {what}; {} requests came",
                self.seen().len()
            ),
        }
    }
}

type Answer = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

struct Desk {
    seen: watch::Sender<Vec<Seen>>,
    answer: Box<Answer>,
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, desk: Arc<Desk>) {
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { desk.handle(request).await }
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // A client that goes away is not this service's trouble.
    let _ended = server.serve_connection(TokioIo::new(stream), service).await;
}

impl Desk {
    async fn handle(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let seen = Seen {
            method: head.method,
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
            at: Instant::now(),
        };
        let mut reply = Reply::default();
        self.seen.send_modify(|all| {
            reply = (self.answer)(&seen, all.len() + 1);
            all.push(seen);
        });
        tokio::time::sleep(reply.delay).await;
        let mut response = Response::builder().status(reply.status);
        for (name, value) in reply.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::new(Bytes::from("thanks"))).unwrap())
    }
}

//! The demo's private service: it checks each delivery's signature and remembers what it got.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zen_chassis::net;

/// Event ids with the number of times each came, in a signed request.
pub(crate) type Received = HashMap<String, u32>;

/// A running sample service.
pub(crate) struct Service {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What came, newest state.
    pub(crate) received: watch::Receiver<Received>,
}

impl Service {
    /// Binds on loopback and serves until `stop`. `key` is the signing key's bytes.
    pub(crate) async fn start(key: Vec<u8>, stop: CancellationToken) -> anyhow::Result<Self> {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let (listener, address) = net::bind_tcp("the demo's service", loopback).await?;
        let (received_in, received) = watch::channel(Received::new());
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
        // Owned by `stop`.
        drop(tokio::spawn(serve(
            listener,
            Arc::new(key),
            received_in,
            stop,
        )));
        Ok(Self { address, received })
    }
}

async fn serve(
    listener: TcpListener,
    key: Arc<aws_lc_rs::hmac::Key>,
    received: watch::Sender<Received>,
    stop: CancellationToken,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let (key, received) = (Arc::clone(&key), received.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (key, received) = (Arc::clone(&key), received.clone());
                async move { Ok::<_, Infallible>(take(request, &key, &received).await) }
            });
            // A broken connection is the sender's to repeat.
            let _ended = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    key: &aws_lc_rs::hmac::Key,
    received: &watch::Sender<Received>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let text = |name: &str| {
        head.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    };
    let event = text("x-zen-event-id").to_owned();
    let Ok(body) = Limited::new(body, 1024 * 1024)
        .collect()
        .await
        .map(|b| b.to_bytes())
    else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let mut signed = format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(&body);
    let valid = text("webhook-signature").split(' ').any(|one| {
        one.strip_prefix("v1,")
            .and_then(|mac| STANDARD.decode(mac).ok())
            .is_some_and(|mac| aws_lc_rs::hmac::verify(key, &signed, &mac).is_ok())
    });
    if !valid {
        return answer(StatusCode::UNAUTHORIZED);
    }
    received.send_modify(|all| *all.entry(event).or_default() += 1);
    answer(StatusCode::NO_CONTENT)
}

fn answer(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

//! The door: connections from sources, bounded in number and in time, HTTP/1.1 and HTTP/2, with or without TLS.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use zen_chassis::Stage;
use zen_proto::limits;

use super::Intake;

/// HTTP/2 requests of one connection at the same time.
const STREAMS: u32 = 256;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// Pause after the system refused to accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of the door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Time for a TLS handshake and for a block of headers.
    pub(crate) header_timeout: Duration,
    /// Time that requests under way have after shutdown.
    pub(crate) drain: Duration,
}

/// A bound listener and what stands behind it.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) bounds: Bounds,
    pub(crate) intake: Arc<Intake>,
}

impl Door {
    /// Serves until shutdown, then until requests under way are done or their time is over.
    pub(crate) async fn serve(self, stage: &Stage) {
        let Self {
            listener,
            tls,
            bounds,
            intake,
        } = self;
        let most = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
        let places = Arc::new(Semaphore::new(bounds.connections));
        let guest = Guest {
            tls,
            intake,
            stage: stage.clone(),
            timeout: bounds.header_timeout,
        };
        loop {
            let taken = tokio::select! {
                () = stage.shutdown.cancelled() => break,
                taken = next(&places, &listener) => taken,
            };
            match taken {
                Ok((stream, address, place)) => {
                    let served = guest.clone().serve(stream, address);
                    stage.tasks.spawn_side("connection", async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let all_gone = places.acquire_many(most);
        if tokio::time::timeout(bounds.drain, all_gone).await.is_err() {
            tracing::warn!("requests were cut short by the end of the drain");
        }
    }
}

/// The next connection, once there is a place for it.
async fn next(
    places: &Arc<Semaphore>,
    listener: &TcpListener,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address, place))
}

/// What one connection needs.
#[derive(Clone)]
struct Guest {
    tls: Option<TlsAcceptor>,
    intake: Arc<Intake>,
    stage: Stage,
    timeout: Duration,
}

impl Guest {
    async fn serve(self, stream: TcpStream, address: SocketAddr) {
        let Some(tls) = self.tls.clone() else {
            return self.speak(stream, address.ip()).await;
        };
        let shaken = tokio::select! {
            () = self.stage.shutdown.cancelled() => return,
            shaken = tokio::time::timeout(self.timeout, tls.accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream, address.ip()).await,
            Ok(Err(error)) => tracing::debug!(source = %address, %error, "handshake failed"),
            Err(_) => tracing::debug!(source = %address, "handshake took too long"),
        }
    }

    async fn speak<S>(self, stream: S, source: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let (asked, intake) = (Arc::clone(&asked), Arc::clone(&self.intake));
            service_fn(move |request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                let intake = Arc::clone(&intake);
                async move { Ok::<_, Infallible>(intake.answer(request, source).await) }
            })
        };
        let http = builder(self.timeout);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let first = tokio::time::sleep(self.timeout);
        let mut first = std::pin::pin!(first);
        let mut waiting = true;
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%source, %error, "connection broke");
                    }
                    return;
                }
                // hyper bounds the time for headers only once it knows which HTTP is spoken.
                () = first.as_mut(), if waiting => {
                    waiting = false;
                    if !asked.load(Ordering::Relaxed) {
                        tracing::debug!(%source, "connection asked for nothing");
                        return;
                    }
                }
                () = self.stage.shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(limits::HEADER_BLOCK)
        // A source may close its half after its request and still wait for the answer.
        .half_close(true);
    let header_block = u32::try_from(limits::HEADER_BLOCK).unwrap_or(u32::MAX);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(header_block)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    http
}

//! The one accept loop under every server: TLS handshakes beside each other, bounded in time and
//! number, and the peer's id handed on with the connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::stream::{self, Stream};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::certificate;
use crate::dial::tls_failure_code;
use crate::spiffe::SpiffeId;
use crate::verify::claimed_id;

/// Pause after the operating system refuses to accept (no file descriptors left, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Code of a handshake that took too long.
const TIMED_OUT: &str = "HANDSHAKE_TIMEOUT";
/// Code of a handshake that had to make room for newer ones.
const CROWDED_OUT: &str = "HANDSHAKE_CROWDED_OUT";

/// Told the code of each refused handshake; must not block.
pub type RefusedHook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// The bounds of an accept loop.
#[derive(Clone)]
pub struct AcceptOptions {
    /// Time for one handshake.
    pub handshake_timeout: Duration,
    /// Handshakes at the same time; beyond them the oldest makes room.
    pub max_handshakes: usize,
    /// Connections at the same time, handshakes included; beyond them nobody is accepted.
    pub max_connections: usize,
    /// Told the code of each refused handshake, to be counted.
    pub on_refused: Option<RefusedHook>,
}

impl Default for AcceptOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 256,
            max_connections: 10_000,
            on_refused: None,
        }
    }
}

/// Who is at the other end of an accepted connection. In the extensions of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its verified id; nothing if it showed no certificate and need not.
    pub id: Option<SpiffeId>,
    /// Where it comes from.
    pub address: SocketAddr,
    /// When its leaf ends.
    pub not_after: Option<SystemTime>,
    /// What it showed, leaf first.
    pub chain: Arc<[CertificateDer<'static>]>,
}

/// An accepted connection past its handshake.
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

impl TlsConnection {
    /// Who is at the other end.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// Accepts connections of the listener for as long as the stream is polled; dropping the stream
/// ends the handshakes under way. A slow or bad client never holds up another: it is logged,
/// counted and forgotten. The stream does not end and yields no errors.
pub fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    options: AcceptOptions,
) -> impl Stream<Item = io::Result<TlsConnection>> + Send + Unpin {
    let state = Accepting {
        places: Arc::new(Semaphore::new(options.max_connections)),
        listener,
        acceptor: TlsAcceptor::from(config),
        handshakes: JoinSet::new(),
        oldest_first: VecDeque::new(),
        options,
    };
    Box::pin(stream::unfold(state, |mut state| async move {
        let connection = state.next().await;
        Some((Ok(connection), state))
    }))
}

struct Accepting {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    options: AcceptOptions,
    places: Arc<Semaphore>,
    handshakes: JoinSet<Result<TlsConnection, Refusal>>,
    oldest_first: VecDeque<AbortHandle>,
}

/// A handshake that came to nothing.
struct Refusal {
    address: SocketAddr,
    code: &'static str,
    error: Option<io::Error>,
}

impl Accepting {
    /// The next connection whose handshake is done.
    async fn next(&mut self) -> TlsConnection {
        loop {
            tokio::select! {
                Some(outcome) = self.handshakes.join_next() => {
                    if let Some(connection) = self.settle(outcome) {
                        return connection;
                    }
                }
                accepted = tcp(&self.listener, &self.places) => match accepted {
                    Ok((socket, address, place)) => self.begin(socket, address, place),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Starts a handshake in a task of its own, making room for it if need be.
    fn begin(&mut self, socket: TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) {
        self.oldest_first
            .retain(|handshake| !handshake.is_finished());
        while self.oldest_first.len() >= self.options.max_handshakes.max(1) {
            // Honest handshakes take milliseconds: whoever is oldest is the likeliest to be idle.
            if let Some(oldest) = self.oldest_first.pop_front() {
                oldest.abort();
            }
        }
        let acceptor = self.acceptor.clone();
        let limit = self.options.handshake_timeout;
        let handshake = self.handshakes.spawn(async move {
            let outcome = tokio::time::timeout(limit, handshake(acceptor, socket, address, place));
            outcome.await.unwrap_or(Err(Refusal {
                address,
                code: TIMED_OUT,
                error: None,
            }))
        });
        self.oldest_first.push_back(handshake);
    }

    /// Sorts out the end of a handshake.
    fn settle(
        &self,
        outcome: Result<Result<TlsConnection, Refusal>, JoinError>,
    ) -> Option<TlsConnection> {
        let code = match outcome {
            Ok(Ok(connection)) => return Some(connection),
            Ok(Err(Refusal {
                address,
                code,
                error,
            })) => {
                let reason = error.as_ref().map(tracing::field::display);
                tracing::debug!(%address, code, reason, "handshake refused");
                code
            }
            Err(error) if error.is_cancelled() => {
                tracing::debug!(code = CROWDED_OUT, "handshake refused");
                CROWDED_OUT
            }
            Err(error) => {
                tracing::error!(%error, "handshake task failed");
                "INTERNAL"
            }
        };
        if let Some(hook) = &self.options.on_refused {
            hook(code);
        }
        None
    }
}

/// Waits for a free place, then for a client.
async fn tcp(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (socket, address) = listener.accept().await?;
    Ok((socket, address, place))
}

async fn handshake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
) -> Result<TlsConnection, Refusal> {
    let refusal = |error: io::Error| Refusal {
        address,
        code: tls_failure_code(&error),
        error: Some(error),
    };
    socket.set_nodelay(true).map_err(refusal)?;
    let stream = acceptor.accept(socket).await.map_err(refusal)?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain: Arc<[_]> = shown.iter().map(|der| der.clone().into_owned()).collect();
    let peer = peer_of(address, chain).map_err(|error| refusal(io::Error::other(error)))?;
    Ok(TlsConnection {
        stream,
        peer,
        _place: place,
    })
}

/// Reads the peer out of a chain that the handshake has verified.
fn peer_of(
    address: SocketAddr,
    chain: Arc<[CertificateDer<'static>]>,
) -> Result<Peer, crate::verify::VerifyError> {
    let Some(leaf) = chain.first() else {
        return Ok(Peer {
            id: None,
            address,
            not_after: None,
            chain,
        });
    };
    let (id, not_after) = (claimed_id(&chain)?, certificate::not_after(leaf)?);
    Ok(Peer {
        id: Some(id),
        address,
        not_after: Some(not_after),
        chain,
    })
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

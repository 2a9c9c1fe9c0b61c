//! Keeps strangers from holding up the plane's own components: connections without a certificate
//! are few and short, and the oldest makes room for the next.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use zen_chassis::CancellationToken;
use zen_identity::{Peer, TlsConnection};

/// Connections without a certificate at once; beyond them the oldest makes room.
const MOST: usize = 64;
/// How long one may last: time for one certificate, its review included.
const LONGEST: Duration = Duration::from_secs(30);

/// The connections, those of strangers bounded in number and time.
pub(crate) fn bounded(
    connections: impl Stream<Item = io::Result<TlsConnection>> + Send,
) -> impl Stream<Item = io::Result<Guest>> + Send {
    let mut strangers = Strangers::default();
    connections.map(move |connection| {
        let stream = connection?;
        let end = stream.peer().id.is_none().then(|| strangers.enter());
        Ok(Guest { stream, end })
    })
}

/// Those that are open, oldest first.
#[derive(Default)]
struct Strangers(VecDeque<CancellationToken>);

impl Strangers {
    /// A place for one more.
    fn enter(&mut self) -> End {
        self.0.retain(|place| !place.is_cancelled());
        if self.0.len() >= MOST
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.cancel();
        }
        let place = CancellationToken::new();
        self.0.push_back(place.clone());
        let left = place.clone().cancelled_owned();
        let passed = async move {
            // Either is the end.
            let _either = tokio::time::timeout(LONGEST, left).await;
        };
        End {
            place,
            passed: passed.boxed(),
        }
    }
}

/// When a connection must end.
struct End {
    place: CancellationToken,
    passed: BoxFuture<'static, ()>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.place.cancel();
    }
}

/// Somebody's connection.
pub(crate) struct Guest {
    stream: TlsConnection,
    /// Of a stranger's.
    end: Option<End>,
}

impl Guest {
    /// The stream, unless its time is over.
    fn in_time(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> io::Result<Pin<&mut TlsConnection>> {
        let this = self.get_mut();
        if let Some(end) = &mut this.end
            && end.passed.poll_unpin(context).is_ready()
        {
            // A future that is done must not be asked again.
            end.passed = std::future::ready(()).boxed();
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Pin::new(&mut this.stream))
    }
}

impl Connected for Guest {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.stream.connect_info()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_shutdown(context)
    }
}

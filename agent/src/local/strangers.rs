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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use zen_chassis::Clock;
    use zen_identity::{
        AcceptOptions, ClientAuth, Expect, LiveIdentity, PlaneCa, PrivateKey, RootCa, Trust,
        accept, server_auth_only_client_config,
    };
    use zen_proto::component::Component;
    use zen_proto::ids::{Id as _, PlaneId, TenantId};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// A server that echoes, and a client without and one with a certificate.
    async fn echo() -> (std::net::SocketAddr, TlsConnector, TlsConnector) {
        let (clock, domain) = (Clock::system(), "zen.test".parse().unwrap());
        let root = RootCa::generate(domain, clock.now(), DAY).unwrap();
        let (tenant, plane) = (
            TenantId::generate(1, [1; 10]),
            PlaneId::generate(1, [2; 10]),
        );
        let ca_key = PrivateKey::generate().unwrap();
        let csr = ca_key.csr("plane").unwrap();
        let chain = root.sign_plane_ca(&csr, tenant, plane, clock.now(), DAY);
        let domain = root.trust_domain().clone();
        let ca = PlaneCa::new(ca_key, chain.unwrap(), domain.clone()).unwrap();
        let trust = Trust::new(domain, &root.cert_pem(), []).unwrap();
        let holder = |component| {
            let key = PrivateKey::generate().unwrap();
            let csr = key.csr("leaf").unwrap();
            let leaf = ca.sign_leaf(&csr, component, clock.now(), DAY).unwrap();
            let live = LiveIdentity::new(clock.time_provider());
            live.set_trust(trust.clone());
            live.set_leaf(leaf, &key).unwrap();
            live
        };
        let agent = Expect::component(tenant, plane, Component::Agent);
        let own = Expect::any_of_plane(tenant, plane);
        let server = holder(Component::Agent);
        let tls = server.server_config(own, ClientAuth::Optional).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut guests =
                std::pin::pin!(bounded(accept(listener, tls, AcceptOptions::default())));
            while let Some(Ok(guest)) = guests.next().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(guest);
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let stranger =
            server_auth_only_client_config(trust.clone(), agent.clone(), clock.time_provider());
        let known = holder(Component::Egress).client_config(agent);
        (address, stranger.into(), known.into())
    }

    async fn dial(address: std::net::SocketAddr, tls: &TlsConnector) -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(address).await.unwrap();
        let mut stream = tls.connect(address.ip().into(), socket).await.unwrap();
        assert!(echoes(&mut stream).await);
        stream
    }

    async fn echoes(stream: &mut TlsStream<TcpStream>) -> bool {
        let mut back = [0; 5];
        stream.write_all(b"hello").await.is_ok() && stream.read_exact(&mut back).await.is_ok()
    }

    #[tokio::test]
    async fn of_many_strangers_the_oldest_make_room_and_nobody_else() {
        let (address, stranger, known) = echo().await;
        let mut own = dial(address, &known).await;
        let mut strangers = Vec::new();
        for _ in 0..MOST + 3 {
            strangers.push(dial(address, &stranger).await);
        }
        for (place, stream) in strangers.iter_mut().enumerate() {
            assert_eq!(echoes(stream).await, place >= 3, "{place}");
        }
        assert!(echoes(&mut own).await);
    }

    #[tokio::test]
    async fn a_stranger_who_stays_too_long_is_shown_the_door() {
        let (address, stranger, known) = echo().await;
        let (mut own, mut other) = (dial(address, &known).await, dial(address, &stranger).await);
        tokio::time::pause();
        let mut byte = [0];
        assert!(other.read_exact(&mut byte).await.is_err());
        tokio::time::resume();
        assert!(echoes(&mut own).await);
    }
}

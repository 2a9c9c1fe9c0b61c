//! Connections to one target: resolve → check every address → pin → connect, under a pool that
//! keeps connections alive, with TLS where the URL asks for it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use zen_chassis::Clock;

use crate::guard::{Guard, RefusedAddress};

/// Time for one address to take a connection, so that a dead one leaves time for the next.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of a name that are looked at.
const ADDRESSES: usize = 16;
/// How long a connection is kept without use.
const IDLE: Duration = Duration::from_secs(55);

/// The pooled client of one target.
pub(crate) type TargetClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The URL has no host.
    #[error("the URL names no host")]
    NoHost,
    /// The name leads nowhere.
    #[error("the name cannot be resolved")]
    Resolve(#[source] io::Error),
    /// An address that may not be called is among those of the name.
    #[error("the address is refused")]
    Refused(#[source] RefusedAddress),
    /// None of the addresses took a connection.
    #[error("no connection")]
    Connect(#[source] io::Error),
}

/// Why TLS towards targets cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The PEM text holds no usable certificate.
    #[error("it holds no certificate that can be used as a root")]
    NoRoots,
    /// rustls refuses the settings.
    #[error("TLS cannot be set up")]
    Rustls(#[from] rustls::Error),
}

/// A TLS configuration that trusts the certificates of the PEM text and no others.
///
/// # Errors
/// See [`TlsError`].
pub(crate) fn tls_config(roots_pem: &[u8], clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // A bundle of public roots may hold a few that are malformed; the others still count.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(roots_pem).flatten());
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(trusting(roots, clock)?)
}

/// A TLS configuration for targets without TLS: it trusts nobody.
///
/// # Errors
/// When rustls refuses the settings.
pub(crate) fn no_tls(clock: &Clock) -> Result<Arc<ClientConfig>, rustls::Error> {
    trusting(RootCertStore::empty(), clock)
}

fn trusting(roots: RootCertStore, clock: &Clock) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, clock.time_provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client for one target that keeps up to `idle` connections.
pub(crate) fn client(connector: Connector, tls: Arc<ClientConfig>, idle: usize) -> TargetClient {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(idle)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .build(HttpsConnector::from((connector, tls)))
}

/// Connects once, as a delivery would, TLS handshake included, and hangs up.
///
/// # Errors
/// A [`DialError`], or what TLS says.
pub(crate) async fn once(
    connector: Connector,
    tls: Arc<ClientConfig>,
    uri: Uri,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut connector = HttpsConnector::from((connector, tls));
    tower::Service::call(&mut connector, uri).await.map(drop)
}

/// Connects to what the guard lets pass, and to nothing else.
#[derive(Clone)]
pub(crate) struct Connector {
    /// What this egress allows.
    pub(crate) guard: Arc<Guard>,
    /// The networks that the target names.
    pub(crate) allowed: Arc<[IpNet]>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, DialError> {
        let addresses = resolve(&uri).await?;
        for address in &addresses {
            self.guard
                .check(address.ip(), &self.allowed)
                .map_err(DialError::Refused)?;
        }
        // From here on only the checked addresses are used; the name is not asked again.
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).map_err(DialError::Connect)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(DialError::Connect(last))
    }
}

/// The addresses behind a URL; an address in place of a name is taken as it is.
async fn resolve(uri: &Uri) -> Result<Vec<SocketAddr>, DialError> {
    let host = uri.host().ok_or(DialError::NoHost)?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found: Vec<_> = lookup_host((host, port))
        .await
        .map_err(DialError::Resolve)?
        .take(ADDRESSES)
        .collect();
    if found.is_empty() {
        return Err(DialError::Resolve(io::ErrorKind::NotFound.into()));
    }
    Ok(found)
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Class;

    fn connector(allow_private: bool) -> Connector {
        let guard = Arc::new(Guard {
            allow_private,
            denied: Vec::new(),
        });
        Connector {
            guard,
            allowed: Arc::new([]),
        }
    }

    #[tokio::test]
    async fn names_and_literals_meet_the_same_guard() {
        for url in [
            "http://localhost:1/",
            "http://127.0.0.1:1/",
            "http://[::1]:1/",
            "http://[::ffff:127.0.0.1]:1/",
            "https://127.0.0.1:1/",
            "http://2130706433:1/",
        ] {
            let outcome = connector(false)
                .connect(url.parse().unwrap())
                .await
                .map(|_| ());
            let refused = match outcome {
                Err(DialError::Refused(refused)) => refused,
                // A resolver that does not know numbers as names refuses in its own way.
                Err(DialError::Resolve(_)) if url.contains("2130706433") => continue,
                other => panic!("{url}: {other:?}"),
            };
            assert_eq!(refused.class, Class::Private, "{url}");
        }
    }

    #[tokio::test]
    async fn an_address_that_passes_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (connected, accepted) = tokio::join!(
            connector(true).connect(url.parse().unwrap()),
            listener.accept()
        );
        assert!(connected.is_ok());
        accepted.unwrap();
    }
}

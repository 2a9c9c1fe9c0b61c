//! Dialling a peer by its SPIFFE id, and telling afterwards why it did not work.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::verify::VerifyError;

mod proxy;

pub use proxy::{ConnectError, Proxy, ProxyError};

/// How long a fresh connection waits for the server's first frame before it is used unheard.
const FIRST_FRAME: Duration = Duration::from_secs(3);
/// How long an HTTP/2 ping may stay without an answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The bounds of a dialled connection.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// Time for name resolution, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// Pause between HTTP/2 pings, also on an idle connection; a ping unanswered for 10 s ends it.
    pub keepalive: Duration,
    /// The proxy to go through; default none.
    pub proxy: Option<Proxy>,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(20),
            proxy: None,
        }
    }
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is not `host:port`.
    #[error("{0:?} is not an address of the form host:port")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The proxy does not lead there.
    #[error("no way to {address} through the proxy {proxy}")]
    Proxy {
        /// Where to.
        address: String,
        /// Which proxy.
        proxy: Proxy,
        /// What it did.
        #[source]
        source: ConnectError,
    },
    /// It took too long.
    #[error("no connection to {address} within {limit:?}")]
    Timeout {
        /// Where.
        address: String,
        /// The bound.
        limit: Duration,
    },
    /// Somebody answered, and the handshake failed.
    #[error("the TLS handshake with {address} failed")]
    Tls {
        /// With whom.
        address: String,
        /// What rustls said.
        #[source]
        source: io::Error,
    },
}

/// Why a call or connection failed, as far as its user can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody answered: wrong address, closed way, or not running.
    Unreachable,
    /// Who answered is not who was expected; the code says why.
    Untrusted(&'static str),
    /// The peer's certificate is over or has not begun: one of the clocks is wrong.
    ClockSkew,
    /// The peer refused our certificate.
    RefusedByPeer,
    /// The connection was not what failed.
    Other,
}

/// A channel to the peer at `host:port`, connected when first used and again after each loss.
/// Of several addresses with commas between them, the first that can be connected to is taken; the
/// time to connect is shared among them.
///
/// The configuration judges who answers; the host only says where to dial. A failed call keeps
/// the reason among its sources: see [`dial_failure`].
#[must_use]
pub fn channel(address: &str, config: Arc<ClientConfig>, options: DialOptions) -> Channel {
    let places: Result<Vec<_>, _> = address
        .split(',')
        .map(|address| Place::parse(address.trim()))
        .collect();
    // TLS is the connector's part: a scheme of https would make tonic want to do it.
    let uri = places
        .as_ref()
        .ok()
        .and_then(|places| places.first())
        .and_then(|place| format!("http://{}", place.authority).parse().ok());
    let endpoint = Endpoint::from(uri.unwrap_or_else(|| Uri::from_static("http://invalid")))
        .http2_keep_alive_interval(options.keepalive)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let places = places.map(Arc::new).map_err(|DialAddress(text)| text);
    let way = Arc::new(options);
    endpoint.connect_with_connector_lazy(service_fn(move |_uri: Uri| {
        let (places, connector) = (places.clone(), TlsConnector::from(config.clone()));
        let way = Arc::clone(&way);
        async move {
            let places = places.map_err(DialError::Address)?;
            connect_any(&places, &connector, &way)
                .await
                .map(TokioIo::new)
        }
    }))
}

/// Where to dial.
struct Place {
    authority: Authority,
    port: u16,
    name: ServerName<'static>,
}

struct DialAddress(String);

impl Place {
    fn parse(address: &str) -> Result<Self, DialAddress> {
        let refuse = || DialAddress(address.chars().take(300).collect());
        let authority: Authority = address.parse().map_err(|_| refuse())?;
        let port = authority
            .port_u16()
            .filter(|port| *port != 0)
            .ok_or_else(refuse)?;
        if address.contains('@') {
            return Err(refuse());
        }
        let name = ServerName::try_from(bare(authority.host()).to_owned()).map_err(|_| refuse())?;
        Ok(Self {
            authority,
            port,
            name,
        })
    }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Connects to the first place that lets it; the failure told is the last one's.
async fn connect_any(
    places: &[Place],
    connector: &TlsConnector,
    way: &DialOptions,
) -> Result<TlsStream<TcpStream>, DialError> {
    let share = way.connect_timeout / u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
    let mut failed = DialError::Address(String::new());
    for place in places {
        match connect(place, connector, way.proxy.as_ref(), share).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn connect(
    place: &Place,
    connector: &TlsConnector,
    proxy: Option<&Proxy>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, DialError> {
    let address = place.authority.to_string();
    let dial = async {
        let socket = socket(place, proxy).await?;
        let failed = |source| DialError::Tls {
            address: address.clone(),
            source,
        };
        let mut stream = connector
            .connect(place.name.clone(), socket)
            .await
            .map_err(failed)?;
        heard(&mut stream).await.map_err(failed)?;
        Ok(stream)
    };
    let timed_out = || DialError::Timeout {
        address: address.clone(),
        limit,
    };
    tokio::time::timeout(limit, dial)
        .await
        .unwrap_or_else(|_elapsed| Err(timed_out()))
}

/// The connection below TLS.
async fn socket(place: &Place, proxy: Option<&Proxy>) -> Result<TcpStream, DialError> {
    let address = place.authority.to_string();
    if let Some(proxy) = proxy {
        return proxy
            .connect(&address)
            .await
            .map_err(|source| DialError::Proxy {
                address,
                proxy: proxy.clone(),
                source,
            });
    }
    let refused = |source| DialError::Connect {
        address: address.clone(),
        source,
    };
    let target = (bare(place.authority.host()), place.port);
    let socket = TcpStream::connect(target).await.map_err(refused)?;
    socket.set_nodelay(true).map_err(refused)?;
    Ok(socket)
}

/// Waits for the server's first bytes, without taking them.
///
/// In TLS 1.3 a server judges our certificate after our side of the handshake is done. Its refusal
/// would reach HTTP/2 as a mere lost connection; here it is still an error of TLS. Servers of
/// HTTP/2 speak first, so nothing is lost by listening.
async fn heard(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    match tokio::time::timeout(FIRST_FRAME, stream.fill_buf()).await {
        Ok(Ok([])) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) | Err(_) => Ok(()),
        Ok(Err(error)) => Err(error),
    }
}

/// Finds among the error's sources why the connection failed.
#[must_use]
pub fn dial_failure(error: &(dyn Error + 'static)) -> DialFailure {
    let mut next = Some(error);
    let mut failure = DialFailure::Other;
    // A chain of sources is short; one that is not is a loop.
    for _ in 0..32 {
        let Some(error) = next else { break };
        if let Some(tls) = rustls_error(error) {
            return tls_failure(tls);
        }
        if let Some(
            DialError::Connect { .. }
            | DialError::Proxy { .. }
            | DialError::Timeout { .. }
            | DialError::Address(_),
        ) = error.downcast_ref()
        {
            return DialFailure::Unreachable;
        }
        if let Some(DialError::Tls { source, .. }) = error.downcast_ref() {
            // Without an error of TLS, the connection broke under the handshake.
            failure = DialFailure::Unreachable;
            next = Some(source);
            continue;
        }
        next = error.source();
    }
    failure
}

/// The rustls error that this is, or that an IO error carries inside (which is no source of it).
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
    error.downcast_ref().or_else(inner)
}

/// What the rule said, if it is the rule that refused.
fn verdict(error: &rustls::Error) -> Option<&VerifyError> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

fn tls_failure(error: &rustls::Error) -> DialFailure {
    match (verdict(error), error) {
        (Some(VerifyError::Expired { .. } | VerifyError::NotYetValid { .. }), _) => {
            DialFailure::ClockSkew
        }
        (Some(verdict), _) => DialFailure::Untrusted(verdict.code()),
        (None, rustls::Error::AlertReceived(_)) => DialFailure::RefusedByPeer,
        (None, rustls::Error::InvalidMessage(_)) => DialFailure::Untrusted("NOT_TLS"),
        (None, _) => DialFailure::Untrusted("TLS_FAILED"),
    }
}

/// The code of a handshake that failed on the server's side.
pub(crate) fn tls_failure_code(error: &io::Error) -> &'static str {
    match rustls_error(error) {
        Some(tls) => match (verdict(tls), tls) {
            (Some(verdict), _) => verdict.code(),
            (None, rustls::Error::NoCertificatesPresented) => "CERTIFICATE_MISSING",
            (None, rustls::Error::AlertReceived(_)) => "REFUSED_BY_PEER",
            (None, rustls::Error::InvalidMessage(_)) => "NOT_TLS",
            (None, _) => "TLS_FAILED",
        },
        None => "DISCONNECTED",
    }
}

#[cfg(test)]
#[path = "dial/tests.rs"]
mod tests;

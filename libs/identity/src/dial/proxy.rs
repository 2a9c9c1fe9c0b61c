//! The way through an HTTP proxy: CONNECT, and from then on the bytes are ours. TLS is spoken with
//! the far end, so that a proxy that looks into it is not believed.

use std::fmt;
use std::io;
use std::str::FromStr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Place, bare};

/// Longest head of a proxy's answer.
const HEAD: usize = 8 * 1024;

/// An HTTP proxy that leads connections on: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
}

/// The text names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a proxy is given as http://host:port, with no name or password, and nothing after the port"
)]
pub struct ProxyError;

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let rest = text.strip_prefix("http://").ok_or(ProxyError)?;
        // The text is not repeated: a password may be in it.
        let place = Place::parse(rest.strip_suffix('/').unwrap_or(rest)).map_err(|_| ProxyError)?;
        Ok(Self {
            host: bare(place.authority.host()).to_owned(),
            port: place.port,
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

/// Why a proxy does not lead on.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It cannot be reached, or the connection broke.
    #[error("the proxy cannot be reached")]
    Unreachable(#[source] io::Error),
    /// It answered, and not with a connection.
    #[error("the proxy answered {0:?}")]
    Refused(String),
    /// What answered is no HTTP proxy.
    #[error("what answers is no HTTP proxy")]
    NotHttp,
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl Proxy {
    /// Its host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A connection to `host:port` through the proxy. The caller sets the bound on time.
    ///
    /// # Errors
    /// [`ConnectError`], by what the proxy did.
    pub async fn connect(&self, to: &str) -> Result<TcpStream, ConnectError> {
        let mut socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        socket.set_nodelay(true)?;
        let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        socket.write_all(ask.as_bytes()).await?;
        let head = head(&mut socket).await?;
        let first = head.lines().next().unwrap_or_default();
        let (version, rest) = first.split_once(' ').ok_or(ConnectError::NotHttp)?;
        if !version.starts_with("HTTP/1.") {
            return Err(ConnectError::NotHttp);
        }
        if rest.starts_with('2') {
            Ok(socket)
        } else {
            let shown = rest.chars().filter(|c| !c.is_control()).take(100).collect();
            Err(ConnectError::Refused(shown))
        }
    }
}

/// The head of the answer. It is read byte by byte, for what follows is not ours to take.
async fn head(socket: &mut TcpStream) -> Result<String, ConnectError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD {
            return Err(ConnectError::NotHttp);
        }
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            // Something that speaks and hangs up is no proxy; something that only hangs up may be.
            Err(_) if !head.is_empty() => return Err(ConnectError::NotHttp),
            Err(error) => return Err(error.into()),
        }
    }
    String::from_utf8(head).map_err(|_| ConnectError::NotHttp)
}

//! Addresses, listeners and local channels. Everything is bound before anything starts, so that
//! a taken port fails at once and says which setting to change.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tonic::transport::{Channel, Endpoint};

/// Longest path a Unix socket can have, with its closing zero (`sun_path`, unix(7)).
const UNIX_PATH: usize = 107;

/// Where a neighbour is reached: `unix:/path` or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A Unix socket on this machine.
    Unix(PathBuf),
    /// `host:port`, spoken to in mutual TLS.
    Tcp(String),
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither unix:/absolute/path nor host:port")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return Path::new(path)
                .is_absolute()
                .then(|| Self::Unix(path.into()))
                .ok_or_else(refuse);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
            return Err(refuse());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// A listener could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; change the setting `{setting}` or free the address")]
pub struct BindError {
    /// The setting that named the address.
    pub setting: &'static str,
    /// The address.
    pub address: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Binds a TCP listener; port 0 takes a free one.
///
/// # Errors
/// Names the setting and the address.
pub async fn bind_tcp(
    setting: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let refuse = |source| BindError {
        setting,
        address: address.to_string(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    Ok((listener, bound))
}

/// Binds a Unix socket for its owner only. A socket file that nobody listens on (left by a killed
/// process) is replaced; one that answers is not.
///
/// # Errors
/// Names the setting and the path.
pub fn bind_unix(setting: &'static str, path: &Path) -> Result<UnixListener, BindError> {
    let refuse = |source| BindError {
        setting,
        address: path.display().to_string(),
        source,
    };
    if path.as_os_str().len() > UNIX_PATH {
        let text = format!("the path is longer than {UNIX_PATH} bytes");
        return Err(refuse(io::Error::new(io::ErrorKind::InvalidFilename, text)));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refuse)?;
    }
    if path.symlink_metadata().is_ok() {
        match UnixStream::connect(path) {
            Ok(_) => return Err(refuse(io::ErrorKind::AddrInUse.into())),
            Err(_) => std::fs::remove_file(path).map_err(refuse)?,
        }
    }
    let listener = UnixListener::bind(path).map_err(refuse)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(refuse)?;
    Ok(listener)
}

/// Where neighbours knock.
pub enum Listener {
    /// On this machine; the kernel says who they are.
    Unix(UnixListener),
    /// From anywhere; certificates say who they are.
    Tcp(TcpListener),
}

impl Listener {
    /// Binds either; the answer's address has the port that was taken.
    ///
    /// # Errors
    /// Names the setting and the address, also one that is a name where an IP address is needed.
    pub async fn bind(
        setting: &'static str,
        address: &Address,
    ) -> Result<(Self, Address), BindError> {
        match address {
            Address::Unix(path) => {
                bind_unix(setting, path).map(|listener| (Self::Unix(listener), address.clone()))
            }
            Address::Tcp(text) => {
                let parsed = text.parse().map_err(|_no_ip| BindError {
                    setting,
                    address: text.clone(),
                    source: io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "it is not unix:/path or an IP address with a port",
                    ),
                })?;
                let (listener, bound) = bind_tcp(setting, parsed).await?;
                Ok((Self::Tcp(listener), Address::Tcp(bound.to_string())))
            }
        }
    }
}

/// A gRPC channel to a Unix socket, connected when it is first used and again when it broke.
///
/// # Errors
/// When the path cannot be written as an address.
pub fn local_channel(path: &Path) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display()))?
        .connect_timeout(Duration::from_secs(2));
    Ok(endpoint.connect_lazy())
}

//! The way to the control plane, step by step: name, connection, proxy, TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::uri::Authority;
use tokio::net::TcpStream;
use zen_chassis::chain::Chain;
use zen_identity::Proxy;

use super::tls::{self, Tls};
use crate::doctor::plan::{Plan, ProxyOfEnvironment};

/// What was found on the way to one address.
pub(crate) enum Way {
    /// It is no address.
    Invalid(String),
    /// Each step, until one that did not lead on.
    Looked(Box<Looked>),
}

/// The steps.
pub(crate) struct Looked {
    /// The control plane's `host:port`.
    pub(crate) address: String,
    /// Where the first connection goes: the control plane, or the proxy that is set.
    pub(crate) first: String,
    pub(crate) dns: Result<Vec<SocketAddr>, String>,
    /// Nothing if there is no address.
    pub(crate) tcp: Option<Result<SocketAddr, TcpFailure>>,
    pub(crate) proxy: ProxyFound,
    /// Nothing if there is no connection.
    pub(crate) tls: Option<Tls>,
}

/// Why there is no connection.
pub(crate) enum TcpFailure {
    Refused,
    TimedOut(Duration),
    Other(String),
}

/// What is known of proxies.
pub(crate) enum ProxyFound {
    /// None is set anywhere.
    None,
    /// The agent is set up to use it; nothing if it is not reached.
    Set(Proxy, Option<Result<(), String>>),
    /// The environment names one, which was tried only if there is no direct way.
    Named {
        variable: String,
        proxy: String,
        tried: Option<Result<(), String>>,
    },
}

/// Goes the way to `address`.
pub(crate) async fn look(address: &str, plan: &Plan) -> Way {
    let Some((host, port)) = split(address) else {
        return Way::Invalid(address.to_owned());
    };
    let patience = plan.patience;
    let (near, near_port) = match &plan.proxy {
        Some(proxy) => (proxy.host().to_owned(), proxy.port()),
        None => (host.clone(), port),
    };
    let dns = resolve(&near, near_port, patience).await;
    let (tcp, direct) = match &dns {
        Ok(found) => connect(found, patience).await,
        Err(_) => (None, None),
    };
    let (proxy, socket) = match (&plan.proxy, &plan.environment) {
        (Some(proxy), _) => {
            let (told, socket) = match direct {
                Some(_) => through(proxy, address, patience).await,
                None => (None, None),
            };
            (ProxyFound::Set(proxy.clone(), told), socket)
        }
        (None, Some(named)) if named.is_for(&host) => {
            let (tried, tunnel) = match direct {
                Some(_) => (None, None),
                None => named_proxy(named, address, patience).await,
            };
            let found = ProxyFound::Named {
                variable: named.variable.clone(),
                proxy: shown(&named.value),
                tried,
            };
            (found, direct.or(tunnel))
        }
        (None, _) => (ProxyFound::None, direct),
    };
    let tls = match socket {
        Some(socket) => Some(tls::look(socket, &host, address, &plan.clock, patience).await),
        None => None,
    };
    let first = plan
        .proxy
        .as_ref()
        .map_or_else(|| address.to_owned(), ToString::to_string);
    Way::Looked(Box::new(Looked {
        address: address.to_owned(),
        first,
        dns,
        tcp,
        proxy,
        tls,
    }))
}

/// Host, without brackets, and port.
fn split(address: &str) -> Option<(String, u16)> {
    let authority: Authority = address.parse().ok().filter(|_| !address.contains('@'))?;
    let port = authority.port_u16().filter(|port| *port != 0)?;
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    (!bare.is_empty()).then(|| (bare.to_owned(), port))
}

async fn resolve(host: &str, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(patience, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => {
            let found: Vec<_> = found.collect();
            if found.is_empty() {
                return Err("it has no address".to_owned());
            }
            Ok(found)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

type Tcp = Option<Result<SocketAddr, TcpFailure>>;

async fn connect(to: &[SocketAddr], patience: Duration) -> (Tcp, Option<TcpStream>) {
    let dial = async {
        let socket = TcpStream::connect(to).await?;
        let peer = socket.peer_addr()?;
        Ok::<_, io::Error>((peer, socket))
    };
    match tokio::time::timeout(patience, dial).await {
        Ok(Ok((peer, socket))) => (Some(Ok(peer)), Some(socket)),
        Ok(Err(error)) => {
            let failure = match error.kind() {
                io::ErrorKind::ConnectionRefused => TcpFailure::Refused,
                io::ErrorKind::TimedOut => TcpFailure::TimedOut(patience),
                _ => TcpFailure::Other(error.to_string()),
            };
            (Some(Err(failure)), None)
        }
        Err(_) => (Some(Err(TcpFailure::TimedOut(patience))), None),
    }
}

type Told = Option<Result<(), String>>;

async fn through(proxy: &Proxy, to: &str, patience: Duration) -> (Told, Option<TcpStream>) {
    match tokio::time::timeout(patience, proxy.connect(to)).await {
        Ok(Ok(socket)) => (Some(Ok(())), Some(socket)),
        Ok(Err(error)) => (Some(Err(Chain(&error).to_string())), None),
        Err(_) => {
            let what = format!("the proxy did not answer within {patience:?}");
            (Some(Err(what)), None)
        }
    }
}

async fn named_proxy(
    named: &ProxyOfEnvironment,
    to: &str,
    patience: Duration,
) -> (Told, Option<TcpStream>) {
    match with_scheme(&named.value).parse::<Proxy>() {
        Ok(proxy) => through(&proxy, to, patience).await,
        Err(error) => (Some(Err(error.to_string())), None),
    }
}

/// Programs take `host:port` for a proxy too.
fn with_scheme(value: &str) -> String {
    if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    }
}

/// The proxy without a password that may stand in it.
fn shown(value: &str) -> String {
    let text = with_scheme(value.trim_end_matches('/'));
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port() {
        assert_eq!(split("[::1]:8443"), Some(("::1".to_owned(), 8443)));
        assert_eq!(split("cp:8443"), Some(("cp".to_owned(), 8443)));
        for wrong in ["cp", "cp:0", "u@cp:1", "https://cp:1", ":1", ""] {
            assert_eq!(split(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_password_in_a_proxys_address_is_not_shown() {
        assert_eq!(shown("http://u:pw@proxy:3128"), "http://proxy:3128");
        assert_eq!(shown("u:p@w@proxy:3128"), "http://proxy:3128");
        assert_eq!(shown("proxy:3128/"), "http://proxy:3128");
    }
}

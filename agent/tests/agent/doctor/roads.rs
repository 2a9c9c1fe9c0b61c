//! What lies between an agent and its control plane, for real: an HTTP proxy, a proxy that opens
//! TLS, a host that answers nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zen_chassis::Clock;
use zen_identity::{Expect, Trust, server_auth_only_client_config};

/// An HTTP proxy on a free port. It leads CONNECT to the names it knows, to the address that stands
/// for each, and answers 403 to all others.
pub(crate) async fn proxy(names: &[(&str, &str)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names: HashMap<String, String> = names
        .iter()
        .map(|(name, to)| ((*name).to_owned(), (*to).to_owned()))
        .collect();
    let names = Arc::new(names);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(lead(near, Arc::clone(&names)));
        }
    });
    address
}

async fn lead(mut near: TcpStream, names: Arc<HashMap<String, String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match near.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    assert_eq!(words.next(), Some("CONNECT"));
    let Some(to) = words.next().and_then(|name| names.get(name)) else {
        let _sent = near.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
        return;
    };
    let mut far = TcpStream::connect(to).await.unwrap();
    let _sent = near
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await;
    let _ended = copy_bidirectional(&mut near, &mut far).await;
}

/// A proxy that opens TLS: it shows a certificate of its own authority, and speaks TLS with the
/// server behind it, which it believes by the server's own roots.
pub(crate) async fn interceptor(behind: &str, roots: Trust) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(forged()));
    let time = Clock::system().time_provider();
    let config = server_auth_only_client_config(roots, Expect::control_plane(), time);
    let (connector, behind) = (TlsConnector::from(config), behind.to_owned());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (acceptor, connector, behind) =
                (acceptor.clone(), connector.clone(), behind.clone());
            tokio::spawn(async move {
                let far = TcpStream::connect(&behind).await.unwrap();
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let mut far = connector.connect(name, far).await.unwrap();
                if let Ok(mut near) = acceptor.accept(near).await {
                    let _ended = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    address
}

fn forged() -> ServerConfig {
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "Example Corp TLS Inspection CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A host that answers nothing: its queue of connections is full, so that the kernel drops whoever
/// knocks.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) async fn dig() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let knock = std::time::Duration::from_millis(300);
        while let Ok(stream) = tokio::time::timeout(knock, TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// A port where nobody listens.
pub(crate) async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

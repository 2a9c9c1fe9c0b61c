//! The door with a certificate: HTTP/1.1 and HTTP/2 over TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zen_identity::{PrivateKey, RootCa};
use zen_ingester::TlsSettings;

use crate::agent::now;
use crate::harness::{Plane, endpoint_id};

#[tokio::test]
async fn webhooks_arrive_over_tls_in_both_versions_of_http() {
    let day = Duration::from_secs(24 * 60 * 60);
    let root = RootCa::generate("outside.test".parse().unwrap(), now(), day).unwrap();
    let key = PrivateKey::generate().unwrap();
    let chain = root
        .issue_control_plane(&key, &["hooks.test".to_owned()], now(), day)
        .unwrap();
    let mut plane = Plane::new();
    plane.start().await.stop().await;
    let certificate_file = plane.folder.path().join("certificate.pem");
    let key_file = plane.folder.path().join("key.pem");
    std::fs::write(&certificate_file, zen_identity::chain_to_pem(&chain)).unwrap();
    std::fs::write(&key_file, key.to_pkcs8_pem().as_bytes()).unwrap();
    plane.config.tls = Some(TlsSettings {
        certificate_file,
        key_file,
    });
    let running = plane.start_unconfigured().await;

    for protocol in ["http/1.1", "h2"] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.cert_der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(running.address).await.unwrap();
        let name = ServerName::try_from("hooks.test").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            Some(protocol.as_bytes())
        );
        let request = Request::post(format!("https://hooks.test/hooks/{}", endpoint_id(1)))
            .header("host", "hooks.test")
            .body(Full::new(Bytes::from_static(b"over tls")))
            .unwrap();
        let answer = if protocol == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(answer.status(), 202, "{protocol}");
        answer.into_body().collect().await.unwrap();
    }
    running.stop().await;
    assert_eq!(plane.stored().await.len(), 2);
}

//! Who answers in TLS, and what time it is there. Any certificate is taken here, so that it can be
//! shown and judged afterwards; nothing but one empty question is sent.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, TE};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zen_chassis::Clock;

/// A call that no server knows: whatever the answer is, it carries the server's date.
const QUESTION: &str = "/zen.doctor.v1.Doctor/WhatTimeIsIt";

/// What came of a handshake.
pub(crate) enum Tls {
    /// A certificate, with those that came with it; and the server's time, if it told it.
    Shown {
        chain: Vec<CertificateDer<'static>>,
        date: Option<SystemTime>,
    },
    /// Somebody answers who does not speak TLS.
    Plain,
    /// No certificate, for this reason.
    Failed(String),
    /// Nothing came.
    TimedOut(Duration),
}

/// Shakes hands on `socket`, and asks for the time.
pub(crate) async fn look(
    socket: TcpStream,
    host: &str,
    address: &str,
    clock: &Clock,
    patience: Duration,
) -> Tls {
    let seen = Arc::new(Seen::default());
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return Tls::Failed(format!("{host} is no name for TLS"));
    };
    let config = match config(&seen, clock) {
        Ok(config) => config,
        Err(error) => return Tls::Failed(error.to_string()),
    };
    let handshake = TlsConnector::from(config).connect(name, socket);
    let outcome = tokio::time::timeout(patience, handshake).await;
    let chain = std::mem::take(&mut *seen.chain.lock());
    match outcome {
        Ok(Ok(stream)) => {
            let date = tokio::time::timeout(patience, date(stream, address)).await;
            Tls::Shown {
                chain,
                date: date.ok().flatten(),
            }
        }
        // It was seen all the same.
        _ if !chain.is_empty() => Tls::Shown { chain, date: None },
        Ok(Err(error)) if is_not_tls(&error) => Tls::Plain,
        Ok(Err(error)) => Tls::Failed(error.to_string()),
        Err(_) => Tls::TimedOut(patience),
    }
}

fn is_not_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

/// TLS 1.2 too, though no control plane speaks it: what intercepts may.
fn config(seen: &Arc<Seen>, clock: &Clock) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::clone(&seen.provider);
    let mut config = ClientConfig::builder_with_details(provider, clock.time_provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The server's time, from the head of its answer.
async fn date(stream: TlsStream<TcpStream>, address: &str) -> Option<SystemTime> {
    let executor = TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .ok()?;
    let request = http::Request::post(format!("https://{address}{QUESTION}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Empty::<Bytes>::new())
        .ok()?;
    // The connection lives as long as the question.
    let response = tokio::select! {
        response = sender.send_request(request) => response.ok()?,
        _ = connection => return None,
    };
    parse_date(response.headers().get(DATE)?.to_str().ok()?)
}

fn parse_date(text: &str) -> Option<SystemTime> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    Some(parser.parse_timestamp(text).ok()?.into())
}

/// Takes any certificate, and keeps it.
struct Seen {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            chain: Mutex::default(),
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.chain.lock() = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_http_head_is_read() {
        let date = parse_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(zen_chassis::clock::to_unix_ms(date), 784_111_777_000);
        assert!(parse_date("yesterday").is_none());
    }
}

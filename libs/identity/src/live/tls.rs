//! The TLS configurations: 1.3 only, one crypto provider, no resumption, and verification by the
//! identity as it is at that moment.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError};
use rustls::{PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::LiveIdentity;
use crate::trust::{Expect, Trust};
use crate::verify::{Usage, VerifyError, verify};

const HTTP2: &[u8] = b"h2";

/// Whether a server lets in clients that show no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client without a certificate is refused.
    Required,
    /// A client may come without; a certificate that is shown must hold all the same.
    Optional,
}

impl LiveIdentity {
    /// The configuration of a server that expects these clients. It shows the newest leaf and
    /// judges by the newest trust at each handshake; without a leaf, handshakes fail.
    ///
    /// # Errors
    /// Only if rustls has no TLS 1.3.
    pub fn server_config(
        &self,
        expect: Expect,
        clients: ClientAuth,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let rule = Rule {
            provider: self.0.provider.clone(),
            trusted: Trusted::Live(self.clone()),
            expect,
            clients,
        };
        let mut config =
            ServerConfig::builder_with_details(self.0.provider.clone(), self.0.time.clone())
                .with_protocol_versions(&[&TLS13])?
                .with_client_cert_verifier(Arc::new(rule))
                .with_cert_resolver(Arc::new(NewestLeaf(self.clone())));
        config.alpn_protocols = vec![HTTP2.to_vec()];
        // A resumed session would never meet the rule again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The configuration of a client that expects this server. It judges by the newest trust at
    /// each handshake, and shows the newest leaf if there is one.
    #[must_use]
    pub fn client_config(&self, expect: Expect) -> Arc<ClientConfig> {
        let trusted = Trusted::Live(self.clone());
        let leaf = Arc::new(NewestLeaf(self.clone()));
        client(&self.0.provider, &self.0.time, trusted, expect, Some(leaf))
    }
}

/// The configuration of a client that has no certificate yet: to redeem a bundle with.
#[must_use]
pub fn server_auth_only_client_config(
    trust: Trust,
    expect: Expect,
    time: Arc<dyn TimeProvider>,
) -> Arc<ClientConfig> {
    client(&provider(), &time, Trusted::Fixed(trust), expect, None)
}

fn client(
    provider: &Arc<CryptoProvider>,
    time: &Arc<dyn TimeProvider>,
    trusted: Trusted,
    expect: Expect,
    leaf: Option<Arc<NewestLeaf>>,
) -> Arc<ClientConfig> {
    let rule = Rule {
        provider: provider.clone(),
        trusted,
        expect,
        clients: ClientAuth::Required,
    };
    let builder = ClientConfig::builder_with_details(provider.clone(), time.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider of aws-lc-rs has cipher suites and groups for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(rule));
    let mut config = match leaf {
        Some(leaf) => builder.with_client_cert_resolver(leaf),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The one crypto provider; X25519MLKEM768 stands first among its groups.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Answers rustls' question for a certificate with the identity's newest.
struct NewestLeaf(LiveIdentity);

impl NewestLeaf {
    fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.0.leaf().map(|leaf| leaf.certified.clone())
    }
}

impl ResolvesServerCert for NewestLeaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

impl ResolvesClientCert for NewestLeaf {
    fn resolve(&self, _roots: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.get()
    }

    fn has_certs(&self) -> bool {
        self.0.has_leaf()
    }
}

impl fmt::Debug for NewestLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewestLeaf")
    }
}

/// Brings rustls' questions about a peer to the one rule.
struct Rule {
    provider: Arc<CryptoProvider>,
    trusted: Trusted,
    expect: Expect,
    clients: ClientAuth,
}

enum Trusted {
    Live(LiveIdentity),
    Fixed(Trust),
}

impl Rule {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf)
            .chain(rest)
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        let outcome = match &self.trusted {
            Trusted::Fixed(trust) => verify(&chain, usage, trust, &self.expect, now),
            Trusted::Live(identity) => identity
                .trust()
                .ok_or(VerifyError::NoTrust)
                .and_then(|trust| verify(&chain, usage, &trust, &self.expect, now)),
        };
        outcome.map(|_id| ()).map_err(|error| {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        })
    }

    fn signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for Rule {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, Usage::Server, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Rule {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == ClientAuth::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Hints are borrowed from the verifier, and the roots may be swapped meanwhile.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates, Usage::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

//! The certificate shown to sources, read from files and read again while the process runs, so that a renewed
//! one is in use without a restart.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zen_chassis::CancellationToken;
use zen_chassis::chain::Chain;
use zen_chassis::files::read_capped;
use zeroize::Zeroizing;

use crate::config::TlsSettings;

const LARGEST_FILE: usize = 1 << 20;
const REREAD: Duration = Duration::from_secs(60);

/// The certificate in use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LiveCertificate(Arc<Inner>);

struct Inner {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

impl LiveCertificate {
    /// Reads certificate and key.
    pub(crate) fn read(settings: &TlsSettings) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = ArcSwap::from_pointee(read(settings, &provider)?);
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            provider,
            current,
        })))
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, with whatever certificate is in use.
    pub(crate) fn server_config(&self) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again and again until shutdown; a pair that does not fit is not taken.
    pub(crate) async fn keep_read(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(REREAD) => {}
            }
            let inner = Arc::clone(&self.0);
            let again = tokio::task::spawn_blocking(move || read(&inner.settings, &inner.provider));
            match again.await? {
                Ok(key) if key.cert != self.0.current.load().cert => {
                    self.0.current.store(Arc::new(key));
                    tracing::info!("certificate read again");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(error = %Chain(error.as_ref()), "the certificate in use stays");
                }
            }
        }
    }
}

impl fmt::Debug for LiveCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveCertificate").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load_full())
    }
}

fn read(settings: &TlsSettings, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
    let text = |setting: &'static str, path: &Path| {
        read_capped(path, LARGEST_FILE)
            .map(Zeroizing::new)
            .context(setting)
    };
    let certificates = text("tls.certificate_file", &settings.certificate_file)?;
    let chain = CertificateDer::pem_slice_iter(&certificates)
        .collect::<Result<Vec<_>, _>>()
        .context("tls.certificate_file is no PEM")?;
    anyhow::ensure!(
        !chain.is_empty(),
        "tls.certificate_file holds no certificate"
    );
    let key = text("tls.key_file", &settings.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&key).context("tls.key_file holds no private key")?;
    CertifiedKey::from_der(chain, key, provider)
        .context("tls.certificate_file and tls.key_file do not belong together")
}

//! Has zen-lock open a bundle that was sealed for it alone: the agent holds no key for such a one.
//!
//! It shows its pod's token (audience `zen-lock`) over TLS 1.3 to whoever holds a certificate of
//! zen-lock's own authority. Both are files, read anew at each try, for both change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use zen_chassis::chain::Chain;
use zen_chassis::files;
use zen_proto::codes::{RefusalCode, SecretCode};
use zen_proto::limits;
use zen_proto::lock::v1::OpenBundleRequest;
use zen_proto::lock::v1::pod_service_client::PodServiceClient;
use zen_seal::Bundle;
use zeroize::Zeroizing;

use crate::config::LockConfig;
use crate::refusal::Refusal;
use crate::store::Content;

const TOKEN: usize = 16 * 1024;
/// Several authorities while one follows another.
const AUTHORITIES: usize = 64 * 1024;
/// Time for one try, its connection included.
const TRY: Duration = Duration::from_secs(10);

/// Why zen-lock did not open a bundle.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// It may do so later; what is in the way.
    NotYet(String),
    /// It will not.
    Refused(Refusal),
}

/// One try.
pub(crate) async fn open(settings: &LockConfig, sealed: &Content) -> Result<Bundle, NotOpened> {
    match tokio::time::timeout(TRY, ask(settings, sealed)).await {
        Ok(answer) => answer,
        Err(_) => Err(away(&format!("no answer within {} s", TRY.as_secs()))),
    }
}

async fn ask(settings: &LockConfig, sealed: &Content) -> Result<Bundle, NotOpened> {
    let roots = roots(&settings.ca_file).map_err(|e| file("ca_file", &settings.ca_file, &e))?;
    let token = token(&settings.token_file);
    let token = token.map_err(|e| file("token_file", &settings.token_file, &e))?;
    let channel = channel(settings, roots).map_err(|e| away(&format!("{e:#}")))?;
    // Its answer is JSON: somewhat longer than what a bundle may have sealed.
    let mut client = PodServiceClient::new(channel).max_decoding_message_size(2 * limits::BUNDLE);
    let mut request = Request::new(OpenBundleRequest {
        sealed: Bytes::copy_from_slice(sealed),
    });
    request.metadata_mut().insert("authorization", token);
    match client.open_bundle(request).await {
        Ok(answer) => Bundle::from_opened(&answer.into_inner().bundle).map_err(|error| {
            let detail = format!("what zen-lock opened is no bundle: {}", Chain(&error));
            NotOpened::Refused(Refusal::new(RefusalCode::BundleUnreadable, detail))
        }),
        Err(status) => Err(judged(&status)),
    }
}

/// Its refusals carry a code; whatever has none did not come from zen-lock's judgement.
fn judged(status: &Status) -> NotOpened {
    let code = status.metadata().get("zen-code");
    let code = code.and_then(|code| code.to_str().ok());
    let Some(code) = code.and_then(|code| code.parse::<SecretCode>().ok()) else {
        tracing::debug!(error = %Chain(status), "zen-lock not reached");
        return away(&format!("{:?}: {}", status.code(), status.message()));
    };
    let line = format!("{code}: {}", code.remedy());
    match (code, status.code()) {
        // Identities may be mounted later, and a token may be a moment too new.
        (SecretCode::LockUnreachable | SecretCode::NoIdentity | SecretCode::CallerUnknown, _)
        | (_, Code::Unavailable) => NotOpened::NotYet(format!("zen-lock: {line}")),
        _ => {
            let detail = format!("zen-lock does not open the bundle: {line}");
            NotOpened::Refused(Refusal::new(RefusalCode::BundleUnreadable, detail))
        }
    }
}

fn away(why: &str) -> NotOpened {
    let code = SecretCode::LockUnreachable;
    NotOpened::NotYet(format!("{code}: {}: {why}", code.remedy()))
}

fn file(key: &str, path: &Path, error: &anyhow::Error) -> NotOpened {
    let path = path.display();
    NotOpened::NotYet(format!("enrollment.lock.{key}: {path}: {error:#}"))
}

fn token(file: &Path) -> anyhow::Result<AsciiMetadataValue> {
    let bytes = Zeroizing::new(files::read_capped(file, TOKEN)?);
    let header = Zeroizing::new(format!("Bearer {}", std::str::from_utf8(&bytes)?.trim()));
    let mut value: AsciiMetadataValue = header.parse()?;
    value.set_sensitive(true);
    Ok(value)
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let pem = files::read_capped(file, AUTHORITIES)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "there is no certificate in it");
    Ok(roots)
}

fn channel(settings: &LockConfig, roots: RootCertStore) -> anyhow::Result<Channel> {
    let address = settings.address.clone();
    let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
    let host = settings.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(host.to_owned())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_uri| {
        let (connector, name, address) = (connector.clone(), name.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://zen-lock").connect_timeout(TRY);
    Ok(endpoint.connect_with_connector_lazy(connect))
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;

    fn refused(code: SecretCode, grpc: Code) -> NotOpened {
        let mut metadata = MetadataMap::new();
        metadata.insert("zen-code", code.code().parse().unwrap());
        judged(&Status::with_metadata(grpc, code.remedy(), metadata))
    }

    #[test]
    fn what_may_pass_is_asked_again_and_the_rest_is_a_refusal_with_its_code() {
        for code in [SecretCode::LockUnreachable, SecretCode::NoIdentity] {
            let said = refused(code, Code::FailedPrecondition);
            assert!(matches!(said, NotOpened::NotYet(line) if line.contains(code.code())));
        }
        for code in [SecretCode::NotAllowed, SecretCode::Malformed] {
            let NotOpened::Refused(refusal) = refused(code, Code::PermissionDenied) else {
                panic!("{code} is asked again");
            };
            assert_eq!(refusal.code, RefusalCode::BundleUnreadable);
            assert!(refusal.detail.contains(code.code()), "{}", refusal.detail);
        }
        let silent = judged(&Status::unknown("connection reset"));
        assert!(matches!(silent, NotOpened::NotYet(line) if line.contains("connection reset")));
    }

    #[test]
    fn a_file_without_a_certificate_trusts_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "").unwrap();
        assert!(roots(&file).is_err());
        assert!(roots(&folder.path().join("absent")).is_err());
    }
}

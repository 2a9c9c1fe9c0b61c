//! `zen-lock fetch`: what the init container of a pod does. It asks zen-lock with the pod's token,
//! writes each value into a file of the memory volume, and ends.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use zen_chassis::backoff::Backoff;
use zen_chassis::{Random, files};
use zen_proto::limits;
use zen_proto::lock::v1::pod_service_client::PodServiceClient;
use zen_proto::lock::v1::{FetchRequest, FetchResponse};
use zeroize::Zeroizing;

use super::authority::authority_id;

const TOKEN: usize = 16 * 1024;
/// Time for one try, and pauses between tries.
const TRY: Duration = Duration::from_secs(10);
const PAUSES: Backoff = Backoff {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(5),
};
/// What every container of the pod may do with a value, as whatever user it runs.
const MODE: u32 = 0o444;

/// Fetch a pod's secret into files; for the init container that zen-lock puts into pods.
#[derive(Args)]
pub(crate) struct Fetch {
    /// Name of the ZenLock.
    #[arg(long)]
    secret: String,
    /// host:port of zen-lock.
    #[arg(long)]
    server: String,
    /// zen-lock's authority, PEM in base64.
    #[arg(long)]
    ca: String,
    /// File with the pod's projected token, audience zen-lock.
    #[arg(long)]
    token_file: PathBuf,
    /// Folder of the values, one file a key.
    #[arg(long)]
    into: PathBuf,
    /// Seconds after which it gives up; the kubelet starts it again then.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// Fetches and writes, or says why not.
pub(crate) async fn run(asked: Fetch) -> anyhow::Result<()> {
    let pem = STANDARD.decode(&asked.ca).context("--ca is not base64")?;
    let ca = CertificateDer::from_pem_slice(&pem).context("--ca is not PEM")?;
    let channel = channel(&asked.server, ca)?;
    let until = Instant::now() + Duration::from_secs(asked.patience);
    let random = Random::system();
    let mut tries = 0;
    let fetched = loop {
        let token = token(&asked.token_file)?;
        match fetch(&channel, &asked.secret, token).await {
            Ok(fetched) => break fetched,
            Err(status) if is_passing(&status) && Instant::now() < until => {
                tries += 1;
                let pause = PAUSES.bound(tries).mul_f64(random.fraction());
                tokio::time::sleep(pause).await;
            }
            Err(status) => anyhow::bail!("{}: {}", asked.secret, told(&status)),
        }
    };
    write_all(&asked.into, fetched)
}

async fn fetch(
    channel: &Channel,
    secret: &str,
    token: AsciiMetadataValue,
) -> Result<FetchResponse, Status> {
    let mut client =
        PodServiceClient::new(channel.clone()).max_decoding_message_size(4 * limits::SECRET_VALUES);
    let mut request = Request::new(FetchRequest {
        secret: secret.to_owned(),
    });
    request.metadata_mut().insert("authorization", token);
    let answered = tokio::time::timeout(TRY, client.fetch(request)).await;
    let late = || Status::unavailable(format!("no answer within {TRY:?}"));
    Ok(answered.map_err(|_| late())??.into_inner())
}

/// Whether another try may do better.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
    )
}

/// A refusal as its code and remedy, anything else as it came.
fn told(status: &Status) -> String {
    let code = status.metadata().get("zen-code");
    match code.and_then(|code| code.to_str().ok()) {
        Some(code) => format!("{code}: {}", status.message()),
        None => format!("zen-lock was not reached: {}", status.message()),
    }
}

fn token(file: &Path) -> anyhow::Result<AsciiMetadataValue> {
    let bytes = Zeroizing::new(files::read_capped(file, TOKEN).context("--token-file")?);
    let text = std::str::from_utf8(&bytes).context("--token-file: not text")?;
    let header = Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut value: AsciiMetadataValue = header.parse().context("--token-file: no token")?;
    value.set_sensitive(true);
    Ok(value)
}

/// A channel by TLS 1.3 to who holds a certificate of this very authority.
fn channel(server: &str, ca: CertificateDer<'static>) -> anyhow::Result<Channel> {
    let (host, _port) = server
        .rsplit_once(':')
        .context("--server is not host:port")?;
    let name = match host.parse::<std::net::IpAddr>() {
        // Only where names mean nothing; its certificate names localhost then.
        Ok(_) => format!("{}.localhost", authority_id(&ca)),
        Err(_) => format!("{}.{host}", authority_id(&ca)),
    };
    let name = ServerName::try_from(name).context("--server")?;
    let mut roots = RootCertStore::empty();
    roots.add(ca).context("--ca")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address = server.to_owned();
    let connect = tower::service_fn(move |_uri| {
        let (connector, name, address) = (connector.clone(), name.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://zen-lock").connect_timeout(TRY);
    Ok(endpoint.connect_with_connector_lazy(connect))
}

fn write_all(into: &Path, fetched: FetchResponse) -> anyhow::Result<()> {
    for (key, value) in fetched.values {
        // A key is a file's name: nothing that leads out of the folder.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let sound = key.chars().all(plain) && !key.starts_with("..") && !key.is_empty();
        ensure!(
            sound && key.len() <= 253,
            "zen-lock sent a value of the name {key:?}"
        );
        let beside = into.join(format!("..{key}.new"));
        // Left by a container that was killed.
        let _gone = std::fs::remove_file(&beside);
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&beside)
            .with_context(|| format!("{} cannot be written", into.display()))?;
        file.write_all(&value)?;
        std::fs::rename(&beside, into.join(&key))?;
    }
    Ok(())
}

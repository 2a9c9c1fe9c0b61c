//! The machine's own limit: a server in a process of its own that holds as many mutual TLS
//! connections and does nothing but echo, with as many clients that speak as often as agents do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use rand::RngExt;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use zen_chassis::Clock;
use zen_chassis::backoff::Backoff;
use zen_identity::{
    AcceptOptions, ClientAuth, Expect, LiveIdentity, PlaneCa, PrivateKey, RootCa, Trust,
    TrustDomain, accept, chain_from_pem, chain_to_pem,
};
use zen_integration_tests::ports;
use zen_proto::component::Component;
use zen_proto::ids::{Id, PlaneId, TenantId};
use zen_proto::limits;

use super::process;
use crate::machine;

const DOMAIN: &str = "bench.internal";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const PATIENCE: Duration = Duration::from_secs(300);
/// About the size of a heartbeat.
const MESSAGE: [u8; 300] = [7; 300];

/// What the bare server cost.
pub(super) struct Bare {
    /// Memory a connection, in kB (1,000 bytes).
    pub(super) kb_each: f64,
    /// Share of one core while every client speaks once an interval, in percent.
    pub(super) cpu_percent: f64,
    /// Time until all clients are back after the server was killed and started again, in seconds.
    pub(super) back_seconds: f64,
}

/// Runs server and clients.
pub(super) async fn measure(clients: usize, span: Duration) -> anyhow::Result<Bare> {
    let folder = machine::folder()?;
    let identity = identities(folder.path())?;
    let port = ports::reserve()?;
    let mut server = Server::start(&folder, port.address)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = process::rss_kib(server.pid()?)?;
    let open = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(identity.clone(), port.address, Arc::clone(&open)));
    }
    all_open(&open, clients).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let cpu_percent = process::cpu_percent(server.pid()?, span).await?;
    let after = process::rss_kib(server.pid()?)?;
    server.child.kill().await?;
    let start = Instant::now();
    server = Server::start(&folder, port.address)?;
    while open.load(Ordering::Relaxed) == clients {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    all_open(&open, clients).await?;
    let back_seconds = start.elapsed().as_secs_f64();
    server.child.kill().await?;
    Ok(Bare {
        kb_each: (after - before) * 1.024 / clients as f64,
        cpu_percent,
        back_seconds,
    })
}

async fn all_open(open: &AtomicUsize, clients: usize) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let now = open.load(Ordering::Relaxed);
        if now == clients {
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < PATIENCE, "{now} of {clients} connected");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Server {
    child: Child,
}

impl Server {
    fn start(folder: &TempDir, address: SocketAddr) -> anyhow::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg("--echo-server")
            .arg(folder.path())
            .arg("--echo-address")
            .arg(address.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the echo server")?;
        Ok(Self { child })
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the echo server ended")
    }
}

/// Writes what the server needs; the answer is the identity of all clients.
fn identities(folder: &Path) -> anyhow::Result<LiveIdentity> {
    let clock = Clock::system();
    let domain: TrustDomain = DOMAIN.parse()?;
    let root = RootCa::generate(domain.clone(), clock.now(), DAY)?;
    let key = PrivateKey::generate()?;
    let names = vec!["127.0.0.1".to_owned()];
    let leaf = root.issue_control_plane(&key, &names, clock.now(), DAY)?;
    std::fs::write(folder.join("root.pem"), root.cert_pem())?;
    std::fs::write(folder.join("leaf.pem"), chain_to_pem(&leaf))?;
    std::fs::write(folder.join("key.pem"), key.to_pkcs8_pem().as_bytes())?;
    let (tenant, plane) = (
        TenantId::generate(1, [1; 10]),
        PlaneId::generate(1, [2; 10]),
    );
    let (authority_key, agent) = (PrivateKey::generate()?, PrivateKey::generate()?);
    let csr = authority_key.csr("bench")?;
    let chain = root.sign_plane_ca(&csr, tenant, plane, clock.now(), DAY)?;
    let authority = PlaneCa::new(authority_key, chain, domain.clone())?;
    let csr = agent.csr("bench")?;
    let leaf = authority.sign_leaf(&csr, Component::Agent, clock.now(), DAY)?;
    let identity = LiveIdentity::new(clock.time_provider());
    identity.set_trust(Trust::new(domain, &root.cert_pem(), [])?);
    identity.set_leaf(leaf, &agent)?;
    Ok(identity)
}

/// The server's side, in its own process, for ever.
pub(crate) async fn serve(folder: PathBuf, address: SocketAddr) -> anyhow::Result<()> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let identity = LiveIdentity::new(Clock::system().time_provider());
    identity.set_trust(Trust::new(DOMAIN.parse()?, &read("root.pem")?, [])?);
    let key = PrivateKey::from_pkcs8_pem(&read("key.pem")?)?;
    identity.set_leaf(chain_from_pem(&read("leaf.pem")?)?, &key)?;
    let expect = Expect::any_component(&[Component::Agent]);
    let config = identity.server_config(expect, ClientAuth::Required)?;
    let listener = TcpListener::bind(address).await?;
    let mut incoming = accept(listener, config, AcceptOptions::default());
    let mut connections = JoinSet::new();
    while let Some(Ok(mut connection)) = incoming.next().await {
        connections.spawn(async move {
            let mut buffer = [0; 512];
            while let Ok(read @ 1..) = connection.read(&mut buffer).await {
                let echo = buffer.get(..read).unwrap_or_default();
                if connection.write_all(echo).await.is_err() || connection.flush().await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// One client: connected for ever, with an agent's pauses between tries.
async fn client(identity: LiveIdentity, address: SocketAddr, open: Arc<AtomicUsize>) {
    let mut failed = 0;
    loop {
        if connected(&identity, address, &open).await {
            open.fetch_sub(1, Ordering::Relaxed);
            failed = 0;
        }
        failed += 1;
        let pause = Backoff::FAR.pause(failed, rand::rng().random());
        tokio::time::sleep(pause).await;
    }
}

/// Holds one connection until it breaks; whether it was open at all.
async fn connected(identity: &LiveIdentity, address: SocketAddr, open: &AtomicUsize) -> bool {
    let connector = TlsConnector::from(identity.client_config(Expect::control_plane()));
    let handshake = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        let mut stream = connector.connect(name, stream).await?;
        // In TLS 1.3 the server's verdict on our certificate comes after our side is done.
        speak(&mut stream).await?;
        std::io::Result::Ok(stream)
    };
    let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_secs(15), handshake).await else {
        return false;
    };
    open.fetch_add(1, Ordering::Relaxed);
    let mut byte = [0; 1];
    loop {
        let part = rand::rng().random_range(-0.2..0.2);
        let pause = limits::HEARTBEAT.mul_f64(1.0 + part);
        tokio::select! {
            // Nothing comes unasked: an answer here is the end.
            _ = stream.read(&mut byte) => return true,
            () = tokio::time::sleep(pause) => {}
        }
        if speak(&mut stream).await.is_err() {
            return true;
        }
    }
}

/// Sends a message and reads its echo.
async fn speak<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S) -> std::io::Result<()> {
    stream.write_all(&MESSAGE).await?;
    stream.flush().await?;
    let mut echo = [0; MESSAGE.len()];
    stream.read_exact(&mut echo).await?;
    Ok(())
}

//! The way to the agent: a Unix socket, or TCP in mutual TLS. Over TCP a component has no
//! certificate at first: it judges the agent by the trust bundle in a folder, and proves itself
//! by a token in a file. Both are read anew at each try: they may come late, and they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use zen_identity::{
    DialFailure, DialOptions, Expect, LiveIdentity, Trust, channel, dial_failure,
    server_auth_only_client_config,
};
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;
use zen_proto::agent::v1::{CertifyRequest, CertifyResponse};
use zen_proto::component::Component;
use zen_proto::ids::{PlaneId, TenantId};
use zen_proto::limits;

use super::NeighbourSettings;
use crate::clock::Clock;
use crate::files;
use crate::net::{Address, local_channel};

/// Files of the trust bundle's folder, the keys of the ConfigMap `zen-trust-bundle`.
const ROOTS: &str = "roots.pem";
const TRUST_DOMAIN: &str = "trust-domain";
const TENANT: &str = "tenant-id";
const PLANE: &str = "plane-id";
/// Largest of these files, and of the token, bytes.
const FILE: usize = 1024 * 1024;
const TOKEN: usize = 16 * 1024;

pub(super) type Client = AgentServiceClient<Channel>;

/// The way to the agent. Clones are the same way.
#[derive(Clone)]
pub(super) struct Agent {
    /// Replaced over TCP with each certificate: a connection keeps the one it was opened with.
    client: Arc<ArcSwap<Client>>,
    tcp: Option<Arc<Tcp>>,
}

struct Tcp {
    address: String,
    trust_dir: PathBuf,
    token_file: PathBuf,
    identity: LiveIdentity,
    clock: Clock,
    /// Woken when the certificate in use is not taken any more.
    refused: Notify,
}

impl Agent {
    /// Prepares the way; nothing is dialled yet.
    pub(super) fn new(
        settings: &NeighbourSettings,
        identity: &LiveIdentity,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let (channel, tcp) = match &settings.address {
            Address::Unix(socket) => (local_channel(socket)?, None),
            Address::Tcp(address) => {
                let tcp = Arc::new(Tcp {
                    address: address.clone(),
                    trust_dir: settings.trust_dir.clone(),
                    token_file: settings.token_file.clone(),
                    identity: identity.clone(),
                    clock: clock.clone(),
                    refused: Notify::new(),
                });
                (tcp.channel(), Some(tcp))
            }
        };
        let client = Arc::new(ArcSwap::from_pointee(client(channel)));
        Ok(Self { client, tcp })
    }

    /// For every call but the first over TCP.
    pub(super) fn client(&self) -> Client {
        Client::clone(&self.client.load())
    }

    /// Waits until calls can be made: over TCP that takes a certificate.
    pub(super) async fn open(&self) {
        let Some(tcp) = &self.tcp else { return };
        let mut changes = tcp.identity.changed();
        while !tcp.identity.has_leaf() && changes.changed().await.is_ok() {}
    }

    /// Asks for a certificate; over TCP with the one in use, or with the token if there is none
    /// or it is not taken any more.
    pub(super) async fn certify(&self, request: CertifyRequest) -> anyhow::Result<CertifyResponse> {
        let Some(tcp) = &self.tcp else {
            return Ok(self.client().certify(request).await?.into_inner());
        };
        if tcp.holds_leaf() {
            match self.client().certify(request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_refusal(&status) => {
                    tracing::debug!(%status, "certificate not taken any more; proving by token");
                }
                Err(status) => return Err(tcp.explain(status)),
            }
        }
        tcp.first_contact(request).await
    }

    /// Opens new connections with the certificate in use from now on.
    pub(super) fn renewed(&self) {
        if let Some(tcp) = &self.tcp {
            self.client.store(Arc::new(client(tcp.channel())));
        }
    }

    /// Takes note of a call that failed: the agent may have become another, or not know this
    /// component any more.
    pub(super) fn failed(&self, error: &anyhow::Error) {
        if let Some(tcp) = &self.tcp
            && error.downcast_ref().is_some_and(is_refusal)
        {
            tcp.refused.notify_one();
        }
    }

    /// Waits until the certificate in use was refused.
    pub(super) async fn refused(&self) {
        match &self.tcp {
            Some(tcp) => tcp.refused.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Tcp {
    /// Shows the certificate in use, and expects the agent of the same plane.
    fn channel(&self) -> Channel {
        let agent = self.identity.neighbour(Component::Agent);
        let config = self.identity.client_config(agent);
        channel(&self.address, config, DialOptions::default())
    }

    fn holds_leaf(&self) -> bool {
        let end = self.identity.leaf_not_after();
        end.is_some_and(|end| end > self.clock.now())
    }

    /// Asks as nobody yet: by the token, of an agent judged by the trust bundle.
    async fn first_contact(&self, request: CertifyRequest) -> anyhow::Result<CertifyResponse> {
        let bundle = TrustBundle::read(&self.trust_dir)?;
        let token = token(&self.token_file)?;
        let agent = Expect::component(bundle.tenant, bundle.plane, Component::Agent);
        let time = self.clock.time_provider();
        let config = server_auth_only_client_config(bundle.trust, agent, time);
        let channel = channel(&self.address, config, DialOptions::default());
        let mut request = Request::new(request);
        request.metadata_mut().insert("authorization", token);
        let answer = client(channel).certify(request).await;
        Ok(answer.map_err(|status| self.explain(status))?.into_inner())
    }

    /// What a failed call means to whoever waits for it, in words that stay the same.
    fn explain(&self, status: Status) -> anyhow::Error {
        let agent = format!("the agent at {}", self.address);
        let means = match (dial_failure(&status), status.code()) {
            (DialFailure::Unreachable, _) => format!("waiting for {agent}"),
            // A server that has no certificate yet ends the handshake.
            (DialFailure::RefusedByPeer, _) => format!("waiting for {agent} to be enrolled"),
            (DialFailure::Untrusted(code), _) => {
                format!("{agent} is not the one that the trust bundle names ({code})")
            }
            (DialFailure::ClockSkew, _) => {
                format!("one clock is wrong: the certificate of {agent} does not hold now")
            }
            (DialFailure::Other, Code::Unauthenticated | Code::PermissionDenied) => {
                format!("refused by {agent}: {}", status.message())
            }
            (DialFailure::Other, _) => format!("waiting for {agent}: {}", status.message()),
        };
        anyhow::Error::new(status).context(means)
    }
}

/// Whether a call failed because one end does not believe the other.
fn is_refusal(status: &Status) -> bool {
    match dial_failure(status) {
        DialFailure::Untrusted(_) | DialFailure::ClockSkew | DialFailure::RefusedByPeer => true,
        DialFailure::Unreachable => false,
        DialFailure::Other => matches!(
            status.code(),
            Code::Unauthenticated | Code::PermissionDenied
        ),
    }
}

/// What a component knows of its plane before it has a certificate.
struct TrustBundle {
    trust: Trust,
    tenant: TenantId,
    plane: PlaneId,
}

impl TrustBundle {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let text = |name: &str| -> anyhow::Result<String> {
            let path = folder.join(name);
            let bytes = files::read_if_there(&path, FILE)?;
            let bytes = bytes.filter(|bytes| !bytes.trim_ascii().is_empty());
            let bytes = bytes.with_context(|| {
                let path = path.display();
                format!("waiting for {path} (ConfigMap zen-trust-bundle)")
            })?;
            let text = String::from_utf8(bytes);
            let text = text.with_context(|| format!("{} is not text", path.display()))?;
            Ok(text.trim().to_owned())
        };
        let damaged = |name: &str| format!("{} cannot be used", folder.join(name).display());
        let roots = text(ROOTS)?;
        let domain = text(TRUST_DOMAIN)?.parse();
        let domain = domain.with_context(|| damaged(TRUST_DOMAIN))?;
        Ok(Self {
            tenant: text(TENANT)?.parse().with_context(|| damaged(TENANT))?,
            plane: text(PLANE)?.parse().with_context(|| damaged(PLANE))?,
            trust: Trust::new(domain, &roots, []).with_context(|| damaged(ROOTS))?,
        })
    }
}

/// The token as metadata that no log shows.
fn token(file: &Path) -> anyhow::Result<AsciiMetadataValue> {
    let name = file.display();
    let bytes = files::read_if_there(file, TOKEN)?;
    let bytes = bytes.with_context(|| format!("waiting for {name} (service account token)"))?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    let text = text.filter(|text| !text.is_empty());
    let value = text.and_then(|text| format!("Bearer {text}").parse().ok());
    let mut value: AsciiMetadataValue = value.with_context(|| format!("{name} holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(channel: Channel) -> Client {
    AgentServiceClient::new(channel).max_decoding_message_size(limits::SNAPSHOT * 2)
}

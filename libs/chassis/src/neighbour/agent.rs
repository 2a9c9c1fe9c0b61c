//! The way to the agent: a Unix socket, or TCP in mutual TLS. Over TCP a component has no
//! certificate at first: it judges the agent by the trust bundle in a folder, and proves itself
//! by a token in a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use zen_identity::{
    DialOptions, Expect, LiveIdentity, Trust, channel, server_auth_only_client_config,
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
                Err(status) => {
                    tracing::debug!(%status, "not certified by certificate; trying the token");
                }
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
        Ok(client(channel).certify(request).await?.into_inner())
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
            let bytes = files::read_if_there(&path, FILE)?.with_context(|| {
                format!(
                    "waiting for {} (ConfigMap zen-trust-bundle, made by the install command or \
                     the agent)",
                    path.display()
                )
            })?;
            let text = String::from_utf8(bytes);
            let text = text.with_context(|| format!("{} is not text", path.display()))?;
            Ok(text.trim().to_owned())
        };
        let domain = text(TRUST_DOMAIN)?.parse().context(TRUST_DOMAIN)?;
        Ok(Self {
            trust: Trust::new(domain, &text(ROOTS)?, []).context(ROOTS)?,
            tenant: text(TENANT)?.parse().context(TENANT)?,
            plane: text(PLANE)?.parse().context(PLANE)?,
        })
    }
}

/// The token as metadata that no log shows.
fn token(file: &Path) -> anyhow::Result<AsciiMetadataValue> {
    let bytes = files::read_capped(file, TOKEN)?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    let value = text.and_then(|text| format!("Bearer {text}").parse().ok());
    let mut value: AsciiMetadataValue =
        value.with_context(|| format!("{} holds no token", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(channel: Channel) -> Client {
    AgentServiceClient::new(channel).max_decoding_message_size(limits::SNAPSHOT * 2)
}

//! An edge plane in this process: which components, with which settings, enrolled how.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use zen_agent::Agent;
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::Address;
use zen_egress::Egress;
use zen_identity::Proxy;
use zen_ingester::Ingester;

use crate::embed::House;

/// An edge plane without Kubernetes: agent, egress, ingester.
pub(crate) struct Edge<'a> {
    /// Its word in metrics and logs.
    pub(crate) plane: &'a str,
    /// Where it keeps its state.
    pub(crate) folder: &'a Path,
    /// Where its Unix sockets are.
    pub(crate) sockets: &'a Path,
    /// Where its ingester listens.
    pub(crate) ingest: SocketAddr,
    /// Where `file:<name>` secrets are.
    pub(crate) secrets_dir: PathBuf,
    /// The identities of its zen-lock; none: it runs without.
    pub(crate) lock_identities: Option<PathBuf>,
    /// The proxy that leads to its control plane.
    pub(crate) proxy: Option<Proxy>,
}

impl Edge<'_> {
    /// Starts it; answers with the address of its ingester.
    pub(crate) async fn start(&self, house: &mut House) -> anyhow::Result<SocketAddr> {
        let socket = Address::Unix(self.sockets.join("edge-agent.sock"));
        let egress_socket = Address::Unix(self.sockets.join("edge-egress.sock"));
        let proxy = self.proxy.clone();
        agent(self.plane, self.folder, &socket, proxy, house).await?;
        zen_chassis::files::make_private_folder(&self.secrets_dir)?;
        let agent = NeighbourSettings {
            address: socket,
            ..NeighbourSettings::default()
        };
        let place = Place {
            plane: self.plane,
            folder: self.folder,
            sockets: self.sockets,
        };
        let lock = match &self.lock_identities {
            Some(identities) => Some(lock(place, identities, &agent, house).await?),
            None => None,
        };
        let egress = zen_egress::Config {
            state_dir: self.folder.join("egress"),
            listen: egress_socket.clone(),
            secrets_dir: self.secrets_dir.clone(),
            lock: lock.clone(),
            agent: agent.clone(),
            ..zen_egress::Config::default()
        };
        house.start::<Egress, _>(self.plane, egress, |_| ()).await?;
        let ingester = zen_ingester::Config {
            state_dir: self.folder.join("ingester"),
            listen: self.ingest,
            secrets_dir: self.secrets_dir.clone(),
            lock,
            agent,
            egress: Some(egress_socket),
            ..zen_ingester::Config::default()
        };
        house
            .start::<Ingester, _>(self.plane, ingester, Ingester::address)
            .await
    }
}

/// Where a plane is in this process.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Its word in metrics and logs.
    pub(crate) plane: &'a str,
    /// Where it keeps its state.
    pub(crate) folder: &'a Path,
    /// Where its Unix sockets are.
    pub(crate) sockets: &'a Path,
}

/// Starts a plane's zen-lock; answers with the socket where its components ask. Secrets that the
/// operator keeps go to the folder `sealed`.
pub(crate) async fn lock(
    place: Place<'_>,
    identities: &Path,
    agent: &NeighbourSettings,
    house: &mut House,
) -> anyhow::Result<Address> {
    let socket = format!("{}-lock.sock", place.plane);
    let socket = Address::Unix(place.sockets.join(socket));
    let sealed = place.folder.join("sealed");
    zen_chassis::files::make_private_folder(&sealed)?;
    let config = zen_lock::Config {
        state_dir: place.folder.join("lock"),
        listen: socket.clone(),
        identities_dir: identities.to_owned(),
        sealed_dir: Some(sealed),
        agent: Some(agent.clone()),
        ..zen_lock::Config::default()
    };
    house
        .start::<zen_lock::Lock, _>(place.plane, config, |_| ())
        .await?;
    Ok(socket)
}

/// Starts an agent, which takes its bundle, if it needs one, from its enrolment folder.
pub(crate) async fn agent(
    plane: &str,
    folder: &Path,
    socket: &Address,
    proxy: Option<Proxy>,
    house: &mut House,
) -> anyhow::Result<()> {
    let config = zen_agent::Config {
        state_dir: folder.join("agent"),
        listen: socket.clone(),
        proxy,
        ..zen_agent::Config::default()
    };
    house.start::<Agent, _>(plane, config, |_| ()).await
}

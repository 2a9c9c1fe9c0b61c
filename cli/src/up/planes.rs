//! The embedded planes: which components, with which settings, enrolled how.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use zen_agent::Agent;
use zen_bridge::Bridge;
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::Address;
use zen_egress::Egress;
use zen_identity::Proxy;
use zen_ingester::Ingester;

use crate::api::Api;
use crate::embed::House;
use crate::verbs::plane::write_files;

/// The id of the plane of this name and kind, made if there is none.
pub(super) async fn settle(api: &Api, name: &str, kind: &str) -> anyhow::Result<String> {
    let known = api.all("/v1/planes").await?.into_iter().find(|plane| {
        plane["name"] == name && plane["kind"] == kind && plane["status"] != "retired"
    });
    let plane = match known {
        Some(plane) => plane,
        None => {
            api.post("/v1/planes", &json!({ "name": name, "kind": kind }))
                .await?
        }
    };
    plane["id"]
        .as_str()
        .map(ToOwned::to_owned)
        .context("a plane without an id")
}

/// How an agent gets its bundle.
pub(crate) enum Enrolment<'a> {
    /// Issued through the API, unless the plane is enrolled already.
    Issue {
        /// The control plane.
        api: &'a Api,
        /// The plane to enrol.
        id: &'a str,
    },
    /// Given by a person, or nothing if the plane is enrolled already.
    Given,
}

/// The data plane: agent, bridge, public ingester.
pub(super) struct Data<'a> {
    pub(super) ingest: SocketAddr,
    pub(super) bridge: SocketAddr,
    pub(super) id: &'a str,
    pub(super) state_dir: &'a Path,
    pub(super) sockets: &'a Path,
}

impl Data<'_> {
    /// Starts it; answers with the address of its ingester.
    pub(super) async fn start(&self, api: &Api, house: &mut House) -> anyhow::Result<SocketAddr> {
        let folder = self.state_dir.join("data");
        let socket = Address::Unix(self.sockets.join("data-agent.sock"));
        let enrolment = Enrolment::Issue { api, id: self.id };
        let own = agent_config(&folder, &socket, None);
        agent("data", own, &enrolment, house).await?;
        let agent = NeighbourSettings {
            address: socket,
            ..NeighbourSettings::default()
        };
        let bridge = zen_bridge::Config {
            state_dir: folder.join("bridge"),
            listen: self.bridge,
            agent: agent.clone(),
            ..zen_bridge::Config::default()
        };
        house.start::<Bridge, _>("data", bridge, |_| ()).await?;
        let ingester = zen_ingester::Config {
            state_dir: folder.join("ingester"),
            listen: self.ingest,
            secrets_dir: folder.join("secrets"),
            agent,
            egress: None,
            ..zen_ingester::Config::default()
        };
        house
            .start::<Ingester, _>("data", ingester, Ingester::address)
            .await
    }
}

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
    /// How it is enrolled.
    pub(crate) enrolment: Enrolment<'a>,
    /// The proxy that leads to its control plane.
    pub(crate) proxy: Option<Proxy>,
}

impl Edge<'_> {
    /// Starts it; answers with the address of its ingester.
    pub(crate) async fn start(&self, house: &mut House) -> anyhow::Result<SocketAddr> {
        let socket = Address::Unix(self.sockets.join("edge-agent.sock"));
        let egress_socket = Address::Unix(self.sockets.join("edge-egress.sock"));
        let own = agent_config(self.folder, &socket, self.proxy.clone());
        agent(self.plane, own, &self.enrolment, house).await?;
        zen_chassis::files::make_private_folder(&self.secrets_dir)?;
        let agent = NeighbourSettings {
            address: socket,
            ..NeighbourSettings::default()
        };
        let egress = zen_egress::Config {
            state_dir: self.folder.join("egress"),
            listen: egress_socket.clone(),
            secrets_dir: self.secrets_dir.clone(),
            agent: agent.clone(),
            ..zen_egress::Config::default()
        };
        house.start::<Egress, _>(self.plane, egress, |_| ()).await?;
        let ingester = zen_ingester::Config {
            state_dir: self.folder.join("ingester"),
            listen: self.ingest,
            secrets_dir: self.secrets_dir.clone(),
            agent,
            egress: Some(egress_socket),
            ..zen_ingester::Config::default()
        };
        house
            .start::<Ingester, _>(self.plane, ingester, Ingester::address)
            .await
    }
}

fn agent_config(folder: &Path, socket: &Address, proxy: Option<Proxy>) -> zen_agent::Config {
    zen_agent::Config {
        state_dir: folder.join("agent"),
        listen: socket.clone(),
        proxy,
        ..zen_agent::Config::default()
    }
}

/// Starts an agent, with a fresh bundle in its enrolment folder if it needs one.
async fn agent(
    plane: &str,
    config: zen_agent::Config,
    enrolment: &Enrolment<'_>,
    house: &mut House,
) -> anyhow::Result<()> {
    let state_dir = &config.state_dir;
    if let Enrolment::Issue { api, id } = enrolment
        && !state_dir.join("identity.json").exists()
    {
        let issued = api
            .post(&format!("/v1/planes/{id}/bundles"), &json!({}))
            .await?;
        write_files(&state_dir.join("enrollment"), &issued)?;
    }
    house.start::<Agent, _>(plane, config, |_| ()).await
}

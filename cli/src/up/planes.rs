//! The planes of `zen up`: which there are, and the data plane's components.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use zen_bridge::Bridge;
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::Address;
use zen_ingester::Ingester;

use crate::api::Api;
use crate::edge::plane::{Place, agent, lock};
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

/// Puts a fresh bundle where the agent of a plane looks for it, unless the plane is enrolled.
pub(super) async fn issue(api: &Api, id: &str, plane_folder: &Path) -> anyhow::Result<()> {
    let agent = plane_folder.join("agent");
    if agent.join("identity.json").exists() {
        return Ok(());
    }
    let issued = api
        .post(&format!("/v1/planes/{id}/bundles"), &json!({}))
        .await?;
    write_files(&agent.join("enrollment"), &issued)
}

/// The data plane: agent, bridge, public ingester.
pub(super) struct Data<'a> {
    pub(super) ingest: SocketAddr,
    pub(super) bridge: SocketAddr,
    pub(super) id: &'a str,
    pub(super) state_dir: &'a Path,
    pub(super) sockets: &'a Path,
    pub(super) lock_identities: &'a Path,
}

impl Data<'_> {
    /// Starts it; answers with the address of its ingester.
    pub(super) async fn start(&self, api: &Api, house: &mut House) -> anyhow::Result<SocketAddr> {
        let folder = self.state_dir.join("data");
        let socket = Address::Unix(self.sockets.join("data-agent.sock"));
        issue(api, self.id, &folder).await?;
        agent("data", &folder, &socket, None, house).await?;
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
        let place = Place {
            plane: "data",
            folder: &folder,
            sockets: self.sockets,
        };
        let lock = lock(place, self.lock_identities, &agent, house).await?;
        let ingester = zen_ingester::Config {
            state_dir: folder.join("ingester"),
            listen: self.ingest,
            secrets_dir: folder.join("secrets"),
            lock: Some(lock),
            agent,
            egress: None,
            ..zen_ingester::Config::default()
        };
        house
            .start::<Ingester, _>("data", ingester, Ingester::address)
            .await
    }
}

//! Addresses that others remember: enrolled agents know where the control plane is, egresses where
//! the bridge is. A free port is chosen at the first start and kept.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use zen_chassis::files;

/// The file in the state directory.
const FILE: &str = "addresses.json";

/// Where the internal listeners are.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Where agents dial the control plane.
    pub(super) agents: SocketAddr,
    /// Where egresses dial the bridge.
    pub(super) bridge: SocketAddr,
}

impl Kept {
    /// What was asked for; where that is port 0, what was kept, or a free port to keep.
    pub(super) fn settle(state_dir: &Path, asked: Self) -> anyhow::Result<Self> {
        let file = state_dir.join(FILE);
        let kept: Option<Self> = files::read_if_there(&file, 64 * 1024)?
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .with_context(|| format!("{} is damaged", file.display()))?;
        let settled = Self {
            agents: settle(asked.agents, kept.map(|kept| kept.agents))?,
            bridge: settle(asked.bridge, kept.map(|kept| kept.bridge))?,
        };
        files::write_durable(&file, &serde_json::to_vec(&settled)?, 0o600)?;
        Ok(settled)
    }
}

fn settle(asked: SocketAddr, kept: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    match kept {
        _ if asked.port() != 0 => Ok(asked),
        Some(kept) => Ok(kept),
        None => {
            let free = TcpListener::bind(asked).with_context(|| format!("no port on {asked}"))?;
            Ok(free.local_addr()?)
        }
    }
}

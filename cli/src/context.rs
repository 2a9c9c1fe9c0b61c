//! Which control plane a verb speaks to: flags, or what `zen up` wrote into its state directory.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use zen_chassis::files;

use crate::api::Api;

/// Which control plane to speak to.
#[derive(Args)]
pub(crate) struct Connection {
    /// Base URL of the REST API; default from --context.
    #[arg(long, global = true, value_name = "URL", requires = "api_key_file")]
    server: Option<String>,
    /// File with the API key; default from --context.
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// PEM file with the roots to trust for an https server.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/ssl/certs/ca-certificates.crt"
    )]
    ca_file: PathBuf,
    /// The file `zen up` wrote.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = ".zen/zen.json"
    )]
    context: PathBuf,
}

/// What `zen up` writes to `zen.json` when it is ready. Scripts may rely on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ZenJson {
    /// Absolute path of the state directory.
    pub(crate) state_dir: PathBuf,
    /// REST API base URL.
    pub(crate) http: String,
    /// host:port that agents dial.
    pub(crate) agents: String,
    /// Path of the file with the owner's API key.
    pub(crate) api_key_file: PathBuf,
    /// Base URL of the admin listener.
    pub(crate) admin: String,
    /// The data plane.
    pub(crate) data_plane: PlaneJson,
    /// The edge plane.
    pub(crate) edge_plane: PlaneJson,
    /// host:port of the bridge.
    pub(crate) bridge: String,
}

/// One embedded plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlaneJson {
    /// `pl_…`
    pub(crate) id: String,
    /// Base URL of its ingester.
    pub(crate) ingest: String,
    /// Where `file:<name>` secrets of this plane are.
    pub(crate) secrets_dir: PathBuf,
}

impl Connection {
    /// A client of the chosen control plane.
    pub(crate) fn open(&self) -> anyhow::Result<Api> {
        let (server, key_file) = match (&self.server, &self.api_key_file) {
            (Some(server), Some(file)) => (server.clone(), file.clone()),
            (_, own_key) => {
                let written = self.read("give --server and --api-key-file")?;
                (
                    written.http,
                    own_key.clone().unwrap_or(written.api_key_file),
                )
            }
        };
        Api::new(&server, &key_file, Some(&self.ca_file))
    }

    /// What `zen up` wrote.
    pub(crate) fn zen_json(&self) -> anyhow::Result<ZenJson> {
        self.read("give --control-plane, --bundle or --state-dir")
    }

    fn read(&self, otherwise: &str) -> anyhow::Result<ZenJson> {
        let bytes = files::read_capped(&self.context, 1024 * 1024).with_context(|| {
            format!("no control plane named: start one with `zen up`, or {otherwise}")
        })?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged", self.context.display()))
    }
}

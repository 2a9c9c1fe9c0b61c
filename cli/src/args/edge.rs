//! `zen edge` and `zen doctor`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use zen_identity::Proxy;

#[derive(Subcommand)]
pub(crate) enum Edge {
    /// Run an edge plane: agent, ingester and egress in this process.
    Run(EdgeRun),
    /// Ask a running edge plane whether it is ready; exit code 1 and what is pending if not.
    Health {
        /// Its admin listener.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9601")]
        admin: SocketAddr,
    },
    /// Print or write what runs an edge plane for good: a systemd unit or a compose file.
    Install(EdgeInstall),
}

#[derive(Args)]
pub(crate) struct EdgeRun {
    /// The enrolment bundle; needed until the plane is enrolled, and no harm after that.
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) bundle: Option<PathBuf>,
    /// The age identity that opens the bundle.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub(crate) identity: Option<PathBuf>,
    /// Where the plane keeps identity, configuration and events.
    #[arg(long, value_name = "DIR", default_value = "zen-edge")]
    pub(crate) state_dir: PathBuf,
    /// Ingester of this plane.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8083")]
    pub(crate) ingest: SocketAddr,
    /// Files that `file:<name>` references mean; default `<state-dir>/secrets`.
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// age identities, one a file (`zen-lock keygen`), with which `lock:<name>` secrets are opened: those of
    /// the control plane and `<state-dir>/sealed/<name>.age`; default `<state-dir>/lock/identities`, if it exists.
    #[arg(long, value_name = "DIR")]
    pub(crate) lock_identities: Option<PathBuf>,
    /// The HTTP proxy that leads to the control plane, `http://host:port`; `HTTPS_PROXY` is not
    /// read.
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<Proxy>,
    /// Admin listener: /livez /readyz /metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9601")]
    pub(crate) admin: SocketAddr,
    /// What is logged.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log_level: String,
    /// OTLP/gRPC collector for traces.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

#[derive(Args)]
pub(crate) struct EdgeInstall {
    /// A hardened systemd unit, `zen-edge.service` (the default).
    #[arg(long, conflicts_with = "compose")]
    pub(crate) systemd: bool,
    /// A compose file, `compose.yaml`.
    #[arg(long)]
    pub(crate) compose: bool,
    /// Print it (the default).
    #[arg(long, conflicts_with = "to")]
    pub(crate) print: bool,
    /// Write it into this folder, such as /etc/systemd/system.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Write over a file that somebody changed.
    #[arg(long, requires = "to")]
    pub(crate) force: bool,
    /// The folder with `bundle.age` and `identity.txt`.
    #[arg(long, value_name = "DIR", default_value = "/etc/zen-edge/enrollment")]
    pub(crate) enrollment: String,
    /// Where the plane's ingester listens on this host.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8083")]
    pub(crate) ingest: SocketAddr,
    /// Admin listener, inside the container for compose.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9601")]
    pub(crate) admin: SocketAddr,
    /// The HTTP proxy that leads to the control plane, `http://host:port`.
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<Proxy>,
    /// The program (systemd).
    #[arg(long, value_name = "FILE", default_value = "/usr/local/bin/zen")]
    pub(crate) binary: String,
    /// The image (compose).
    #[arg(long, value_name = "IMAGE", default_value = concat!("zen-mesh/zen:", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,
}

/// What stands between an agent and its work; without options, of the running `zen up`.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Where the control plane is; default what identity or bundle say.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) control_plane: Option<String>,
    /// An enrolment bundle; it is opened and not redeemed.
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) bundle: Option<PathBuf>,
    /// The age identity that opens the bundle.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub(crate) identity: Option<PathBuf>,
    /// The state directory of an edge plane or of an agent, whose disk is measured.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The HTTP proxy that leads to the control plane, `http://host:port`.
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<Proxy>,
    /// Time for each step of a check.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) timeout: u64,
}

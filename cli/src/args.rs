//! The command line: what can be said, nothing about how it is done.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::context::Connection;

mod deliveries;
mod edge;
mod mesh;
mod people;
mod root;
mod seal;
mod secrets;

pub(crate) use deliveries::{DeadLetters, Deliveries, DeliveryList, Replay};
pub(crate) use edge::{Doctor, Edge, EdgeInstall, EdgeRun};
pub(crate) use mesh::{Apply, Export};
pub(crate) use people::{ApiKey, Audit, User};
pub(crate) use root::Root;
pub(crate) use seal::Seal;
pub(crate) use secrets::Secret;

/// Webhooks and events to services in private networks.
#[derive(Parser)]
#[command(name = "zen", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// How results are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the whole product in this process, on loopback.
    #[cfg(feature = "up")]
    Up(Up),
    /// An edge plane without Kubernetes.
    #[command(subcommand)]
    Edge(Edge),
    /// Look for what stands between an agent and its work, and say how to mend it.
    Doctor(Doctor),
    /// Seal a secret for a plane, so that nobody but the plane can open it.
    Seal(Seal),
    /// Planes: where components run.
    #[command(subcommand)]
    Plane(Plane),
    /// Endpoints: where sources post.
    #[command(subcommand)]
    Endpoint(Endpoint),
    /// Targets: where events go.
    #[command(subcommand)]
    Target(Target),
    /// Sealed secrets, which only their plane can open.
    #[command(subcommand)]
    Secret(Secret),
    /// Flows: from an endpoint to a target.
    #[command(subcommand)]
    Flow(Flow),
    /// Deliveries, asked live of a plane.
    #[command(subcommand)]
    Delivery(Deliveries),
    /// Dead letters, asked live of a plane.
    #[command(subcommand)]
    DeadLetter(DeadLetters),
    /// Make endpoints, targets and flows agree with mesh files, after showing what would change.
    Apply(Apply),
    /// Print endpoints, targets and flows as a mesh file.
    Export(Export),
    /// The audit log: who changed what, chained so that nobody changes it unseen.
    #[command(subcommand)]
    Audit(Audit),
    /// People who may sign in.
    #[command(subcommand)]
    User(User),
    /// Roots of all trust, and their rotation; for the operator's people.
    #[command(subcommand)]
    Root(Root),
    /// Keys of programs that speak to the API.
    #[command(subcommand)]
    ApiKey(ApiKey),
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Everything embedded: control plane, a data plane, an enrolled edge plane.
#[derive(Args)]
pub(crate) struct Up {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = ".zen")]
    pub(crate) state_dir: PathBuf,
    /// Dashboard and REST API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// Public ingester (data plane).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub(crate) ingest: SocketAddr,
    /// Ingester of the edge plane.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    pub(crate) edge_ingest: SocketAddr,
    /// Where agents dial the control plane; port 0 keeps the port of the first start.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) agents: SocketAddr,
    /// Where egresses dial the bridge.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) bridge: SocketAddr,
    /// Admin listener of all components: /livez /readyz /metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9600")]
    pub(crate) admin: SocketAddr,
    /// Send signed sample events both ways and show them delivered.
    #[arg(long)]
    pub(crate) demo: bool,
    /// End after the demo: exit code 0 only if everything was delivered.
    #[arg(long, requires = "demo")]
    pub(crate) once: bool,
    /// What is logged, such as `info` or `warn,zen_egress=debug`.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(crate) log_level: String,
    /// OTLP/gRPC collector for traces, `http://host:4317`.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

/// The kind of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// In a customer's network.
    Edge,
    /// Run by the operator, for many tenants.
    Data,
}

#[derive(Subcommand)]
pub(crate) enum Plane {
    /// Register a plane.
    Create {
        /// Its name.
        name: String,
        /// Its kind.
        #[arg(long, value_enum, default_value_t = Kind::Edge)]
        kind: Kind,
        /// The data plane an edge plane uses, by name or id.
        #[arg(long, value_name = "PLANE")]
        data_plane: Option<String>,
    },
    /// List planes.
    List,
    /// Show one plane with its components and its timeline.
    Show {
        /// Name or id.
        plane: String,
    },
    /// Issue a bundle and print the command that enrols the plane. Earlier unredeemed bundles die.
    InstallCommand(Bundle),
    /// Issue a new bundle; every earlier unredeemed one is refused from now on.
    Regenerate(Bundle),
    /// Measure every way of a plane: to its agent, between its components, to its targets.
    Probe {
        /// Name or id.
        plane: String,
    },
    /// Give a plane a new CA with a new key, and its components new certificates; nothing stops.
    RotateCa {
        /// Name or id.
        plane: String,
    },
    /// Retire a plane: its identity is revoked, its agent stops.
    Retire {
        /// Name or id.
        plane: String,
    },
}

#[derive(Args)]
pub(crate) struct Bundle {
    /// Name or id.
    pub(crate) plane: String,
    /// Life of the bundle in minutes (5 to 1,440).
    #[arg(long, value_name = "MINUTES")]
    pub(crate) ttl: Option<u64>,
    /// An age recipient that alone shall open the bundle; no identity is made then. On Kubernetes the
    /// plane's zen-lock opens it, which holds the recipient's identity.
    #[arg(long, value_name = "AGE1…")]
    pub(crate) recipient: Option<String>,
    /// Write `bundle.age`, and `identity.txt` if one was made, into this folder instead of printing a
    /// command.
    #[arg(long, value_name = "DIR")]
    pub(crate) write_to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) way: Way,
}

/// How a plane is installed: on Kubernetes, unless otherwise said.
#[derive(Args)]
pub(crate) struct Way {
    /// A command for a machine without Kubernetes.
    #[arg(long, conflicts_with_all = ["gitops", "ingester", "egress", "lock", "namespace"])]
    pub(crate) edge_lite: bool,
    /// Manifests and values to commit, without the identity; that comes by itself.
    #[arg(long)]
    pub(crate) gitops: bool,
    /// Take webhooks in the plane.
    #[arg(long)]
    pub(crate) ingester: bool,
    /// Deliver to services of the plane.
    #[arg(long)]
    pub(crate) egress: bool,
    /// Open secrets in the plane, with zen-lock; --recipient brings it by itself.
    #[arg(long)]
    pub(crate) lock: bool,
    /// Namespace (zen-mesh).
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Endpoint {
    /// Create an endpoint.
    Create {
        /// Its name.
        name: String,
        /// The plane it lives in, by name or id.
        #[arg(long)]
        plane: String,
        /// How posts are verified: none, standard-webhooks, github, stripe.
        #[arg(long, default_value = "none")]
        scheme: String,
        /// A secret by reference (`file:<name>`, `lock:<name>`); may be repeated.
        #[arg(long = "secret", value_name = "REF")]
        secrets: Vec<String>,
    },
    /// List endpoints with their URLs.
    List,
    /// Send a signed sample event by the way of a webhook; it goes to the endpoint's flows.
    Test {
        /// Name or id.
        endpoint: String,
    },
    /// Remove an endpoint; it answers 410 from then on.
    Delete {
        /// Name or id.
        endpoint: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Target {
    /// Create a target.
    Create {
        /// Its name.
        name: String,
        /// The plane it is reached from, by name or id.
        #[arg(long)]
        plane: String,
        /// Where deliveries are posted.
        #[arg(long)]
        url: String,
        /// A signing secret by reference (`file:<name>`, `lock:<name>`); may be repeated.
        #[arg(long = "signing-secret", value_name = "REF")]
        signing_secrets: Vec<String>,
    },
    /// List targets.
    List,
    /// Call a target once, by the way of a delivery, marked `x-zen-test: 1`. Nothing is kept.
    Test {
        /// Name or id.
        target: String,
    },
    /// Remove a target.
    Delete {
        /// Name or id.
        target: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Flow {
    /// Create a flow from an endpoint to a target.
    Create {
        /// Its name.
        name: String,
        /// Name or id.
        #[arg(long)]
        endpoint: String,
        /// Name or id.
        #[arg(long)]
        target: String,
        /// Attempts before a delivery becomes a dead letter.
        #[arg(long)]
        max_attempts: Option<u32>,
    },
    /// List flows.
    List,
    /// Remove a flow.
    Delete {
        /// Name or id.
        flow: String,
    },
}

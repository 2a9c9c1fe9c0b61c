//! The control plane as a component: what it opens and binds, and the tasks it runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::transport::Server;
use zen_chassis::chain::Chain;
use zen_chassis::clock::{millis, to_unix_ms};
use zen_chassis::ready::Condition;
use zen_chassis::{App, Stage, net};
use zen_identity::{AcceptOptions, ClientAuth, Expect, LiveIdentity, accept};
use zen_proto::component::Component;
use zen_proto::enrollment::v1::enrollment_service_server::EnrollmentServiceServer;
use zen_proto::ids::TenantId;
use zen_proto::limits;
use zen_proto::session::v1::session_service_server::SessionServiceServer;

use crate::authority::Authority;
use crate::config::{Config, addresses, host, reachable};
use crate::control::{Control, Times};
use crate::dashboard::Kept;
use crate::enrollment::{self, Enrollment};
use crate::housekeeping;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::people::{self, People};
use crate::publisher::{self, Touched};
use crate::replicas::Replica;
use crate::session::Sessions;
use crate::store::{Engine, StoreError};
use crate::{rest, setup};

/// Sessions on their way to a welcome at once; more are asked to come a little later.
const OPENINGS: usize = 256;
/// Pause between two looks whether the database answers.
const DATABASE_CHECK: Duration = Duration::from_secs(2);
/// Calls of one agent's connection at the same time.
const CALLS: usize = 16;
/// Pause between HTTP/2 pings on an agent's connection. They only clear away connections without a
/// session: of a session that is lost, missing heartbeats tell sooner.
const PING: Duration = Duration::from_secs(60);
/// Time for the answer to a ping.
const PONG: Duration = Duration::from_secs(10);
/// Pause between two looks at the roots; another control plane may have changed them.
const ROOTS_LOOK: Duration = Duration::from_secs(1);
/// Longest sleep before the leaf's age is looked at again, and pause after a renewal that failed.
const LEAF_CHECK: Duration = Duration::from_secs(60 * 60);

/// Dashboard, REST API, bundles, certificate authority, sessions, desired configuration.
pub struct ControlPlane {
    control: Arc<Control>,
    /// This control plane among others; none on SQLite.
    replica: Option<Replica>,
    database: Condition,
    http: TcpListener,
    http_address: SocketAddr,
    agents: TcpListener,
    agents_address: SocketAddr,
    api_key_file: PathBuf,
    default_tenant: TenantId,
    sign_in_link: Option<String>,
}

impl ControlPlane {
    /// Where the REST API listens.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where agents are listened for.
    #[must_use]
    pub const fn agents_address(&self) -> SocketAddr {
        self.agents_address
    }

    /// The file with the owner's API key, written at the first start.
    #[must_use]
    pub fn api_key_file(&self) -> &Path {
        &self.api_key_file
    }

    /// Where the first owner signs in, as long as they have not: whoever has this link can. Also
    /// in the file `sign-in-link` of the state directory.
    #[must_use]
    pub fn sign_in_link(&self) -> Option<String> {
        self.sign_in_link.clone()
    }

    /// The tenant that data planes belong to.
    #[must_use]
    pub fn operator_tenant(&self) -> TenantId {
        self.control.operator_tenant
    }

    /// The tenant that the owner's API key belongs to.
    #[must_use]
    pub const fn default_tenant(&self) -> TenantId {
        self.default_tenant
    }

    /// PEM of the root certificates, as agents get them in their bundles.
    #[must_use]
    pub fn trust_bundle_pem(&self) -> String {
        self.control.authority.trust_bundle_pem().to_string()
    }
}

impl App for ControlPlane {
    type Config = Config;

    const COMPONENT: &'static str = "control-plane";

    async fn bind(config: Config, stage: &Stage) -> anyhow::Result<Self> {
        let trust_domain = config.check()?;
        let opened = setup::open(&config, &trust_domain, stage).await?;
        let (http, http_address) = net::bind_tcp("http.listen", config.http.listen).await?;
        let (agents, agents_address) = net::bind_tcp("agents.listen", config.agents.listen).await?;
        let advertise = config.agents.advertise.clone();
        let advertise = advertise.unwrap_or_else(|| reachable(agents_address).to_string());
        let advertise = addresses(&advertise).collect::<Vec<_>>().join(",");
        let hosts = addresses(&advertise).map(host).collect();
        let authority = Authority::open(
            &opened.found.roots,
            opened.root_identity.clone(),
            &trust_domain,
            hosts,
            LiveIdentity::new(stage.clock.time_provider()),
            stage.clock.now(),
        )?;
        let reached = format!("http://{}/", reachable(http_address));
        let people = People::new(&config, &reached, opened.root_identity, &stage.random)?;
        let (live, asked) = match opened.store.engine() {
            Engine::Sqlite => (Live::default(), None),
            Engine::Postgres => {
                let (live, asked) = Live::shared();
                (live, Some(asked))
            }
        };
        let control = Arc::new(Control {
            stage: stage.clone(),
            store: opened.store,
            authority,
            live,
            touched: Touched::default(),
            metrics: Metrics::new(&stage.meter),
            kept: Kept::default(),
            trust_domain,
            operator_tenant: opened.found.operator_tenant,
            default_tenant: opened.found.default_tenant,
            people,
            agents_advertise: advertise,
            image_registry: config.install.image_registry.clone(),
            openings: Arc::new(Semaphore::new(OPENINGS)),
            times: Times {
                bundle_ttl: config.bundle_ttl,
                heartbeat_interval: config.heartbeat_interval,
                heartbeat_lost: config.heartbeat_lost,
                query_timeout: config.query_timeout,
            },
            recovery_budget: config.recovery_budget,
        });
        let sign_in_link = control.first_owner().await?;
        if !http_address.ip().is_loopback() && !control.people.cookies.secure {
            tracing::warn!(
                http = %http_address,
                "listening beyond this machine without TLS: set http.url to the https address of \
                 the proxy in front"
            );
        }
        tracing::info!(http = %http_address, agents = %agents_address, "control plane bound");
        show_state(&control);
        Ok(Self {
            replica: asked.map(|asked| Replica::new(Arc::clone(&control), asked)),
            database: stage.ready.condition("database", "not looked at yet"),
            control,
            http,
            http_address,
            agents,
            agents_address,
            api_key_file: opened.api_key_file,
            default_tenant: opened.found.default_tenant,
            sign_in_link,
        })
    }

    async fn run(self, stage: Stage) -> anyhow::Result<()> {
        let Self {
            control,
            replica,
            database,
            http,
            agents,
            ..
        } = self;
        let watching = watch_database(Arc::clone(&control), database);
        stage.tasks.spawn("database", watching);
        if let Some(replica) = replica {
            let stop = stage.shutdown.clone();
            stage.tasks.spawn("replica", replica.run(stop));
        }
        let publishing = publisher::run(Arc::clone(&control), stage.shutdown.clone());
        stage.tasks.spawn("publisher", publishing);
        let tidying = housekeeping::run(Arc::clone(&control), stage.shutdown.clone());
        stage.tasks.spawn("housekeeping", tidying);
        stage
            .tasks
            .spawn("roots", watch_roots(Arc::clone(&control)));
        stage.tasks.spawn("leaf", renew_leaf(Arc::clone(&control)));
        stage
            .tasks
            .spawn("agents", serve_agents(Arc::clone(&control), agents));
        let clearing = people::clear(Arc::clone(&control));
        stage.tasks.spawn("sessions", clearing);
        let router = rest::router(Arc::clone(&control));
        let serving = rest::serve(http, router, stage.shutdown.clone());
        stage.tasks.spawn("rest", serving);
        // Sessions and requests under way end with the stage's tasks, which the caller joins.
        stage.shutdown.cancelled().await;
        Ok(())
    }
}

/// Looks whether the database answers, and says so in readiness.
async fn watch_database(control: Arc<Control>, shown: Condition) -> Result<(), StoreError> {
    let stop = control.stage.shutdown.clone();
    let mut lost = false;
    loop {
        match control.store.check().await {
            Ok(()) => {
                if lost {
                    tracing::info!("the database answers again");
                }
                lost = false;
                shown.ready();
            }
            Err(error) => {
                if !lost {
                    tracing::error!(error = %Chain(&error), "the database is lost");
                }
                lost = true;
                shown.not_ready(format!("{}: {}", error.code(), Chain(&error)));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(DATABASE_CHECK) => {}
        }
    }
}

fn show_state(control: &Arc<Control>) {
    let live = control.live.clone();
    control.stage.views.add(
        "sessions",
        move || serde_json::json!({ "open": live.sessions() }),
    );
}

/// Enrolment and sessions on one port: the first without a certificate, the second with an agent's.
async fn serve_agents(control: Arc<Control>, listener: TcpListener) -> anyhow::Result<()> {
    let expect = Expect::any_component(&[Component::Agent]);
    let tls = control
        .authority
        .identity()
        .server_config(expect, ClientAuth::Optional)?;
    let counted = Arc::clone(&control);
    let options = AcceptOptions {
        on_refused: Some(Arc::new(move |code| {
            counted.metrics.handshake_refused(code)
        })),
        ..AcceptOptions::default()
    };
    let enrollment = EnrollmentServiceServer::new(Enrollment::new(Arc::clone(&control)))
        .max_decoding_message_size(enrollment::REQUEST);
    let sessions = SessionServiceServer::new(Sessions::new(Arc::clone(&control)))
        .max_decoding_message_size(limits::SESSION_MESSAGE);
    let stop = control.stage.shutdown.clone();
    Server::builder()
        .concurrency_limit_per_connection(CALLS)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG))
        .add_service(enrollment)
        .add_service(sessions)
        .serve_with_incoming_shutdown(accept(listener, tls, options), stop.cancelled_owned())
        .await?;
    Ok(())
}

/// Takes up what became of the roots, here or on another control plane.
async fn watch_roots(control: Arc<Control>) -> anyhow::Result<()> {
    let stop = control.stage.shutdown.clone();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(ROOTS_LOOK) => {}
        }
        control.look_at_roots().await;
    }
}

/// Renews the control plane's leaf at half its life, under open servers.
async fn renew_leaf(control: Arc<Control>) -> anyhow::Result<()> {
    let stop = control.stage.shutdown.clone();
    loop {
        let not_after = control.authority.identity().leaf_not_after();
        control
            .metrics
            .leaf_not_after(not_after.map_or(0, |end| to_unix_ms(end) / 1000));
        let renew_at = control.authority.renew_at().map_or(0, to_unix_ms);
        let wait = Duration::from_millis(renew_at.saturating_sub(control.stage.clock.unix_ms()));
        let pause = if wait.is_zero() {
            match control.authority.renew_leaf(control.stage.clock.now()) {
                Ok(()) => {
                    tracing::info!("control plane leaf renewed");
                    continue;
                }
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "cannot renew the leaf, trying again");
                    LEAF_CHECK
                }
            }
        } else {
            wait.min(LEAF_CHECK)
        };
        tracing::debug!(milliseconds = millis(pause), "leaf looked at");
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

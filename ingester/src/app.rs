//! The ingester as a component: everything is opened and bound first, then it runs, then it ends in the order in
//! which an event goes: intake, roads, journal.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use zen_chassis::neighbour::{Neighbour, Question};
use zen_chassis::net;
use zen_chassis::secret::{LockClient, Opened, SecretStore};
use zen_chassis::{App, CancellationToken, Stage};
use zen_journal::Cursor;
use zen_proto::agent::v1::Slice;
use zen_proto::component::Component;
use zen_proto::session::v1::ComponentStatus;

use crate::config::Config;
use crate::configure::{Configuration, apply_kept, wanted};
use crate::counters::Counters;
use crate::dispatch::{RoadContext, ToBridge, ToEgress, travel};
use crate::intake::{Bounds, Door, Intake, LiveCertificate, is_traced};
use crate::metrics::Metrics;
use crate::plan::Road;
use crate::questions::Answers;
use crate::status::{Progress, oldest};
use crate::store::{Keeper, Store};

/// Requests under way have at the most so long after shutdown; the roads and the journal need some of the frame's
/// grace too.
const DRAIN: Duration = Duration::from_secs(15);

/// Time for zen-lock to open what is needed before anybody is let in.
const FIRST_SECRETS: Duration = Duration::from_secs(2);

/// The ingester, opened and bound.
pub struct Ingester {
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    certificate: Option<LiveCertificate>,
    neighbour: Neighbour,
    configuration: Arc<Configuration>,
    lock: Option<LockClient>,
    counters: Counters,
    store: Store,
    keeper: Keeper,
    metrics: Metrics,
    egress: ToEgress,
    roads: [(Progress, Cursor); 2],
}

impl Ingester {
    /// Where webhooks arrive, as bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL told to the control plane: the one configured, or the bound address.
    fn public_url(&self) -> String {
        self.config.public_url.clone().unwrap_or_else(|| {
            let scheme = if self.certificate.is_some() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{}", reachable(self.address))
        })
    }
}

impl App for Ingester {
    type Config = Config;

    const COMPONENT: &'static str = "ingester";

    async fn bind(config: Config, stage: &Stage) -> anyhow::Result<Self> {
        config.check()?;
        let certificate = config.tls.as_ref().map(LiveCertificate::read).transpose()?;
        let neighbour = Neighbour::open(
            Component::Ingester,
            &config.agent,
            Some(&config.state_dir),
            stage,
        )?;
        let egress = config
            .egress
            .as_ref()
            .map(|address| neighbour.way(Component::Egress, address))
            .transpose()
            .context("egress")?;
        let folder = config.state_dir.join("journal");
        let (store, keeper) = Store::open(&folder, &config.journal, stage).await?;
        let egress_cursor = store.journal().cursor(Road::Egress.as_str()).await?;
        let bridge_cursor = store.journal().cursor(Road::Bridge.as_str()).await?;
        let counters = Counters::default();
        let lock = config
            .lock
            .as_ref()
            .map(|address| LockClient::new(address, &neighbour, stage))
            .transpose()
            .context("lock")?;
        let secrets = SecretStore::in_folder(config.secrets_dir.clone())
            .with_opened(lock.as_ref().map(LockClient::opened));
        let configuration = Arc::new(Configuration::new(secrets, counters.clone()));
        apply_kept(&configuration, &neighbour).await?;
        let (listener, address) = net::bind_tcp("listen", config.listen).await?;
        tracing::info!(%address, tls = certificate.is_some(), "listening for webhooks");
        Ok(Self {
            config,
            address,
            listener,
            certificate,
            neighbour,
            configuration,
            lock,
            counters,
            store,
            keeper,
            metrics: Metrics::new(&stage.meter),
            egress: ToEgress(egress),
            roads: [
                (
                    Progress::new(Road::Egress, egress_cursor.position()),
                    egress_cursor,
                ),
                (
                    Progress::new(Road::Bridge, bridge_cursor.position()),
                    bridge_cursor,
                ),
            ],
        })
    }

    async fn run(self, stage: Stage) -> anyhow::Result<()> {
        let public_url = self.public_url();
        let progress = [self.roads[0].0.clone(), self.roads[1].0.clone()];
        let (asked_progress, asked_egress) = (progress.clone(), self.egress.0.clone());
        Metrics::observe(&stage.meter, &self.store, &progress);
        show_state(&stage, &self, &public_url, &progress);

        // From the agent: what is configured; to it: how it goes.
        let status = StatusFill {
            public_url,
            store: self.store.clone(),
            counters: self.counters.clone(),
            progress,
        };
        let neighbour = self.neighbour.start(move |into| status.fill(into));
        let opened = self
            .lock
            .map(|lock| keep_open(&stage, lock, neighbour.slice.clone()));
        let applied = Arc::clone(&self.configuration).keep_applied(
            neighbour.slice.clone(),
            opened.as_ref().map(Opened::changes),
            stage.shutdown.clone(),
        );
        stage.tasks.spawn("configure", applied);
        stage
            .tasks
            .spawn("keep journal", self.keeper.keep(stage.shutdown.clone()));
        if let Some(certificate) = self.certificate.clone() {
            stage.tasks.spawn(
                "keep certificate",
                certificate.keep_read(stage.shutdown.clone()),
            );
        }

        // Out: the two roads, which go on until the intake has ended.
        let stop_roads = CancellationToken::new();
        let context = |progress: Progress| RoadContext {
            journal: self.store.journal().clone(),
            plan: self.configuration.plan(),
            progress,
            metrics: self.metrics.clone(),
            clock: stage.clock.clone(),
            random: stage.random.clone(),
            stop: stop_roads.clone(),
        };
        let [egress, bridge] = self.roads;
        let to_egress = travel(context(egress.0), egress.1, self.egress);
        let to_bridge = travel(
            context(bridge.0),
            bridge.1,
            ToBridge::new(neighbour.identity),
        );
        let roads = spawn_roads(&stage, to_egress, to_bridge);

        // In: webhooks, until shutdown and the end of requests under way.
        let appends = TaskTracker::new();
        let intake = Intake {
            configuration: Arc::clone(&self.configuration),
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            stage: stage.clone(),
            appends: appends.clone(),
            request_timeout: self.config.request_timeout,
            traced: is_traced(),
        };
        let intake = Arc::new(intake);
        let answers = Answers {
            intake: Arc::clone(&intake),
            egress: asked_egress,
            progress: asked_progress,
            instance: self.config.agent.instance.clone(),
        };
        spawn_answers(&stage, answers, neighbour.questions);
        let door = open_door(
            &self.config,
            self.listener,
            self.certificate.as_ref(),
            intake,
        )?;
        await_secrets(opened.as_ref()).await;
        door.serve(&stage).await;
        appends.close();
        appends.wait().await;
        stop_roads.cancel();
        roads.await;
        self.store.journal().close().await;
        Ok(())
    }
}

/// Starts both roads as tasks; the answer waits until both have ended.
fn spawn_roads(
    stage: &Stage,
    to_egress: impl Future<Output = ()> + Send + 'static,
    to_bridge: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> {
    let (under_way, mut ended) = mpsc::channel::<Infallible>(1);
    let held = under_way.clone();
    stage.tasks.spawn("road to the egress", async move {
        to_egress.await;
        drop(held);
        anyhow::Ok(())
    });
    stage.tasks.spawn("road to the bridge", async move {
        to_bridge.await;
        drop(under_way);
        anyhow::Ok(())
    });
    async move {
        // No message is ever sent: the channel closes when both roads have let go of it.
        let _none = ended.recv().await;
    }
}

/// Answers the control plane's questions until shutdown.
fn spawn_answers(stage: &Stage, answers: Answers, questions: mpsc::Receiver<Question>) {
    let (stop, answering) = (stage.shutdown.clone(), answers.give(questions));
    stage.tasks.spawn("questions", async move {
        stop.run_until_cancelled_owned(answering).await;
        anyhow::Ok(())
    });
}

/// Keeps what zen-lock opens, until shutdown.
fn keep_open(
    stage: &Stage,
    lock: LockClient,
    slices: watch::Receiver<Option<Arc<Slice>>>,
) -> Opened {
    let opened = lock.opened();
    let keeping = lock.keep(slices, wanted);
    stage.tasks.spawn("secrets of zen-lock", keeping);
    opened
}

/// What knocks waits at the socket meanwhile: it would only hear that its secret is not open yet.
async fn await_secrets(opened: Option<&Opened>) {
    if let Some(opened) = opened {
        let _asked = tokio::time::timeout(FIRST_SECRETS, opened.asked_once()).await;
    }
}

fn open_door(
    config: &Config,
    listener: TcpListener,
    certificate: Option<&LiveCertificate>,
    intake: Arc<Intake>,
) -> anyhow::Result<Door> {
    let tls = certificate
        .map(LiveCertificate::server_config)
        .transpose()?;
    Ok(Door {
        listener,
        tls: tls.map(TlsAcceptor::from),
        bounds: Bounds {
            connections: config.max_connections,
            header_timeout: config.header_timeout,
            drain: config.request_timeout.min(DRAIN),
        },
        intake,
    })
}

/// What only the ingester knows of its status.
struct StatusFill {
    public_url: String,
    store: Store,
    counters: Counters,
    progress: [Progress; 2],
}

impl StatusFill {
    fn fill(&self, status: &mut ComponentStatus) {
        let end = self.store.journal().end();
        status.advertised_address.clone_from(&self.public_url);
        let depths = self.progress.iter().map(|road| road.lag_records(end));
        status.queue_depth = depths.max().unwrap_or(0);
        status.oldest_pending_ms = oldest(self.progress.iter().map(Progress::oldest_ms));
        status.counters = self.counters.report();
    }
}

fn show_state(stage: &Stage, app: &Ingester, public_url: &str, progress: &[Progress; 2]) {
    let (configuration, address) = (Arc::clone(&app.configuration), app.address);
    let (store, public_url) = (app.store.clone(), public_url.to_owned());
    stage.views.add("intake", move || {
        let table = configuration.table();
        let table = table.as_ref();
        let missing = table.map_or(&[][..], |table| table.missing());
        json!({
            "address": address.to_string(),
            "public_url": public_url,
            "revision": table.map(|table| table.revision),
            "secrets_unavailable": missing.iter().map(|secret| json!({
                "endpoint": secret.endpoint,
                "secret": secret.reference,
                "code": secret.code,
            })).collect::<Vec<_>>(),
            "endpoints_misconfigured": table.iter().flat_map(|table| table.faults())
                .map(|(endpoint, fault)| json!({ "endpoint": endpoint, "fault": fault }))
                .collect::<Vec<_>>(),
            "source_ids_known": store.dedupe().len(),
        })
    });
    let (store, roads) = (app.store.clone(), progress.clone());
    stage.views.add("dispatch", move || {
        let end = store.journal().end();
        roads
            .iter()
            .map(|road| (road.road().as_str().to_owned(), road.view(end)))
            .collect()
    });
    let store = app.store.clone();
    stage.views.add("journal", move || {
        let stats = store.stats();
        json!({
            "bytes": stats.bytes,
            "segments": stats.segments,
            "appended": stats.appended,
            "syncs": stats.syncs,
            "queued": stats.queued,
            "last_sync_us": stats.last_sync.as_micros(),
            "poisoned": stats.poisoned,
            "corruptions": stats.corruptions,
        })
    });
}

/// The bound address as a neighbour on this machine reaches it.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_told_as_loopback() {
        assert_eq!(
            reachable("0.0.0.0:80".parse().unwrap()).to_string(),
            "127.0.0.1:80"
        );
        assert_eq!(
            reachable("[::]:80".parse().unwrap()).to_string(),
            "[::1]:80"
        );
        assert_eq!(
            reachable("192.0.2.1:80".parse().unwrap()).to_string(),
            "192.0.2.1:80"
        );
    }
}

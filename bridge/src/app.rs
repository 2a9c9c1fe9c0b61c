//! The bridge as an application: what it opens and binds, what runs, how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tonic::transport::Server;
use zen_chassis::neighbour::{Neighbour, Question};
use zen_chassis::{App, CancellationToken, Stage, clock, net};
use zen_identity::{AcceptOptions, ClientAuth, Expect, LiveIdentity, accept};
use zen_proto::agent::v1::Slice;
use zen_proto::component::Component;
use zen_proto::ids::PlaneId;
use zen_proto::limits;
use zen_proto::query::v1::{QueryError, answer};
use zen_proto::relay::v1::relay_service_server::RelayServiceServer;
use zen_proto::session::v1::{ComponentStatus, FlowCounters};

use crate::config::Config;
use crate::lane::LaneSetup;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::served::Served;
use crate::service::{Relay, Service};

/// Pause between pings on an idle connection, and how long their answer may take: a peer that
/// vanished without a word is detached after both.
const PING: Duration = Duration::from_secs(15);
const PONG: Duration = Duration::from_secs(10);
/// Bytes one stream and one connection may have sent and not seen taken: enough for a batch on a
/// long way.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Time for open connections to end after shutdown; their streams have ended then.
const GOODBYE: Duration = Duration::from_secs(5);

/// A bound bridge.
pub struct Bridge {
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
    neighbour: Neighbour,
    relay: Arc<Relay>,
    served: watch::Sender<Arc<Served>>,
    /// Planes whose lanes an earlier process left.
    existing: Vec<PlaneId>,
}

impl App for Bridge {
    type Config = Config;

    const COMPONENT: &'static str = "bridge";

    async fn bind(config: Config, stage: &Stage) -> anyhow::Result<Self> {
        config.check()?;
        let mut neighbour = Neighbour::open(
            Component::Bridge,
            &config.agent,
            Some(&config.state_dir),
            stage,
        )?;
        neighbour.require_identity();
        let metrics = Arc::new(Metrics::new(&stage.meter));
        let setup = LaneSetup {
            settings: config.lane.clone(),
            max_in_flight: config.max_in_flight_per_attachment,
            clock: stage.clock.clone(),
            metrics: Arc::clone(&metrics),
            closing: CancellationToken::new(),
        };
        let lanes = Lanes::new(config.state_dir.join("lanes"), setup, stage.tasks.clone())
            .context("state_dir")?;
        let existing = lanes.existing().context("state_dir")?;
        let (listener, address) = net::bind_tcp("listen", config.listen).await?;
        tracing::info!(%address, "listener bound");
        let (served, watched) = watch::channel(Arc::new(served_by(&neighbour.slice.borrow())));
        let relay = Arc::new(Relay {
            lanes,
            served: watched,
            identity: neighbour.identity.clone(),
            clock: stage.clock.clone(),
            metrics,
            tasks: stage.tasks.clone(),
            shutdown: stage.shutdown.clone(),
            places: Arc::new(Semaphore::new(config.max_streams)),
        });
        show(stage, &relay);
        Ok(Self {
            config,
            listener,
            address,
            neighbour,
            relay,
            served,
            existing,
        })
    }

    async fn run(self, stage: Stage) -> anyhow::Result<()> {
        let Self {
            config,
            listener,
            address,
            neighbour,
            relay,
            served,
            existing,
        } = self;
        let advertised = config.advertised(address);
        let fill = {
            let relay = Arc::clone(&relay);
            move |status: &mut ComponentStatus| {
                fill(status, &relay, &advertised);
            }
        };
        let started = neighbour.start(fill);
        stage.tasks.spawn(
            "served planes",
            follow(started.slice, served, stage.clone()),
        );
        stage.tasks.spawn(
            "questions",
            answer_questions(started.questions, stage.clone()),
        );
        let lanes = relay.lanes.clone();
        stage.tasks.spawn_side(
            "open lanes",
            async move { lanes.open_existing(existing).await },
        );
        let outcome = tokio::select! {
            () = identity_of(&relay.identity) => serve(listener, &relay, &stage).await,
            () = stage.shutdown.cancelled() => Ok(()),
        };
        // After a failure the streams shall end too, and every lane must be closed before the end.
        stage.shutdown.cancel();
        relay.lanes.close().await;
        outcome
    }
}

impl Bridge {
    /// The bound address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Resolves once there is a certificate to show.
async fn identity_of(identity: &LiveIdentity) {
    let mut changes = identity.changed();
    while !identity.has_leaf() {
        if changes.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Serves the relay until shutdown.
async fn serve(listener: TcpListener, relay: &Arc<Relay>, stage: &Stage) -> anyhow::Result<()> {
    let expect = Expect::any_component(&[Component::Ingester, Component::Egress]);
    let tls = relay.identity.server_config(expect, ClientAuth::Required)?;
    let connections = accept(listener, tls, AcceptOptions::default());
    let service = RelayServiceServer::new(Service(Arc::clone(relay)))
        .max_decoding_message_size(limits::DELIVERY_MESSAGE)
        .max_encoding_message_size(limits::DELIVERY_MESSAGE);
    let server = Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(service)
        .serve_with_incoming_shutdown(connections, stage.shutdown.clone().cancelled_owned());
    let late = async {
        stage.shutdown.cancelled().await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        outcome = server => outcome.context("the relay's server failed"),
        () = late => {
            tracing::warn!("connections were still open at the end");
            Ok(())
        }
    }
}

/// Keeps what is served as the newest configuration says.
async fn follow(
    mut slices: watch::Receiver<Option<Arc<Slice>>>,
    served: watch::Sender<Arc<Served>>,
    stage: Stage,
) -> anyhow::Result<()> {
    loop {
        let now = Arc::new(served_by(&slices.borrow_and_update()));
        served.send_if_modified(|known| {
            let changed = **known != *now;
            if changed {
                tracing::info!(planes = now.len(), "served planes changed");
                *known = now;
            }
            changed
        });
        tokio::select! {
            changed = slices.changed() => if changed.is_err() {
                // Nothing more comes; what is known stays in force until the end.
                stage.shutdown.cancelled().await;
                return Ok(());
            },
            () = stage.shutdown.cancelled() => return Ok(()),
        }
    }
}

fn served_by(slice: &Option<Arc<Slice>>) -> Served {
    Neighbour::snapshot(slice)
        .map(Served::from_snapshot)
        .unwrap_or_default()
}

/// A bridge knows nothing of deliveries: their content is sealed to it.
async fn answer_questions(
    mut questions: mpsc::Receiver<Question>,
    stage: Stage,
) -> anyhow::Result<()> {
    loop {
        let question = tokio::select! {
            question = questions.recv() => question,
            () = stage.shutdown.cancelled() => return Ok(()),
        };
        let Some(question) = question else {
            stage.shutdown.cancelled().await;
            return Ok(());
        };
        let error = QueryError {
            code: "QUERY_INVALID".to_owned(),
            detail: "a bridge answers no questions about deliveries; ask the plane's egress"
                .to_owned(),
        };
        // Whoever asked may have given up.
        let _heard = question.reply.send(answer::Answer::Error(error));
    }
}

/// What the agent is told beside what every component tells.
fn fill(status: &mut ComponentStatus, relay: &Relay, advertised: &str) {
    let lanes = relay.lanes.figures();
    status.advertised_address = advertised.to_owned();
    status.queue_depth = lanes.iter().map(|(_, lane)| lane.backlog).sum();
    let waiting = lanes
        .iter()
        .map(|(_, lane)| lane.oldest_ms)
        .filter(|oldest| *oldest != 0);
    status.oldest_pending_ms = waiting.min().unwrap_or(0);
    // The bridge does not know flows: one count for all of them.
    let expired = relay.metrics.expired_since_start();
    if expired > 0 {
        status.counters.push(FlowCounters {
            expired,
            ..FlowCounters::default()
        });
    }
}

/// The lanes in `/debug/state`, and the gauges that are read at each scrape.
fn show(stage: &Stage, relay: &Arc<Relay>) {
    let weak = Arc::downgrade(relay);
    let figures = move || {
        weak.upgrade()
            .map(|relay| relay.lanes.figures())
            .unwrap_or_default()
    };
    let waiting = figures.clone();
    stage
        .meter
        .u64_observable_gauge("zen_bridge_parcels_waiting")
        .with_description("parcels in all lanes that no egress has acknowledged")
        .with_callback(move |gauge| {
            gauge.observe(waiting().iter().map(|(_, lane)| lane.backlog).sum(), &[]);
        })
        .build();
    let identity = relay.identity.clone();
    stage
        .meter
        .u64_observable_gauge("zen_bridge_cert_not_after_timestamp")
        .with_unit("s")
        .with_description("when the certificate in use ends, Unix time")
        .with_callback(move |gauge| {
            if let Some(end) = identity.leaf_not_after() {
                gauge.observe(clock::to_unix_ms(end) / 1_000, &[]);
            }
        })
        .build();
    stage.views.add("lanes", move || {
        let lanes = figures().into_iter().map(|(plane, lane)| {
            let figures = serde_json::json!({
                "backlog": lane.backlog,
                "oldest_pending_ms": lane.oldest_ms,
                "unsettled_bytes": lane.bytes,
                "attached": lane.attached,
            });
            (plane.to_string(), figures)
        });
        lanes.collect()
    });
}

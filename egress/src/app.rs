//! The component: what it binds, which tasks it runs, how it ends.

use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use zen_chassis::neighbour::Neighbour;
use zen_chassis::net::{Address, Listener};
use zen_chassis::secret::{LockClient, SecretStore};
use zen_chassis::{App, Stage, files};
use zen_proto::component::Component;
use zen_proto::session::v1::{ComponentStatus, LinkHealth};

use crate::attempt::Courier;
use crate::config::Config;
use crate::counters::Counters;
use crate::dial;
use crate::guard::Guard;
use crate::health::Health;
use crate::intake::Intake;
use crate::ledger::{Ledger, Summary, Writer};
use crate::metrics::Metrics;
use crate::questions::Answers;
use crate::receive;
use crate::scheduler::{Lanes, PausedTargets, Shared, Told};
use crate::secrets::{self, Secrets};
use crate::targets::{self, Directory};
use crate::uplink::{Bridges, Link, Uplinks};

/// Largest file of public roots.
const CA_FILE: usize = 8 << 20;

/// zen-egress, bound and not yet running.
pub struct Egress {
    config: Config,
    neighbour: Neighbour,
    listener: Listener,
    local_address: Address,
    ledger: Ledger,
    writer: Writer,
    public_tls: Result<Arc<rustls::ClientConfig>, String>,
    lock: Option<LockClient>,
}

impl Egress {
    /// Where ingesters hand deliveries over: with the port that was taken, if any would do.
    #[must_use]
    pub const fn local_address(&self) -> &Address {
        &self.local_address
    }
}

impl App for Egress {
    type Config = Config;

    const COMPONENT: &'static str = "egress";

    async fn bind(config: Config, stage: &Stage) -> anyhow::Result<Self> {
        config.check()?;
        let mut neighbour = Neighbour::open(
            Component::Egress,
            &config.agent,
            Some(&config.state_dir),
            stage,
        )?;
        if matches!(config.listen, Address::Tcp(_)) {
            // Without one, no ingester gets past the handshake.
            neighbour.require_identity();
        }
        let (listener, local_address) = Listener::bind("listen", &config.listen).await?;
        let (ledger, writer) =
            Ledger::open(&config.state_dir, config.ledger(), stage.clock.clone())
                .await
                .with_context(|| format!("state_dir: {}", config.state_dir.display()))?;
        let public_tls = public_tls(&config, stage);
        let lock = config
            .lock
            .as_ref()
            .map(|address| LockClient::new(address, &neighbour, stage))
            .transpose()
            .context("lock")?;
        Ok(Self {
            config,
            neighbour,
            listener,
            local_address,
            ledger,
            writer,
            public_tls,
            lock,
        })
    }

    async fn run(self, stage: Stage) -> anyhow::Result<()> {
        let Self {
            config,
            neighbour,
            listener,
            ledger,
            writer,
            public_tls,
            lock,
            local_address: _,
        } = self;
        let (directory_in, directory) = watch::channel(Arc::new(Directory::default()));
        let secrets = SecretStore::in_folder(config.secrets_dir.clone())
            .with_opened(lock.as_ref().map(LockClient::opened));
        let secrets = Secrets::new(secrets);
        let parts = Parts::new(&config, &stage, ledger, public_tls, directory, secrets).await?;
        let Parts {
            intake,
            lanes,
            shared,
            bridges,
        } = &parts;
        show(
            &stage,
            intake.ledger.summary(),
            lanes,
            &shared.paused,
            bridges,
        );
        let status = fill(&parts);
        let agent = neighbour.start(status);

        let tasks = &stage.tasks;
        let told = Told {
            lanes: lanes.downgrade(),
            metrics: intake.metrics.clone(),
        };
        tasks.spawn("ledger writer", write(writer, told));
        if let Some(lock) = lock {
            let keeping = lock.keep(agent.slice.clone(), secrets::wanted);
            tasks.spawn("secrets of zen-lock", keeping);
        }
        let following = targets::follow(agent.slice.clone(), directory_in);
        tasks.spawn("configuration", until(&stage, following));
        let answers = Answers {
            shared: shared.clone(),
            bridges: bridges.clone(),
        };
        tasks.spawn("questions", until(&stage, answers.give(agent.questions)));
        lanes.start().await?;
        if config.attach {
            let uplinks = Uplinks {
                identity: agent.identity.clone(),
                intake: intake.clone(),
                instance: config.agent.instance.clone(),
                credit: config.credit,
                bridges: bridges.clone(),
                stage: stage.clone(),
            };
            tasks.spawn("uplinks", uplinks.run(agent.slice));
        }
        // The last answers need the ledger, so their end is waited for before it is closed.
        let stop = stage.shutdown.clone();
        let served = receive::serve(listener, &agent.identity, intake.clone(), stop).await;
        let asked = stage.shutdown.is_cancelled();
        stage.shutdown.cancel();
        lanes.finish().await;
        intake.ledger.close().await;
        served.context("local deliveries are no longer taken")?;
        anyhow::ensure!(asked, "local deliveries ended before shutdown");
        Ok(())
    }
}

/// What the tasks of a running egress share.
struct Parts {
    intake: Intake,
    lanes: Lanes,
    shared: Arc<Shared>,
    bridges: Bridges,
}

impl Parts {
    async fn new(
        config: &Config,
        stage: &Stage,
        ledger: Ledger,
        public_tls: Result<Arc<rustls::ClientConfig>, String>,
        directory: watch::Receiver<Arc<Directory>>,
        secrets: Secrets,
    ) -> anyhow::Result<Self> {
        let permits = Arc::new(Semaphore::new(config.max_in_flight));
        let paused = Arc::new(PausedTargets::default());
        for (target, pause) in ledger.paused().await? {
            paused.set(target, Some(pause));
        }
        let counters = Arc::new(Counters::default());
        let metrics = metrics(config, stage, &ledger, &permits, &paused);
        let shared = Shared {
            courier: Courier {
                ledger: ledger.clone(),
                secrets,
                clock: stage.clock.clone(),
                random: stage.random.clone(),
                metrics: metrics.clone(),
            },
            counters: counters.clone(),
            directory,
            guard: Arc::new(Guard {
                allow_private: config.allow_private,
                denied: config.denied_networks.clone(),
            }),
            public_tls,
            permits,
            paused,
            health: Health::default(),
            rules: config.rules(),
            instance: config.agent.instance.clone(),
            stage: stage.clone(),
        };
        let shared = Arc::new(shared);
        let lanes = Lanes::new(shared.clone());
        let intake = Intake {
            ledger,
            metrics,
            counters,
        };
        Ok(Self {
            intake,
            lanes,
            shared,
            bridges: Bridges::default(),
        })
    }
}

/// Runs something that does not end by itself until shutdown.
fn until(
    stage: &Stage,
    work: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let shutdown = stage.shutdown.clone();
    async move {
        shutdown.run_until_cancelled_owned(work).await;
        Ok(())
    }
}

/// Runs the writer on a thread of its own.
async fn write(writer: Writer, told: Told) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || writer.run(&runtime, &told)).await??;
    Ok(())
}

/// Trust in public roots; targets that need them fail with the reason if there are none.
fn public_tls(config: &Config, stage: &Stage) -> Result<Arc<rustls::ClientConfig>, String> {
    let read = || -> anyhow::Result<_> {
        let pem = files::read_capped(&config.ca_file, CA_FILE)?;
        Ok(dial::tls_config(&pem, &stage.clock)?)
    };
    read().map_err(|error| {
        let why = format!("ca_file: {error:#}");
        tracing::warn!(why, "targets with public certificates cannot be called");
        why
    })
}

fn metrics(
    config: &Config,
    stage: &Stage,
    ledger: &Ledger,
    permits: &Arc<Semaphore>,
    paused: &Arc<PausedTargets>,
) -> Metrics {
    let (permits, paused, most) = (permits.clone(), paused.clone(), config.max_in_flight);
    Metrics::new(
        &stage.meter,
        ledger.summary(),
        move || most.saturating_sub(permits.available_permits()) as u64,
        move || paused.len() as u64,
    )
}

/// What only the egress knows of its own status.
fn fill(parts: &Parts) -> impl Fn(&mut ComponentStatus) + Send + Sync + 'static {
    let summary = parts.intake.ledger.summary();
    let counters = parts.intake.counters.clone();
    let (shared, bridges) = (parts.shared.clone(), parts.bridges.clone());
    move |status| {
        let held = *summary.borrow();
        status.queue_depth = held.pending;
        status.oldest_pending_ms = held.oldest_accepted_ms;
        status.counters = counters.all();
        // Neither makes this egress unready: other targets and bridges are served.
        let directory = shared.directory.borrow().clone();
        let waiting = |target| shared.courier.ledger.waiting(target);
        status.targets = shared
            .health
            .list(&directory, &shared.paused.all(), waiting);
        status.links = bridges.all().into_iter().filter_map(apart).collect();
    }
}

/// A bridge that this egress tried to attach to in vain.
fn apart((address, link): (String, Link)) -> Option<LinkHealth> {
    let detail = link.apart.filter(|_| !link.untried)?;
    Some(LinkHealth {
        to: Component::Bridge.as_str().to_owned(),
        address,
        since_ms: link.since_ms,
        detail,
    })
}

fn show(
    stage: &Stage,
    summary: watch::Receiver<Summary>,
    lanes: &Lanes,
    paused: &Arc<PausedTargets>,
    bridges: &Bridges,
) {
    stage.views.add("ledger", move || {
        let held = *summary.borrow();
        json!({
            "pending": held.pending,
            "pending_bytes": held.pending_bytes,
            "oldest_accepted_ms": held.oldest_accepted_ms,
            "delivered": held.delivered,
            "dead_letters": held.dead_letters,
            "dead_bytes": held.dead_bytes,
        })
    });
    // The page outlives the component; it must not keep the ledger open.
    let (lanes, paused, bridges) = (lanes.downgrade(), paused.clone(), bridges.clone());
    stage.views.add("targets", move || {
        let gone: Vec<_> = paused
            .all()
            .iter()
            .map(|(target, _)| target.to_string())
            .collect();
        json!({ "lanes": lanes.len(), "paused": gone })
    });
    stage.views.add("bridges", move || {
        let all = bridges.all().into_iter();
        let state = |link: Link| link.apart.unwrap_or_else(|| "attached".to_owned());
        all.map(|(address, link)| (address, json!(state(link))))
            .collect()
    });
}

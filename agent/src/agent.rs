//! The agent as a component: binds, serves what it has, drives its plane.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use zen_chassis::net::{Address, Listener};
use zen_chassis::{App, Stage};

use crate::applied::{self, Held};
use crate::config::Config;
use crate::driver::{Course, Driver};
use crate::identity;
use crate::kubernetes::herald::Herald;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::{Kubernetes, KubernetesConfig};
use crate::local::Local;
use crate::local::admission::{Admission, TokenReviewer};
use crate::machine::State;
use crate::plane::{Plane, PlaneState};
use crate::store::{Directory, Store};

/// The agent, bound and not yet running.
pub struct Agent {
    address: Address,
    listener: Listener,
    admission: Admission,
    plane: Plane,
    way: Way,
}

/// What makes the agent act for its plane.
enum Way {
    /// It is the only one.
    Alone(Box<Driver>),
    /// It holds the lease, term by term.
    #[cfg(feature = "kubernetes")]
    Led(Box<Kubernetes>, Course),
}

impl Agent {
    /// Binds with a store of the caller's choosing in place of the configured one.
    ///
    /// # Errors
    /// When a setting is wrong, the socket is taken, or what is stored cannot be used.
    pub async fn bind_with(
        config: Config,
        store: Arc<dyn Store>,
        stage: &Stage,
    ) -> anyhow::Result<Self> {
        config.check()?;
        let enrolment = stage.ready.condition("enrollment", "waiting for a bundle");
        let held = load(&*store).await?;
        if held.identity.is_some() {
            enrolment.ready();
        }
        let plane = Plane::new(stage, store, Herald::silent()).through(config.proxy.clone());
        plane.enter(held);
        let driver = Driver::new(plane.clone(), course(&config), enrolment);
        Self::listen(&config, plane, Way::Alone(Box::new(driver))).await
    }

    #[cfg(feature = "kubernetes")]
    /// Binds with the state in a cluster. The API server may be away: the agent waits for it.
    async fn bind_led(
        config: Config,
        settings: KubernetesConfig,
        stage: &Stage,
    ) -> anyhow::Result<Self> {
        let kubernetes = Kubernetes::open(settings, stage).await?;
        let plane = Plane::new(stage, Kubernetes::no_store(), kubernetes.herald())
            .through(config.proxy.clone());
        let course = course(&config);
        let tokens = Arc::new(kubernetes.tokens());
        let way = Way::Led(Box::new(kubernetes), course);
        Ok(Self::listen(&config, plane, way)
            .await?
            .with_reviewer(tokens))
    }

    async fn listen(config: &Config, plane: Plane, way: Way) -> anyhow::Result<Self> {
        show_state(&plane);
        let (listener, address) = listen(config).await?;
        let admission = Admission::new(
            rustix::process::geteuid().as_raw(),
            &config.allowed_uids,
            plane.desk.clone(),
            plane.live.clone(),
            plane.metrics.clone(),
        );
        Ok(Self {
            address,
            listener,
            admission,
            plane,
            way,
        })
    }

    /// Has the tokens judged by which components without a certificate prove themselves over TCP.
    /// Without, only those with a certificate of the plane are served there.
    #[must_use]
    pub fn with_reviewer(mut self, reviewer: Arc<dyn TokenReviewer>) -> Self {
        self.admission.set_reviewer(reviewer);
        self
    }

    /// Where neighbours are served: with the port that was taken, if any would do.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Where the plane stands, now and at each change.
    #[must_use]
    pub fn plane(&self) -> watch::Receiver<PlaneState> {
        self.plane.state.subscribe()
    }
}

impl App for Agent {
    type Config = Config;

    const COMPONENT: &'static str = "agent";
    const THREADS: Option<usize> = Some(1);

    async fn bind(config: Config, stage: &Stage) -> anyhow::Result<Self> {
        config.check()?;
        if let Some(settings) = config.kubernetes.clone() {
            #[cfg(feature = "kubernetes")]
            return Self::bind_led(config, settings, stage).await;
            #[cfg(not(feature = "kubernetes"))]
            anyhow::bail!(
                "kubernetes: this program is made without it (for namespace {:?}); use zen-agent",
                settings.namespace
            );
        }
        let store = Directory::open(
            config.state_dir.clone(),
            config.bundle_file(),
            config.identity_file(),
        )
        .context("state_dir")?;
        Self::bind_with(config, Arc::new(store), stage).await
    }

    async fn run(self, stage: Stage) -> anyhow::Result<()> {
        let Self {
            address,
            listener,
            admission,
            plane,
            way,
        } = self;
        let local = Local {
            desk: plane.desk.clone(),
            roster: plane.roster.clone(),
            router: plane.router.clone(),
            outbox: plane.outbox.clone(),
            clock: stage.clock.clone(),
            stop: stage.shutdown.clone(),
            tasks: stage.tasks.clone(),
            admission,
            live: plane.live.clone(),
            metrics: plane.metrics.clone(),
        };
        tracing::info!(%address, "serving neighbours");
        stage.tasks.spawn("local api", local.serve(listener));
        match way {
            Way::Alone(driver) => {
                stage.tasks.spawn("leaf", plane.keep_leaf());
                stage.tasks.spawn("plane", driver.run());
            }
            #[cfg(feature = "kubernetes")]
            Way::Led(kubernetes, course) => {
                stage.tasks.spawn("lease", kubernetes.lead(plane, course));
            }
        }
        stage.shutdown.cancelled().await;
        Ok(())
    }
}

fn course(config: &Config) -> Course {
    Course {
        expected: config.plane_id,
        poll: config.enrollment.poll,
        lock: config.enrollment.lock.clone(),
    }
}

/// Binds what neighbours knock at.
async fn listen(config: &Config) -> anyhow::Result<(Listener, Address)> {
    let (listener, address) = Listener::bind("listen", &config.listen).await?;
    if let Address::Unix(path) = &address
        && !config.allowed_uids.is_empty()
    {
        // Others must be able to knock; who they are is judged by the kernel's word.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
            .with_context(|| format!("cannot open {} to allowed_uids", path.display()))?;
    }
    Ok((listener, address))
}

/// What is stored of an earlier life.
pub(crate) async fn load(store: &dyn Store) -> anyhow::Result<Held> {
    let Some(identity) = identity::load(store).await.context("identity")? else {
        return Ok(Held::default());
    };
    let applied = applied::load(store, &identity)
        .await
        .context("last good snapshot")?;
    Ok(Held {
        identity: Some(Arc::new(identity)),
        applied: applied.map(Arc::new),
    })
}

/// The agent's part of `/debug/state`.
fn show_state(plane: &Plane) {
    let (state, roster) = (Arc::clone(&plane.state), plane.roster.clone());
    plane.stage.views.add("plane", move || {
        let shown = state.borrow();
        let neighbours: Vec<_> = roster
            .latest(tokio::time::Instant::now())
            .into_iter()
            .map(|s| {
                serde_json::json!({
                    "component": s.component, "instance": s.instance, "ready": s.ready,
                    "applied_revision": s.applied_revision,
                })
            })
            .collect();
        serde_json::json!({
            "state": shown.state.as_str(),
            "code": match shown.state { State::Refused(code) => Some(code.code()), _ => None },
            "tenant": shown.tenant,
            "plane": shown.plane,
            "revision": shown.revision,
            "refusal": shown.refusal.as_ref().map(crate::Refusal::line),
            "neighbours": neighbours,
        })
    });
}

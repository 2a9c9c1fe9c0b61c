//! The agent in a Kubernetes cluster: its state in Secrets, its bundle from Secrets, and a Lease
//! that says which of several agents acts.
//!
//! A tour: `api` asks the API server, `fault` says what went wrong, `lease` decides who acts,
//! `store` (with `parts`) and `watch` stand in for the directory, `publish`, `herald` and `tokens`
//! speak to the components and people around, `rights` lists all that is asked for.

pub(crate) mod api;
pub(crate) mod fault;
pub(crate) mod herald;
pub(crate) mod lease;
mod parts;
mod publish;
mod rights;
mod settings;
pub(crate) mod store;
mod term;
pub(crate) mod tokens;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use zen_chassis::{Clock, Stage};

use self::api::Api;
use self::fault::Board;
use self::herald::{Herald, Writer};
use self::lease::keep::{Ended, Keeper};
use self::tokens::Tokens;
use crate::driver::Course;
use crate::plane::Plane;
use crate::store::Store;

pub use self::rights::{Right, rights};
pub use self::settings::{KubernetesConfig, ServiceAccounts};

/// Time for what was under way to notice that the term is over.
const SETTLE: Duration = Duration::from_secs(2);

/// The agent's side of the cluster: connected to nothing yet.
pub(crate) struct Kubernetes {
    settings: KubernetesConfig,
    api: Api,
    board: Board,
    herald: Herald,
    keeper: Keeper,
}

impl Kubernetes {
    /// Reads how to reach the API server. That it answers is not asked here: the agent starts
    /// without it, and waits.
    ///
    /// # Errors
    /// When there is no such configuration, or it cannot be used.
    pub(crate) async fn open(settings: KubernetesConfig, stage: &Stage) -> anyhow::Result<Self> {
        let config = api::config(&settings).await?;
        let namespace = settings
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let api = || Api::new(&config, &namespace, stage.random.clone());
        // The lease has connections and pauses of its own: nothing else may hold it up.
        let (state, leases) = (api()?, api()?);
        let herald = herald(&settings, &state, stage);
        let board = Board::new(stage.ready.condition("kubernetes", ""), herald.clone());
        let me = holder(&settings, stage);
        let keeper = Keeper::new(
            &leases,
            me,
            settings.lease_duration,
            (stage.clock.clone(), stage.random.clone()),
            board.clone(),
            stage.ready.condition("lease", "waiting for the lease"),
        );
        show(stage, &board, keeper.me());
        Ok(Self {
            settings,
            api: state,
            board,
            herald,
            keeper,
        })
    }

    /// Who may be told of what happens.
    pub(crate) fn herald(&self) -> Herald {
        self.herald.clone()
    }

    /// The judge of components' tokens.
    pub(crate) fn tokens(&self) -> Tokens {
        Tokens {
            api: self.api.clone(),
            board: self.board.clone(),
            accounts: self.settings.service_accounts.clone(),
        }
    }

    /// What keeps the place of a store while the lease is not held.
    pub(crate) fn no_store() -> Arc<dyn Store> {
        Arc::new(store::NotHeld)
    }

    /// Term by term, until shutdown: waits for the lease, acts for the plane while it is held, and
    /// lets go of everything when it is not.
    pub(crate) async fn lead(mut self, plane: Plane, course: Course) -> anyhow::Result<()> {
        let shutdown = plane.stage.shutdown.clone();
        loop {
            plane.metrics.leading(false);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.keeper.acquire() => {}
            }
            plane.metrics.leading(true);
            match Box::pin(self.term(&plane, &course)).await {
                End::Shutdown => break,
                End::Overtaken => {
                    tracing::warn!("another wrote the agent's state; it is read again")
                }
                End::Lease(Ended::RanOut(fault)) => {
                    let code = fault.as_ref().map(|fault| fault.code().as_str());
                    let detail = fault.map(|fault| fault.detail);
                    tracing::warn!(
                        code,
                        detail,
                        "lease ran out; the agent waits until it has it again"
                    );
                }
                End::Lease(Ended::Taken(holder)) => {
                    tracing::warn!(
                        code = "LEASE_LOST",
                        holder,
                        "another agent acts for the plane"
                    );
                    let note = format!("{holder} holds the lease; this agent waits");
                    self.herald.warn("LEASE_LOST", &note);
                }
            }
        }
        self.keeper.release().await;
        Ok(())
    }
}

/// Why a term ended.
enum End {
    Shutdown,
    /// Another wrote what only the holder writes.
    Overtaken,
    Lease(Ended),
}

/// Events are written if it is known whose they are.
fn herald(settings: &KubernetesConfig, api: &Api, stage: &Stage) -> Herald {
    let Some(pod_name) = settings.pod_name.clone() else {
        return Herald::silent();
    };
    let (herald, queue) = Herald::new();
    let writer = Writer {
        api: api.clone(),
        clock: stage.clock.clone(),
        random: stage.random.clone(),
        pod_name,
        pod_uid: settings.pod_uid.clone(),
    };
    let stop = stage.shutdown.clone();
    stage.tasks.spawn_side("events", async move {
        tokio::select! {
            () = writer.run(queue) => {}
            () = stop.cancelled() => {}
        }
    });
    herald
}

/// As whom this process holds the lease. A pod has one agent at a time, so that one which is
/// started again need not wait for itself; where the pod is not known, each start is another.
fn holder(settings: &KubernetesConfig, stage: &Stage) -> String {
    let name = settings.pod_name.as_deref().unwrap_or("zen-agent");
    match settings.pod_uid.as_deref() {
        Some(uid) if settings.pod_name.is_some() => format!("{name}_{uid}"),
        _ => format!("{name}_{}", hex::encode(stage.random.bytes::<8>())),
    }
}

fn show(stage: &Stage, board: &Board, me: &str) {
    let (board, me) = (board.clone(), me.to_owned());
    stage.views.add(
        "kubernetes",
        move || serde_json::json!({ "holder_identity": me, "faults": board.lines() }),
    );
}

#[cfg(test)]
#[path = "kubernetes/play.rs"]
mod play;

/// Now, as Kubernetes writes it.
fn stamp(clock: &Clock) -> Timestamp {
    let ms = i64::try_from(clock.unix_ms()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

//! From the agent's slice to what intake and dispatch go by. The dispatch's plan is published before the
//! routing table: whoever reads an event of a new endpoint from the journal finds its flows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use zen_chassis::CancellationToken;
use zen_chassis::neighbour::Neighbour;
use zen_chassis::secret::{SecretStore, Wanted};
use zen_proto::agent::v1::Slice;
use zen_proto::purpose::Purpose;
use zen_proto::snapshot::v1::Snapshot;

use crate::counters::Counters;
use crate::plan::Plan;
use crate::routing::{MissingSecret, RoutingTable};

/// Pause before secrets are read again, all being there.
const REREAD: Duration = Duration::from_secs(15);
/// The same while one is missing.
const REREAD_MISSING: Duration = Duration::from_secs(1);

/// The configuration in force.
pub(crate) struct Configuration {
    table: ArcSwapOption<RoutingTable>,
    plan: watch::Sender<Option<Arc<Plan>>>,
    secrets: SecretStore,
    counters: Counters,
}

impl Configuration {
    /// None yet.
    pub(crate) fn new(secrets: SecretStore, counters: Counters) -> Self {
        Self {
            table: ArcSwapOption::empty(),
            plan: watch::Sender::new(None),
            secrets,
            counters,
        }
    }

    /// The routing table in force; none before the first slice.
    pub(crate) fn table(&self) -> arc_swap::Guard<Option<Arc<RoutingTable>>> {
        self.table.load()
    }

    /// The plan in force, and to wait for the next.
    pub(crate) fn plan(&self) -> watch::Receiver<Option<Arc<Plan>>> {
        self.plan.subscribe()
    }

    /// Takes a slice into force. Blocking: reads secrets.
    pub(crate) fn apply(&self, slice: &Slice) {
        let Some(snapshot) = &slice.snapshot else {
            return;
        };
        let before = self.table.load_full();
        let changed = before
            .as_ref()
            .is_none_or(|table| table.revision != snapshot.revision);
        let (plan, flows) = Plan::new(snapshot, &self.counters);
        if changed {
            self.plan.send_replace(Some(Arc::new(plan)));
        }
        let table = RoutingTable::new(snapshot, &self.secrets, &self.counters);
        self.counters.keep_only(&table.ids(), &flows);
        if changed {
            for (endpoint, fault) in table.faults() {
                tracing::error!(endpoint, fault, "endpoint cannot be served");
            }
        }
        log_missing(
            before.as_ref().map_or(&[], |table| table.missing()),
            table.missing(),
        );
        self.table.store(Some(Arc::new(table)));
    }

    /// Applies each slice as it comes, and reads secrets again and again, until shutdown; `opened`
    /// says when one that zen-lock opens came, changed or went.
    pub(crate) async fn keep_applied(
        self: Arc<Self>,
        mut slices: watch::Receiver<Option<Arc<Slice>>>,
        mut opened: Option<watch::Receiver<u64>>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            if let Some(opened) = &mut opened {
                opened.mark_unchanged();
            }
            let slice = slices.borrow_and_update().clone();
            if let Some(slice) = slice {
                let this = Arc::clone(&self);
                tokio::task::spawn_blocking(move || this.apply(&slice)).await?;
            }
            let lacking = self
                .table()
                .as_ref()
                .is_some_and(|table| !table.missing().is_empty());
            let pause = if lacking { REREAD_MISSING } else { REREAD };
            let another_value = async {
                let changed = match &mut opened {
                    Some(opened) => opened.changed().await.is_ok(),
                    None => false,
                };
                if !changed {
                    std::future::pending().await
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                changed = slices.changed() => if changed.is_err() {
                    // The agent's link ends with the stage; the last configuration stays.
                    shutdown.cancelled().await;
                },
                () = another_value => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// What the endpoints of a snapshot want of zen-lock.
pub(crate) fn wanted(snapshot: &Snapshot) -> HashSet<Wanted> {
    let endpoints = snapshot.endpoints.iter().filter(|e| !e.removed);
    endpoints
        .filter_map(|endpoint| endpoint.verification.as_ref())
        .flat_map(|verification| &verification.secrets)
        .filter_map(|reference| Wanted::parse(reference, Purpose::WebhookVerification))
        .collect()
}

/// The slice kept from before, taken into force before anything is served.
pub(crate) async fn apply_kept(
    configuration: &Arc<Configuration>,
    neighbour: &Neighbour,
) -> anyhow::Result<()> {
    let kept = neighbour.slice.borrow().clone();
    if let Some(slice) = kept {
        let configuration = Arc::clone(configuration);
        tokio::task::spawn_blocking(move || configuration.apply(&slice)).await?;
    }
    Ok(())
}

/// Logs what has become of secrets since the last look, and nothing that was said before.
fn log_missing(before: &[MissingSecret], now: &[MissingSecret]) {
    for secret in now.iter().filter(|secret| !before.contains(secret)) {
        let MissingSecret {
            endpoint,
            reference,
            code,
            detail,
        } = secret;
        tracing::error!(endpoint, reference, code, detail, "secret cannot be used");
    }
    for secret in before.iter().filter(|secret| !now.contains(secret)) {
        tracing::info!(
            endpoint = secret.endpoint,
            reference = secret.reference,
            "secret in use"
        );
    }
}

//! Lanes: one task for each target with deliveries waiting. What a lane does follows from the
//! ledger alone; a lane holds nothing that would be missed after a crash.

mod connections;
mod lane;
mod route;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use zen_chassis::Stage;
use zen_proto::ids::TargetId;

use crate::attempt::Courier;
use crate::counters::Counters;
use crate::guard::Guard;
use crate::health::Health;
use crate::ledger::{LedgerError, Pause, Watcher};
use crate::metrics::Metrics;
use crate::targets::Directory;
use lane::Lane;

pub(crate) use connections::{make_client, targets_tls};

/// What lanes go by.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Attempts under way at once for a target that says nothing itself.
    pub(crate) concurrency: usize,
    /// How long a target or flow that the configuration does not know may still come.
    pub(crate) unknown_grace: Duration,
    /// Time for attempts under way at shutdown.
    pub(crate) drain: Duration,
}

/// Everything that all lanes share.
pub(crate) struct Shared {
    pub(crate) courier: Courier,
    pub(crate) counters: Arc<Counters>,
    pub(crate) directory: watch::Receiver<Arc<Directory>>,
    pub(crate) guard: Arc<Guard>,
    /// Trust in public roots, or why there is none.
    pub(crate) public_tls: Result<Arc<rustls::ClientConfig>, String>,
    /// Bounds attempts under way over all targets.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) paused: Arc<PausedTargets>,
    pub(crate) health: Health,
    pub(crate) rules: Rules,
    /// Names this replica.
    pub(crate) instance: String,
    pub(crate) stage: Stage,
}

/// Targets that answered 410, for status and metrics.
#[derive(Default)]
pub(crate) struct PausedTargets(Mutex<BTreeMap<TargetId, Pause>>);

impl PausedTargets {
    pub(crate) fn set(&self, target: TargetId, pause: Option<Pause>) {
        let mut all = self.0.lock();
        match pause {
            Some(pause) => all.insert(target, pause),
            None => all.remove(&target),
        };
    }

    pub(crate) fn get(&self, target: TargetId) -> Option<Pause> {
        self.0.lock().get(&target).copied()
    }

    pub(crate) fn all(&self) -> Vec<(TargetId, Pause)> {
        self.0
            .lock()
            .iter()
            .map(|(target, pause)| (*target, *pause))
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// The lanes that exist. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    lanes: Mutex<HashMap<TargetId, Arc<Signal>>>,
    /// Notified when a lane ends.
    ended: Notify,
}

/// How a lane is woken.
#[derive(Default)]
pub(crate) struct Signal {
    news: AtomicBool,
    wake: Notify,
}

impl Signal {
    fn raise(&self) {
        self.news.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Waits for news, without taking them.
    async fn raised(&self) {
        while !self.news.load(Ordering::SeqCst) {
            self.wake.notified().await;
        }
    }

    /// Whether there were news; there are none afterwards.
    fn take(&self) -> bool {
        self.news.swap(false, Ordering::SeqCst)
    }
}

impl Lanes {
    /// No lanes yet; must be called inside the runtime that shall run them.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            shared,
            runtime: tokio::runtime::Handle::current(),
            lanes: Mutex::new(HashMap::new()),
            ended: Notify::new(),
        }))
    }

    /// Starts a lane for each target that has deliveries in the ledger or is paused.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(crate) async fn start(&self) -> Result<(), LedgerError> {
        for target in self.0.shared.courier.ledger.targets_waiting().await? {
            self.wake(target);
        }
        // Paused ones too: their lane notices when they are changed.
        for (target, _) in self.0.shared.paused.all() {
            self.wake(target);
        }
        Ok(())
    }

    /// Tells the lane of a target that there are news; makes it if there is none.
    pub(crate) fn wake(&self, target: TargetId) {
        let mut lanes = self.0.lanes.lock();
        if let Some(signal) = lanes.get(&target) {
            signal.raise();
            return;
        }
        if self.0.shared.stage.shutdown.is_cancelled() {
            return;
        }
        let signal = Arc::new(Signal::default());
        signal.raise();
        lanes.insert(target, signal.clone());
        drop(lanes);
        self.spawn(target, signal);
    }

    fn spawn(&self, target: TargetId, signal: Arc<Signal>) {
        let this = self.clone();
        let _entered = self.0.runtime.enter();
        let tasks = self.0.shared.stage.tasks.clone();
        // The tracker keeps the task; its end is noticed inside.
        let _task = self.0.shared.stage.tasks.spawn_side("lane", async move {
            let _ended = Ended(this.clone());
            let lane = Lane::new(target, this.0.shared.clone(), signal.clone(), this.clone());
            // A lane that panics must not leave its target without one in silence.
            match tokio::spawn(lane.run()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tasks.fail(error.context("a lane failed")),
                Err(panic) => tasks.fail(anyhow::Error::new(panic).context("a lane panicked")),
            }
            // Retired, it may have a successor already.
            let mut lanes = this.0.lanes.lock();
            if lanes
                .get(&target)
                .is_some_and(|known| Arc::ptr_eq(known, &signal))
            {
                lanes.remove(&target);
            }
        });
    }

    /// Takes an idle lane off the list, unless there are news for it.
    pub(crate) fn retire(&self, target: TargetId, signal: &Signal) -> bool {
        let mut lanes = self.0.lanes.lock();
        if signal.news.load(Ordering::SeqCst) {
            return false;
        }
        lanes.remove(&target);
        true
    }

    /// After shutdown: waits until every lane has ended.
    pub(crate) async fn finish(&self) {
        loop {
            let mut ended = std::pin::pin!(self.0.ended.notified());
            ended.as_mut().enable();
            if self.0.lanes.lock().is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// For those who only look.
    pub(crate) fn downgrade(&self) -> WeakLanes {
        WeakLanes(Arc::downgrade(&self.0))
    }
}

/// Lanes that may be gone.
pub(crate) struct WeakLanes(Weak<Inner>);

impl WeakLanes {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.upgrade().map_or(0, |inner| inner.lanes.lock().len())
    }
}

/// Tells that a lane's task is over, however it ended.
struct Ended(Lanes);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.0.ended.notify_waiters();
    }
}

/// What the ledger's writer tells: lanes and metrics.
pub(crate) struct Told {
    /// Weak, or the writer would keep itself alive.
    pub(crate) lanes: WeakLanes,
    pub(crate) metrics: Metrics,
}

impl Watcher for Told {
    fn waiting(&self, target: TargetId) {
        if let Some(inner) = self.lanes.0.upgrade() {
            Lanes(inner).wake(target);
        }
    }

    fn committed(&self, took: Duration) {
        self.metrics.committed(took);
    }

    fn crowded_out(&self, dead_letters: usize) {
        self.metrics.dropped(dead_letters);
    }
}

//! One target's lane: look into the ledger → take what is due → attempt → settle, until nothing
//! waits. A slow target fills its own lane and no other.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use zen_proto::ids::TargetId;

use super::connections::Connections;
use super::route::{Route, modes, route};
use super::{Lanes, Shared, Signal};
use crate::attempt::{Attempted, Job, given_up};
use crate::breaker::{Admission, Breaker};
use crate::ledger::{Due, DueQuery, Fate, LedgerError, Settlement};
use crate::targets::{Directory, Flow, Target};

/// Settlements that may be on their way into the ledger before a lane starts more attempts.
const SETTLING: usize = 1024;
/// Deliveries taken from the ledger ahead of their attempt, for each that may be under way.
const AHEAD: usize = 4;
/// How often those that must wait are looked through for expired ones.
const SWEEP: Duration = Duration::from_secs(30);
/// Milliseconds between looks for a secret that zen-lock, which is away, has not opened yet.
const SECRET_LOOK_MS: u64 = 200;
/// The longest sleep: a clock that was set is noticed then.
const NAP: Duration = Duration::from_secs(10);
/// A lane with nothing to do ends after this long, and its connections with it.
const IDLE: Duration = Duration::from_secs(300);

/// The lane of one target.
pub(super) struct Lane {
    target: TargetId,
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    lanes: Lanes,
    directory: watch::Receiver<Arc<Directory>>,
    connections: Connections,
    breaker: Breaker,
    /// Taken from the ledger, not yet begun.
    queue: VecDeque<Due>,
    /// Everything that must not be picked again: queued, under way, or being settled.
    taken: HashSet<u64>,
    under_way: JoinSet<(Attempted, Due)>,
    settling: FuturesUnordered<BoxFuture<'static, Result<Settled, LedgerError>>>,
    /// The ledger may hold something that is due.
    look: bool,
    /// When the ledger will next hold something that is due, Unix milliseconds.
    next_due_ms: Option<u64>,
    /// Nothing at all waits in the ledger, since then.
    idle_since: Option<Instant>,
    swept: Instant,
    /// What `launch` waits for before it can start another attempt.
    blocked: Blocked,
}

/// A settlement that is durable.
struct Settled {
    sequence: u64,
    /// When it is due again, if it is.
    due_ms: Option<u64>,
}

/// Why no further attempt was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    /// Nothing queued, or everything that may run does.
    No,
    /// The bound over all targets is reached.
    Permit,
    /// The breaker is open until then, Unix milliseconds.
    Until(u64),
}

impl Lane {
    pub(super) fn new(
        target: TargetId,
        shared: Arc<Shared>,
        signal: Arc<Signal>,
        lanes: Lanes,
    ) -> Self {
        Self {
            target,
            directory: shared.directory.clone(),
            shared,
            signal,
            lanes,
            connections: Connections::default(),
            breaker: Breaker::default(),
            queue: VecDeque::new(),
            taken: HashSet::new(),
            under_way: JoinSet::new(),
            settling: FuturesUnordered::new(),
            look: true,
            next_due_ms: None,
            idle_since: None,
            swept: Instant::now(),
            blocked: Blocked::No,
        }
    }

    /// Runs until the target has nothing left for a while, or shutdown.
    ///
    /// # Errors
    /// When the ledger fails or an attempt panics.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let shutdown = self.shared.stage.shutdown.clone();
        loop {
            if self.directory.has_changed().unwrap_or(false) {
                self.release_queue();
            }
            let directory = self.directory.borrow_and_update().clone();
            self.resume_if_changed(&directory).await?;
            self.take_due(&directory).await?;
            self.launch(&directory, None);
            if self.may_retire() && self.lanes.retire(self.target, &self.signal) {
                // The breaker ends here; what the last attempts told stays known.
                let closed = Breaker::default();
                self.shared.health.breaker(self.target, closed);
                return Ok(());
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(self.drain().await?),
                outcome = self.wait() => outcome?,
            }
        }
    }

    /// Looks into the ledger if there may be something, and room for it.
    async fn take_due(&mut self, directory: &Arc<Directory>) -> Result<(), LedgerError> {
        let now_ms = self.shared.stage.clock.unix_ms();
        let sweep = self.swept.elapsed() >= SWEEP;
        let due = self.next_due_ms.take_if(|due| *due <= now_ms).is_some();
        if self.signal.take() || sweep || due {
            self.look = true;
        }
        let window = self.concurrency(directory) * AHEAD;
        if !self.look || self.queue.len() * 2 > window {
            return Ok(());
        }
        let held = self.is_held(directory);
        let limit = window - self.queue.len();
        let query = DueQuery {
            target: self.target,
            now_ms,
            limit,
            taken: self.taken.clone(),
            mode: modes(directory, &self.shared.rules, self.target, held, sweep),
        };
        let picked = self.shared.courier.ledger.due(query).await?;
        if sweep {
            self.swept = Instant::now();
        }
        self.look = picked.due.len() == limit;
        self.next_due_ms = picked.next_ms;
        self.idle_since = picked
            .nothing
            .then(|| self.idle_since.unwrap_or_else(Instant::now));
        for due in picked.due {
            self.taken.insert(due.sequence);
            self.queue.push_back(due);
        }
        Ok(())
    }

    /// Whether the target asked not to be called, and is still configured as it was then.
    fn is_held(&self, directory: &Directory) -> bool {
        let paused = self.shared.paused.get(self.target);
        let configured = directory.target(self.target);
        match (paused, configured) {
            (Some(pause), Some(target)) => pause.fingerprint == target.fingerprint,
            _ => false,
        }
    }

    /// Starts attempts while there is room for them.
    fn launch(&mut self, directory: &Arc<Directory>, mut permit: Option<OwnedSemaphorePermit>) {
        self.blocked = Blocked::No;
        let concurrency = self.concurrency(directory);
        while self.under_way.len() < concurrency && self.settling.len() < SETTLING {
            let Some(due) = self.queue.front() else {
                return;
            };
            let now_ms = self.shared.stage.clock.unix_ms();
            match route(directory, self.target, due, now_ms) {
                Route::GiveUp(code) => {
                    let given_up = given_up(due, code, now_ms);
                    let due = self.queue.pop_front();
                    self.settle(
                        given_up,
                        due.map_or_else(String::new, |due| due.record.flow_id),
                    );
                }
                Route::Wait => {
                    if let Some(due) = self.queue.pop_front() {
                        self.taken.remove(&due.sequence);
                    }
                }
                Route::To(target, flow) => {
                    if self.shared.courier.secrets.awaited(&target) {
                        self.shared.health.waits_for_secret(self.target, now_ms);
                        self.blocked = Blocked::Until(now_ms.saturating_add(SECRET_LOOK_MS));
                        return;
                    }
                    let Some(one) = permit.take().or_else(|| self.permit()) else {
                        self.blocked = Blocked::Permit;
                        return;
                    };
                    let admission = self.breaker.admit(now_ms);
                    if self.breaker.is_probing() {
                        self.shared.health.breaker(self.target, self.breaker);
                    }
                    match admission {
                        Admission::Go => self.begin(target, flow, one),
                        Admission::NotBefore(until) => {
                            self.blocked = Blocked::Until(until);
                            return;
                        }
                        Admission::AfterProbe => return,
                    }
                }
            }
        }
    }

    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.permits.clone().try_acquire_owned().ok()
    }

    /// Begins the attempt of the first in the queue.
    fn begin(&mut self, target: Arc<Target>, flow: Arc<Flow>, permit: OwnedSemaphorePermit) {
        let Some(due) = self.queue.pop_front() else {
            return;
        };
        let client = self.connections.to(&target, &self.shared);
        let shared = self.shared.clone();
        self.under_way.spawn(async move {
            let job = Job {
                due,
                target,
                flow,
                client,
            };
            let attempted = shared.courier.attempt(&job).await;
            drop(permit);
            (attempted, job.due)
        });
    }

    /// Waits for whatever comes next.
    async fn wait(&mut self) -> anyhow::Result<()> {
        let sleep = self.sleep();
        let permits = self.shared.permits.clone();
        let wants_permit = self.blocked == Blocked::Permit;
        tokio::select! {
            Some(ended) = self.under_way.join_next() => {
                let (attempted, due) = ended.context("an attempt panicked")?;
                self.attempted(attempted, due);
            }
            Some(settled) = self.settling.next() => self.settled(&settled?),
            () = self.signal.raised() => {}
            // Its sender ends with the component, so that there is nothing to wait for then.
            Ok(()) = self.directory.changed() => self.release_queue(),
            Ok(permit) = permits.acquire_owned(), if wants_permit => {
                let directory = self.directory.borrow().clone();
                self.launch(&directory, Some(permit));
            }
            () = tokio::time::sleep(sleep) => {}
        }
        Ok(())
    }

    /// How long nothing will happen by itself.
    fn sleep(&self) -> Duration {
        let now_ms = self.shared.stage.clock.unix_ms();
        let breaker = match self.blocked {
            Blocked::Until(until) => Some(until),
            Blocked::No | Blocked::Permit => None,
        };
        let next = [self.next_due_ms, breaker].into_iter().flatten().min();
        next.map_or(NAP, |at| {
            Duration::from_millis(at.saturating_sub(now_ms)).min(NAP)
        })
    }

    fn attempted(&mut self, attempted: Attempted, due: Due) {
        let now_ms = self.shared.stage.clock.unix_ms();
        match attempted.reached {
            Some(reached) => {
                let was_open = self.breaker.is_open();
                self.breaker.note(reached, now_ms);
                if self.breaker.is_open() && !was_open {
                    tracing::warn!(target = %self.target, "target not reached, left alone for now");
                }
            }
            None => self.breaker.not_made(now_ms),
        }
        self.note_health(&attempted.settlement);
        if let Fate::DeadLetter {
            pause: Some(pause), ..
        } = attempted.settlement.fate
        {
            tracing::warn!(target = %self.target, "target is gone, paused until it is changed");
            self.shared.paused.set(self.target, Some(pause));
            self.release_queue();
        }
        self.settle(attempted.settlement, due.record.flow_id);
    }

    fn note_health(&self, settlement: &Settlement) {
        let health = &self.shared.health;
        match (&settlement.attempt, &settlement.fate) {
            (Some(_), Fate::Delivered) => health.clear(self.target),
            (Some(attempt), _) => health.failed(self.target, attempt, self.breaker),
            (None, _) => {}
        }
    }

    /// Sends a settlement to the ledger; the delivery stays taken until it is durable.
    fn settle(&mut self, settlement: Settlement, flow_id: String) {
        let shared = self.shared.clone();
        self.settling.push(Box::pin(async move {
            let due_ms = match settlement.fate {
                Fate::Retry { due_ms } => Some(due_ms),
                Fate::Delivered | Fate::DeadLetter { .. } => None,
            };
            let sequence = settlement.sequence;
            shared.courier.ledger.settle(settlement.clone()).await?;
            shared.courier.metrics.settled(&settlement.fate);
            shared.counters.settled(&flow_id, &settlement);
            Ok(Settled { sequence, due_ms })
        }));
    }

    fn settled(&mut self, settled: &Settled) {
        self.taken.remove(&settled.sequence);
        if let Some(due_ms) = settled.due_ms {
            self.next_due_ms = Some(self.next_due_ms.map_or(due_ms, |next| next.min(due_ms)));
        }
        if self.taken.is_empty() && self.next_due_ms.is_none() {
            // Perhaps that was the last one: look, so that the lane learns that it is idle.
            self.look = true;
        }
    }

    /// A paused target that was changed, or removed, is no longer paused.
    async fn resume_if_changed(&mut self, directory: &Directory) -> Result<(), LedgerError> {
        let paused = self.shared.paused.get(self.target).is_some();
        if paused && directory.known && !self.is_held(directory) {
            tracing::info!(target = %self.target, "target was changed, no longer paused");
            self.shared.paused.set(self.target, None);
            self.shared.courier.ledger.resume(self.target).await?;
            self.shared.health.clear(self.target);
            self.breaker = Breaker::default();
            self.look = true;
        }
        Ok(())
    }

    /// What was taken ahead goes back, to be judged anew.
    fn release_queue(&mut self) {
        for due in self.queue.drain(..) {
            self.taken.remove(&due.sequence);
        }
        self.look = true;
    }

    fn may_retire(&self) -> bool {
        self.taken.is_empty()
            && self.shared.paused.get(self.target).is_none()
            && self.next_due_ms.is_none()
            && self.idle_since.is_some_and(|since| since.elapsed() >= IDLE)
    }

    /// Shutdown: attempts under way may end in their time; whatever does not stays due.
    async fn drain(mut self) -> Result<(), LedgerError> {
        self.queue.clear();
        let deadline = Instant::now() + self.shared.rules.drain;
        while let Ok(Some(ended)) =
            tokio::time::timeout_at(deadline, self.under_way.join_next()).await
        {
            if let Ok((attempted, due)) = ended {
                self.attempted(attempted, due);
            }
        }
        let unfinished = self.under_way.len();
        if unfinished > 0 {
            tracing::warn!(target = %self.target, unfinished, "attempts cut off, they stay due");
        }
        self.under_way.abort_all();
        while let Some(settled) = self.settling.next().await {
            settled?;
        }
        Ok(())
    }

    fn concurrency(&self, directory: &Directory) -> usize {
        directory
            .target(self.target)
            .and_then(|target| target.concurrency)
            .unwrap_or(self.shared.rules.concurrency)
    }
}

//! Takes the Lease, renews it, gives it back.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;
use zen_chassis::backoff::Backoff;
use zen_chassis::ready::Condition;
use zen_chassis::{Clock, Random};

use super::{NAME, Observed, Step, acts_until};
use crate::kubernetes::api::{Api, Thing};
use crate::kubernetes::fault::{Area, Board, Fault};
use crate::kubernetes::stamp;

/// Pauses after a request that failed.
const RETRIES: Backoff = Backoff {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(3),
};
/// Time for giving it back; then others have to wait until it runs out.
const RELEASE: Duration = Duration::from_secs(3);

/// Why the Lease is not held any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It could not be renewed in time, for this reason.
    RanOut(Option<Fault>),
    /// Another holds it.
    Taken(String),
}

/// This agent's part in who holds the Lease.
pub(crate) struct Keeper {
    api: Api,
    me: String,
    duration: Duration,
    clock: Clock,
    random: Random,
    board: Board,
    condition: Condition,
    seen: Option<Observed>,
    /// Until when this agent may act.
    until: Instant,
}

impl Keeper {
    pub(crate) fn new(
        api: &Api,
        me: String,
        duration: Duration,
        (clock, random): (Clock, Random),
        board: Board,
        condition: Condition,
    ) -> Self {
        Self {
            // A try that is too slow is given up while there is time for another.
            api: api.clone().within(duration / 4),
            me,
            duration,
            clock,
            random,
            board,
            condition,
            seen: None,
            until: Instant::now(),
        }
    }

    /// As whom this agent holds it.
    pub(crate) fn me(&self) -> &str {
        &self.me
    }

    /// Waits until the Lease is held.
    pub(crate) async fn acquire(&mut self) {
        let mut failed = 0;
        let mut told = None;
        loop {
            match self.try_to_hold(false).await {
                Ok(Step::Take) => {
                    self.board.well(Area::Lease);
                    self.condition.ready();
                    tracing::info!(lease = NAME, holder = self.me, "lease taken");
                    return;
                }
                Ok(Step::Wait(left)) => {
                    failed = 0;
                    self.board.well(Area::Lease);
                    let holder = self.holder();
                    self.condition.not_ready(format!(
                        "lease {NAME} is held by {holder}; this agent takes over when that one is gone"
                    ));
                    if told.as_ref() != Some(&holder) {
                        tracing::info!(lease = NAME, holder, "waiting for the lease");
                        told = Some(holder);
                    }
                    // It may be given back long before it runs out.
                    let look = left.min(self.duration / 5);
                    tokio::time::sleep(self.random.jitter(look, 0.1)).await;
                }
                // Somebody was quicker, or it is gone: what stands there now is read anew.
                Ok(Step::Lost) => tokio::time::sleep(self.pause(1)).await,
                Err(fault) => {
                    failed += 1;
                    self.condition.not_ready(fault.line());
                    self.board.fault(Area::Lease, &fault);
                    tokio::time::sleep(self.pause(failed)).await;
                }
            }
        }
    }

    /// Renews the Lease for as long as that goes well.
    pub(crate) async fn keep(&mut self) -> Ended {
        let mut failed = 0;
        let mut last = None;
        let mut next =
            self.until - (self.duration - self.duration / super::MARGIN) + self.duration / 3;
        loop {
            let until = self.until;
            let tried = async {
                tokio::time::sleep_until(next).await;
                self.try_to_hold(true).await
            };
            let Ok(outcome) = tokio::time::timeout_at(until, tried).await else {
                return self.ended(Ended::RanOut(last));
            };
            match outcome {
                Ok(Step::Take) => {
                    failed = 0;
                    last = None;
                    self.board.well(Area::Lease);
                    next = Instant::now() + self.duration / 3;
                }
                Ok(Step::Lost) if self.seen.is_some() => {
                    return self.ended(Ended::Taken(self.holder()));
                }
                // It changed while we wrote: see what it is now.
                Ok(Step::Lost | Step::Wait(_)) => next = Instant::now() + self.pause(1),
                Err(fault) => {
                    failed += 1;
                    self.board.fault(Area::Lease, &fault);
                    last = Some(fault);
                    next = Instant::now() + self.pause(failed).min(self.duration / 10);
                }
            }
        }
    }

    /// Gives it back, so that nobody needs to wait until it runs out.
    pub(crate) async fn release(&mut self) {
        let Some(seen) = self.seen.take() else {
            return;
        };
        if seen.record.holder() != Some(&*self.me) {
            return;
        }
        let released = seen.to_lease(seen.record.released(stamp(&self.clock)));
        let thing = Thing::lease(NAME);
        let request = self.api.replace(&thing, &released);
        match tokio::time::timeout(RELEASE, request).await {
            Ok(Ok(_)) => tracing::info!(lease = NAME, "lease released"),
            Ok(Err(fault)) => tracing::warn!(%fault, lease = NAME, "lease not released"),
            Err(_) => tracing::warn!(lease = NAME, "lease not released in time"),
        }
    }

    /// One try: reads what is not known, and writes one's name if the rules allow. The answer is
    /// [`Step::Take`] if the Lease is held now; [`Step::Lost`] with nothing seen if it changed
    /// under one's hands.
    async fn try_to_hold(&mut self, holds: bool) -> Result<Step, Fault> {
        let thing = Thing::lease(NAME);
        let known = self.seen.take_if(|_| holds);
        let seen = match known {
            Some(known) => known,
            None => self.read(&thing).await?,
        };
        let seen = self.seen.insert(seen).clone();
        let step = seen.step(&self.me, holds, Instant::now());
        if step != Step::Take {
            return Ok(step);
        }
        let asked = Instant::now();
        let now = stamp(&self.clock);
        let mine = seen.to_lease(seen.record.taken(&self.me, self.duration, now));
        match self.api.replace(&thing, &mine).await {
            Ok(written) => {
                self.seen = Some(Observed::next(Some(&seen), written, asked));
                self.until = acts_until(asked, self.duration);
                Ok(Step::Take)
            }
            Err(fault) if fault.is_conflict() || fault.is_gone() => {
                self.forget(holds);
                Ok(Step::Lost)
            }
            Err(fault) => {
                // Whether it was written is not known: it is read before the next try.
                self.forget(holds);
                Err(fault)
            }
        }
    }

    /// What a holder knew is not what stands there; how long others stood there still counts.
    fn forget(&mut self, holds: bool) {
        if holds {
            self.seen = None;
        }
    }

    async fn read(&self, thing: &Thing) -> Result<Observed, Fault> {
        let read = match self.api.get(thing).await? {
            Some(lease) => lease,
            // An object that says nothing of a holder is the same from however many agents; who
            // holds it is decided by the versions.
            None => {
                let nobody = serde_json::json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": { "name": NAME },
                });
                self.api.apply::<Lease>(thing, &nobody).await?
            }
        };
        Ok(Observed::next(self.seen.as_ref(), read, Instant::now()))
    }

    fn ended(&mut self, ended: Ended) -> Ended {
        let line = match &ended {
            Ended::RanOut(Some(fault)) => fault.line(),
            Ended::RanOut(None) => format!("lease {NAME} ran out"),
            Ended::Taken(holder) => format!("lease {NAME} is held by {holder}"),
        };
        self.condition.not_ready(line);
        ended
    }

    fn holder(&self) -> String {
        let holder = self.seen.as_ref().and_then(|seen| seen.record.holder());
        holder.unwrap_or("nobody").to_owned()
    }

    fn pause(&self, failed: u32) -> Duration {
        RETRIES.pause(failed, self.random.fraction())
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;

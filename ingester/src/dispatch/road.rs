//! One road: from the journal, over a line, to an acknowledgement, and the cursor after it.

mod commit;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use zen_chassis::backoff::Backoff;
use zen_chassis::chain::Chain;
use zen_chassis::{CancellationToken, Clock, Random};
use zen_journal::{Cursor, Journal, Position, ReadError, Reader};
use zen_proto::limits;

use super::carrier::{Carrier, Failure, Line};
use super::load::{Load, plan_records};
use super::parked::Parked;
use super::window::Window;
use crate::metrics::Metrics;
use crate::plan::{Plan, Road};
use crate::status::Progress;
use commit::keep_committed;

/// How long the other side may leave batches without an acknowledgement.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a road goes on after shutdown to hand over what was accepted last.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a read from the disk failed.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// What a road needs from its surroundings.
pub(crate) struct RoadContext {
    pub(crate) journal: Journal,
    pub(crate) plan: watch::Receiver<Option<Arc<Plan>>>,
    pub(crate) progress: Progress,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    /// Nothing more is accepted: hand over what there is, within a bound, and end.
    pub(crate) stop: CancellationToken,
}

/// Follows the journal from the cursor until stopped. The cursor's last commit is done when this returns.
pub(crate) async fn travel<C: Carrier>(context: RoadContext, cursor: Cursor, carrier: C) {
    let start = cursor.position();
    let (done, committed) = watch::channel(start);
    let traveller = Traveller {
        reader: context.journal.reader(start),
        context,
        carrier,
        window: Window::new(start),
        parked: Parked::default(),
        loads: VecDeque::new(),
        done,
        proven: false,
    };
    tokio::join!(
        traveller.travel(),
        keep_committed(cursor, committed, C::ROAD)
    );
}

struct Traveller<C> {
    context: RoadContext,
    carrier: C,
    reader: Reader,
    window: Window,
    parked: Parked,
    /// Read and planned, not yet sent.
    loads: VecDeque<Load>,
    done: watch::Sender<Position>,
    /// The present line has carried something.
    proven: bool,
}

impl<C: Carrier> Traveller<C> {
    /// Rides one line after the other until stopped.
    async fn travel(mut self) {
        let stop = self.context.stop.clone();
        let mut plan = self.context.plan.clone();
        tokio::select! {
            () = stop.cancelled() => return,
            planned = plan.wait_for(Option::is_some) => if planned.is_err() { return },
        }
        let pauses = if C::ROAD == Road::Egress {
            Backoff::NEAR
        } else {
            Backoff::FAR
        };
        let mut failed = 0;
        while let Err(failure) = self.ride(&stop).await {
            failed = if self.proven { 1 } else { failed + 1 };
            self.proven = false;
            self.report(&failure, failed);
            let pause = pauses.pause(failed, self.context.random.fraction());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One line, from what it is opened for to its end; `Ok` once stopped.
    async fn ride(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        self.start_over();
        let due = self.parked.next_due();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            load = self.next_load() => self.loads.push_front(load),
            () = at(due) => {}
        }
        let Some(plan) = self.plan() else {
            return Ok(());
        };
        let mut line = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            line = self.carrier.open(&plan) => line?,
        };
        self.context.progress.connected();
        let mut plans = self.context.plan.clone();
        let mut heard = Instant::now();
        let mut until = None;
        loop {
            if until.is_some() && self.has_arrived() {
                return Ok(());
            }
            if self.window.is_empty() {
                heard = Instant::now();
            }
            let silence = heard + SILENCE;
            let room = self.window.has_room();
            let may_read = room && self.parked.has_room();
            let due = self.parked.next_due();
            tokio::select! {
                answer = line.answer() => {
                    heard = Instant::now();
                    self.settle(answer?)?;
                }
                load = self.next_load(), if may_read => self.send(&mut line, load)?,
                () = at(due), if room && due.is_some() => self.ask_again(&mut line).await?,
                () = sleep_until(silence) => return Err(Failure::Silent(C::ROAD)),
                plan = changed(&mut plans) => if plan.is_some_and(|plan| !self.carrier.suits(&plan)) {
                    return Err(Failure::Moved(C::ROAD));
                },
                () = stop.cancelled(), if until.is_none() => until = Some(Instant::now() + DRAIN),
                () = at(until), if until.is_some() => return Ok(()),
            }
        }
    }

    /// Back to where everything is settled: what was under way or planned is read again.
    fn start_over(&mut self) {
        self.window.reset();
        self.loads.clear();
        self.parked.reset(Instant::now());
        self.reader.skip_to(self.window.passed());
    }

    fn plan(&self) -> Option<Arc<Plan>> {
        self.context.plan.borrow().clone()
    }

    /// Whether everything accepted has been handed over, parked deliveries apart.
    fn has_arrived(&self) -> bool {
        self.window.is_empty()
            && self.loads.is_empty()
            && self.reader.position() >= self.context.journal.end()
    }

    /// The next load with something in it. Waits for the journal; cancelling loses nothing.
    async fn next_load(&mut self) -> Load {
        loop {
            while let Some(load) = self.loads.pop_front() {
                if !load.deliveries.is_empty() {
                    return load;
                }
                self.window.skip(load.upto);
                self.show();
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let read = self
            .reader
            .next_batch(limits::DELIVERY_BATCH, limits::DELIVERY_BATCH_BYTES);
        let records = match read.await {
            Ok(records) => records,
            Err(error) => return self.read_past(error).await,
        };
        // The end before the plan: an event of a flow that the plan does not know yet cannot stand before it.
        let end = self.context.journal.end();
        let Some(plan) = self.plan() else { return };
        if plan.is_idle(C::ROAD) {
            self.reader.skip_to(end);
            self.loads.push_back(Load::new(end));
            return;
        }
        let bytes = records
            .iter()
            .map(|record| record.next.0 - record.position.0)
            .sum();
        self.context.progress.read(records.len(), bytes);
        let now_ms = self.context.clock.unix_ms();
        let (parked, loads) = (&mut self.parked, &mut self.loads);
        let planned = plan_records(records, C::ROAD, &plan, now_ms, parked, loads);
        let metrics = &self.context.metrics;
        if planned.expired > 0 {
            tracing::warn!(road = %C::ROAD, deliveries = planned.expired, "deliveries expired");
            metrics.dropped(C::ROAD, "expired", planned.expired);
        }
        if planned.unreadable > 0 {
            tracing::error!(road = %C::ROAD, records = planned.unreadable, "records hold no event");
            metrics.dropped(C::ROAD, "lost", planned.unreadable);
        }
    }

    /// What cannot be read is counted and passed.
    async fn read_past(&mut self, error: ReadError) {
        tracing::error!(road = %C::ROAD, code = error.code(), error = %Chain(&error), "journal not read");
        match error {
            ReadError::Corrupt {
                next: Some(next), ..
            }
            | ReadError::Trimmed { oldest: next } => {
                self.context.metrics.unreadable(C::ROAD);
                self.reader.skip_to(next);
                self.loads.push_back(Load::new(next));
            }
            // The disk may come back; a closed journal is the end, and the road is stopped by then.
            _ => tokio::time::sleep(READ_PAUSE).await,
        }
    }

    fn send(&mut self, line: &mut C::Line, load: Load) -> Result<(), Failure> {
        let sequence = self.window.push(load.carried, Some(load.upto));
        self.show();
        line.send(sequence, load.deliveries)
    }

    /// Publishes how far the road has come.
    fn show(&self) {
        let parked = self.parked.oldest();
        let passed = self.window.passed();
        let done = parked.map_or(passed, |oldest| oldest.position.min(passed));
        self.done.send_if_modified(|at| {
            let moved = done > *at;
            *at = done.max(*at);
            moved
        });
        let planned = self
            .loads
            .iter()
            .flat_map(|load| load.carried.first())
            .next();
        let waiting = [parked, self.window.oldest(), planned];
        let oldest = crate::status::oldest(waiting.into_iter().flatten().map(|c| c.accepted_at_ms));
        self.context.progress.moved(done, oldest, self.parked.len());
    }

    fn report(&self, failure: &Failure, failed: u32) {
        let why = Chain(failure).to_string();
        // Once when it begins and now and then while it lasts, so that a long outage does not fill the log.
        if failed == 1 || failed.is_multiple_of(20) {
            tracing::warn!(road = %C::ROAD, failed, error = why, "deliveries wait");
        } else {
            tracing::debug!(road = %C::ROAD, failed, error = why, "deliveries wait");
        }
        self.context.metrics.retry(C::ROAD);
        let now_ms = self.context.clock.unix_ms();
        self.context.progress.broken(why, now_ms);
        self.show();
    }
}

/// The next plan.
async fn changed(plans: &mut watch::Receiver<Option<Arc<Plan>>>) -> Option<Arc<Plan>> {
    match plans.changed().await {
        Ok(()) => plans.borrow_and_update().clone(),
        // Whoever makes plans has ended: there is no next.
        Err(_) => std::future::pending().await,
    }
}

/// Waits until then; without a time, for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

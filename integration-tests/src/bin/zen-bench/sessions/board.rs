//! What the agents of one run have seen, for whoever waits until all of them have.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::watch;

/// Time for all agents to see something.
const PATIENCE: Duration = Duration::from_secs(300);

/// One line an agent, and what they count together.
pub(super) struct Board {
    lines: Vec<Mutex<Line>>,
    /// Sessions that ended without being asked to.
    lost: AtomicU64,
    /// Whether agents may dial.
    gate: watch::Sender<bool>,
}

/// What one agent saw last.
#[derive(Clone, Copy, Default)]
pub(super) struct Line {
    /// Revision of the newest snapshot it has whole.
    pub(super) revision: u64,
    /// When that came.
    pub(super) at: Option<Instant>,
    /// When its session was welcomed, while it is open.
    pub(super) welcomed: Option<Instant>,
}

impl Board {
    /// A board for so many agents, which may not dial yet.
    pub(super) fn new(agents: usize) -> Self {
        Self {
            lines: (0..agents).map(|_| Mutex::default()).collect(),
            lost: AtomicU64::new(0),
            gate: watch::Sender::new(false),
        }
    }

    /// Lets the agents dial.
    pub(super) fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until agents may dial.
    pub(super) async fn opened(&self) {
        // The board outlives its agents.
        let mut gate = self.gate.subscribe();
        let _open = gate.wait_for(|open| *open).await;
    }

    /// Changes an agent's line.
    pub(super) fn write(&self, agent: usize, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get(agent) {
            change(&mut line.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// An agent's line.
    pub(super) fn read(&self, agent: usize) -> Line {
        self.lines.get(agent).map_or_else(Line::default, |line| {
            *line.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }

    /// Counts a session that ended without being asked to.
    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Sessions that ended without being asked to, so far.
    pub(super) fn losses(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until `of` gives a time for every agent that is not before `start`; the answer is how
    /// long after `start` each was, in µs.
    pub(super) async fn all(
        &self,
        what: &str,
        start: Instant,
        of: impl Fn(usize, Line) -> Option<Instant>,
    ) -> anyhow::Result<Histogram<u64>> {
        let seen = |agent| of(agent, self.read(agent)).filter(|at| *at >= start);
        loop {
            let missing = (0..self.lines.len())
                .filter(|agent| seen(*agent).is_none())
                .count();
            if missing == 0 {
                break;
            }
            anyhow::ensure!(start.elapsed() < PATIENCE, "{what}: {missing} did not");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut took = Histogram::new(3)?;
        for at in (0..self.lines.len()).filter_map(seen) {
            took.record(u64::try_from(at.duration_since(start).as_micros())?.max(1))?;
        }
        Ok(took)
    }

    /// The revision every agent has now.
    pub(super) fn revisions(&self) -> Vec<u64> {
        (0..self.lines.len())
            .map(|agent| self.read(agent).revision)
            .collect()
    }
}

//! Makes a lane's frontier durable: coalesced, so that acknowledgements do not each cost a sync,
//! and away from the keeper, which never waits for a commit.

use std::time::Duration;

use tokio::sync::watch;
use zen_chassis::chain::Chain;
use zen_journal::{Cursor, Position};

use super::Lane;

/// How long a commit waits for more to come along.
const LINGER: Duration = Duration::from_millis(50);
/// So many settled records are committed at once.
const ENOUGH: u64 = 256;

/// How far the keeper has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Everything before this is settled.
    pub(super) settled: Position,
    /// Records settled since open.
    pub(super) records: u64,
}

/// The owner of the cursor.
pub(super) struct Committer {
    lane: Lane,
    cursor: Cursor,
    progress: watch::Receiver<Progress>,
    trimmed_at: Position,
}

impl Committer {
    /// A committer and the end that tells it how far to go. Dropping that end makes it commit a
    /// last time and end.
    pub(super) fn new(lane: Lane, cursor: Cursor) -> (Self, watch::Sender<Progress>) {
        let settled = cursor.position();
        let (teller, progress) = watch::channel(Progress {
            settled,
            records: 0,
        });
        // What an earlier process settled and did not trim goes with the first trim.
        let trimmed_at = lane.0.journal.start();
        (
            Self {
                lane,
                cursor,
                progress,
                trimmed_at,
            },
            teller,
        )
    }

    pub(super) async fn run(mut self) {
        let mut committed = 0;
        while self.progress.changed().await.is_ok() {
            let enough = self
                .progress
                .wait_for(|now| now.records >= committed + ENOUGH);
            // Either way it is time; an error means that the keeper is gone.
            drop(tokio::time::timeout(LINGER, enough).await);
            committed = self.commit().await;
            self.trim().await;
        }
        // Once more, should the last one have failed.
        self.commit().await;
    }

    /// Commits what is settled now; answers how many records that are.
    async fn commit(&mut self) -> u64 {
        let now = *self.progress.borrow_and_update();
        if let Err(error) = self.cursor.commit(now.settled).await {
            // The parcels since the last commit are sent again after a restart; the next commit
            // covers this one.
            tracing::error!(
                plane = %self.lane.0.plane, code = error.code(), error = %Chain(&error),
                "settled parcels not noted"
            );
        }
        now.records
    }

    /// Gives back the files that are wholly settled, once there may be one.
    async fn trim(&mut self) {
        let settled = self.cursor.position();
        let step = self.lane.0.setup.settings.segment_size.as_u64();
        if settled.0 < self.trimmed_at.0.saturating_add(step) {
            return;
        }
        match self.lane.0.journal.trim().await {
            Ok(_trimmed) => self.trimmed_at = settled,
            Err(error) => tracing::error!(
                plane = %self.lane.0.plane, code = error.code(), error = %Chain(&error),
                "settled parcels not removed"
            ),
        }
    }
}

//! The cursor behind a road: moved not more often than it must, and at the end.

use std::time::Duration;

use tokio::sync::watch;
use zen_chassis::chain::Chain;
use zen_journal::{Cursor, CursorError, Position};

use crate::plan::Road;

/// Commits are at least so far apart.
const COMMIT_EVERY: Duration = Duration::from_millis(50);

/// Commits where the road has come, not more often than it must, until the road has ended.
pub(super) async fn keep_committed(
    mut cursor: Cursor,
    mut done: watch::Receiver<Position>,
    road: Road,
) {
    loop {
        let ended = done.changed().await.is_err();
        let to = *done.borrow_and_update();
        match cursor.commit(to).await {
            Ok(()) | Err(CursorError::Closed) => {}
            Err(error) => {
                // The next commit repeats it; until then a restart would send again what is known by its id.
                tracing::warn!(%road, error = %Chain(&error), "cursor not written");
            }
        }
        if ended {
            return;
        }
        tokio::time::sleep(COMMIT_EVERY).await;
    }
}

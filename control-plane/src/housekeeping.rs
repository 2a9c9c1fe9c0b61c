//! Forgets what is old: minutes of counters, requests that may no longer be repeated.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zen_chassis::chain::Chain;
use zen_chassis::clock::millis;

use crate::control::Control;
use crate::store::{MINUTE_MS, StoreError};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How long minutes of counters are kept.
const MINUTES_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Tidies at once and then every hour, until `stop`. Several replicas may do so side by side.
///
/// # Errors
/// None: what cannot be forgotten now is forgotten later.
pub(crate) async fn run(
    control: Arc<Control>,
    stop: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    loop {
        if let Err(error) = tidy(&control).await {
            tracing::warn!(error = %Chain(&error), "cannot forget what is old, trying again later");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn tidy(control: &Control) -> Result<(), StoreError> {
    let now = control.stage.clock.unix_ms();
    let oldest = now.saturating_sub(millis(MINUTES_KEPT)) / MINUTE_MS;
    let minutes = control.store.forget_minutes(oldest).await?;
    let requests = control.store.forget_requests(now).await?;
    tracing::debug!(minutes, requests, "old rows forgotten");
    Ok(())
}

//! Waiting for a state: asked again and again until it holds, with what was last seen in the
//! failure.

use std::future::Future;
use std::time::{Duration, Instant};

/// Asks `look` until it gives a value; `look` says in its error what it saw instead.
///
/// # Errors
/// After `patience`: what was waited for and what was seen last.
pub async fn eventually<T, F>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => {
                anyhow::bail!(
                    "{what}: not within {} s; last seen: {seen:#}",
                    patience.as_secs()
                )
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}

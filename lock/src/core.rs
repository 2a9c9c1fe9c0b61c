//! What every way to a secret shares: keys, audit, counters, the realms that are served, and the
//! few threads on which secrets are opened.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use zen_chassis::Clock;
use zen_chassis::chain::Chain;
use zen_proto::codes::SecretCode;
use zen_seal::Realm;

use crate::audit::{Audit, Opening};
use crate::metrics::Metrics;
use crate::opener::Opener;

/// Questions that may wait for a thread; more are turned away.
const WAITING: usize = 4096;

/// What is shared. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) opener: Opener,
    pub(crate) audit: Audit,
    pub(crate) metrics: Metrics,
    /// Whose secrets open here: the plane's, once it is known, and the cluster's.
    pub(crate) realms: watch::Receiver<Vec<Realm>>,
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
}

impl Core {
    /// Writes down what came of a question, in front of the answer. Blocking.
    ///
    /// # Errors
    /// [`SecretCode::LockUnreachable`] when it cannot be written: then nothing is handed out.
    pub(crate) fn note(&self, opening: Opening) -> Result<(), SecretCode> {
        self.audit.note(opening).map_err(|error| {
            self.metrics.unaudited();
            tracing::error!(error = %Chain(&error), "audit log not written: nothing is handed out");
            SecretCode::LockUnreachable
        })
    }
}

/// Runs what takes a processor or a disk beside the event loop, one piece a core at a time and a
/// bounded number waiting. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Pool {
    /// One place for each core.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            places: Arc::new(Semaphore::new(cores)),
            queue: Arc::new(Semaphore::new(WAITING)),
        }
    }

    /// Does a piece of work. Nothing if too many wait already, or if it panicked. Who gives up
    /// waiting gives up the turn; work that began is finished.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let queued = Arc::clone(&self.queue).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        drop(queued);
        let held = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(held).await.ok()
    }
}

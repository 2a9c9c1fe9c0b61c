//! Named, owned tasks. The end of a vital task before shutdown is a failure that stops its
//! component; a side task (one connection) only has its panic reported.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::chain::Chain;

/// The tasks of one component. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Tasks {
    /// Tasks that stop with `shutdown`.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            tracker: TaskTracker::new(),
            shutdown,
            failure: Arc::new(Mutex::new(None)),
        }
    }

    /// Runs a task the component cannot do without: if it ends in an error or a panic, or ends at
    /// all before shutdown, the component stops with that failure.
    pub fn spawn<E>(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error> + Send + 'static,
    {
        let tasks = self.clone();
        let work = tokio::spawn(task.in_current_span());
        self.tracker.spawn(
            async move {
                let failure = match work.await {
                    Ok(Ok(())) if tasks.shutdown.is_cancelled() => return,
                    Ok(Ok(())) => anyhow::anyhow!("task {name} ended before shutdown"),
                    Ok(Err(error)) => error.into().context(format!("task {name} failed")),
                    Err(panic) => {
                        anyhow::Error::new(panic).context(format!("task {name} panicked"))
                    }
                };
                tasks.fail(failure);
            }
            .in_current_span(),
        );
    }

    /// Runs a task whose end concerns nobody else, such as one connection. A panic is logged.
    /// Dropping the handle does not stop it; aborting through it does.
    pub fn spawn_side(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let guard = PanicReport(name);
        self.tracker.spawn(
            async move {
                task.await;
                std::mem::forget(guard);
            }
            .in_current_span(),
        )
    }

    /// Stops the component with a failure.
    pub fn fail(&self, failure: anyhow::Error) {
        tracing::error!(error = %Chain(failure.as_ref()), "component failed");
        self.failure.lock().get_or_insert(failure);
        self.shutdown.cancel();
    }

    /// After shutdown: waits up to `grace` for every task to end.
    ///
    /// # Errors
    /// The failure that stopped the component, or that tasks were still running.
    pub async fn finish(&self, grace: Duration) -> anyhow::Result<()> {
        self.tracker.close();
        let in_time = tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_ok();
        if let Some(failure) = self.failure.lock().take() {
            return Err(failure);
        }
        anyhow::ensure!(
            in_time,
            "{} tasks did not end within {} s",
            self.tracker.len(),
            grace.as_secs()
        );
        Ok(())
    }
}

/// Reports a panic of the task that holds it: dropped while unwinding.
struct PanicReport(&'static str);

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "task panicked");
        }
    }
}

//! One term: all that the agent does while it holds the lease, and nothing of it afterwards.

use std::sync::Arc;

use zen_chassis::CancellationToken;
use zen_chassis::backoff::Backoff;
use zen_chassis::chain::Chain;
use zen_chassis::ready::Condition;

use super::store::SecretStore;
use super::watch::Bundles;
use super::{End, Kubernetes, SETTLE, publish};
use crate::agent::load;
use crate::driver::{Course, Driver};
use crate::plane::Plane;

impl Kubernetes {
    /// Acts for the plane until the lease is lost, the state is another's, or shutdown.
    pub(super) async fn term(&mut self, plane: &Plane, course: &Course) -> End {
        let (over, overtaken) = (CancellationToken::new(), CancellationToken::new());
        let bundles = Bundles::new(&self.settings);
        let store = Arc::new(SecretStore::new(
            self.api.clone(),
            self.board.clone(),
            bundles.clone(),
            over.clone(),
            overtaken.clone(),
        ));
        let plane = Plane {
            store: Arc::clone(&store) as _,
            ..plane.clone()
        };
        let random = &plane.stage.random;
        let work = async {
            tokio::join!(
                bundles.follow(&self.api, &self.board, random),
                publish::keep(&self.api, &plane.desk, &self.board, random),
                drive(&plane, course),
            )
        };
        let shutdown = &plane.stage.shutdown;
        let end = tokio::select! {
            biased;
            () = shutdown.cancelled() => End::Shutdown,
            ended = self.keeper.keep() => End::Lease(ended),
            () = overtaken.cancelled() => End::Overtaken,
            // It has no end of its own.
            _ = Box::pin(work) => End::Shutdown,
        };
        // In this order: nobody is served any more, nothing is written any more.
        plane.leave();
        over.cancel();
        if tokio::time::timeout(SETTLE, store.settled()).await.is_err() {
            tracing::warn!("an operation of the store does not end");
        }
        end
    }
}

/// Takes up what is stored, and goes on from there.
async fn drive(plane: &Plane, course: &Course) {
    let enrolment = plane
        .stage
        .ready
        .condition("enrollment", "reading the stored state");
    read_state(plane, &enrolment).await;
    let enrolled = plane.desk.now().identity.is_some();
    if enrolled {
        enrolment.ready();
    }
    let driver = Driver::new(plane.clone(), course.clone(), enrolment);
    let (driven, leaf) = tokio::join!(driver.run(), plane.clone().keep_leaf());
    let Ok(()) = driven;
    if let Err(error) = leaf {
        tracing::debug!(error = %Chain(error.as_ref()), "leaf no longer kept");
    }
    // Both end at shutdown only; what follows is the term's.
    std::future::pending::<()>().await;
}

/// Reads until it can be read: an API server that is slow, and an operator who mends it, need no
/// restart.
async fn read_state(plane: &Plane, enrolment: &Condition) {
    let mut failed = 0;
    loop {
        match load(&*plane.store).await {
            Ok(held) => return plane.enter(held),
            Err(error) => {
                failed += 1;
                let line = format!("STORE_FAILED: {}", Chain(error.as_ref()));
                if failed == 1 {
                    tracing::error!(error = line, "stored state cannot be read");
                    plane.herald.warn("STORE_FAILED", &line);
                }
                enrolment.not_ready(line);
                let pause = Backoff::FAR.pause(failed, plane.stage.random.fraction());
                tokio::time::sleep(pause).await;
            }
        }
    }
}

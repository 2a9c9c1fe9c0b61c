//! Publishes: whoever changes something names the planes it concerns; one task makes their
//! snapshots anew, and where the content is another one, gives it a revision and wakes the plane's
//! session. A burst of changes becomes one snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;
use zen_chassis::CancellationToken;
use zen_chassis::backoff::Backoff;
use zen_chassis::chain::Chain;
use zen_proto::ids::PlaneId;
use zen_proto::limits;

use crate::control::Control;
use crate::desired;
use crate::digest::sha256;
use crate::store::{Published, StoreError};

/// Pauses after the store failed.
const RETRY: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(10),
};

/// The planes whose snapshots are to be made anew. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Touched(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Each with the revision that its next snapshot must at least follow.
    planes: Mutex<BTreeMap<PlaneId, u64>>,
    wake: Notify,
}

impl Touched {
    /// Something that concerns these planes has changed.
    pub(crate) fn touch(&self, planes: impl IntoIterator<Item = PlaneId>) {
        let mut all = self.0.planes.lock();
        for plane in planes {
            all.entry(plane).or_insert(0);
        }
        self.0.wake.notify_one();
    }

    /// The plane has applied a revision that was never published here (the store was restored from
    /// an older copy): its next one must follow that.
    pub(crate) fn overtake(&self, plane: PlaneId, revision: u64) {
        let mut all = self.0.planes.lock();
        let floor = all.entry(plane).or_insert(0);
        *floor = revision.max(*floor);
        self.0.wake.notify_one();
    }

    fn put_back(&self, plane: PlaneId, floor: u64) {
        self.overtake(plane, floor);
    }

    fn take(&self) -> Option<(PlaneId, u64)> {
        self.0.planes.lock().pop_first()
    }
}

/// Publishes what is touched until `stop`. Everything is looked at once at the start: whatever an
/// earlier process did not get to is done now.
///
/// # Errors
/// None while the process lives: a store that fails is tried again.
pub(crate) async fn run(control: Arc<Control>, stop: CancellationToken) -> Result<(), StoreError> {
    let mut failed = 0;
    let mut begun = false;
    while !stop.is_cancelled() {
        let worked = async {
            if !begun {
                control
                    .touched
                    .touch(control.store.planes_in_service().await?);
                begun = true;
            }
            while let Some((plane, floor)) = control.touched.take() {
                if let Err(error) = publish(&control, plane, floor).await {
                    control.touched.put_back(plane, floor);
                    return Err(error);
                }
            }
            Ok(())
        };
        let pause = match worked.await {
            Ok(()) => {
                failed = 0;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = control.touched.0.wake.notified() => {}
                }
                continue;
            }
            Err(error) => {
                failed += 1;
                tracing::warn!(error = %Chain(&error), "cannot publish snapshots, trying again");
                RETRY.pause(failed, control.stage.random.fraction())
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

/// Makes one plane's snapshot anew and publishes it if its content is another one.
async fn publish(control: &Control, plane: PlaneId, floor: u64) -> Result<(), StoreError> {
    let Some((inputs, last)) = control.store.inputs(plane).await? else {
        return Ok(());
    };
    if inputs.plane.is_retired() {
        return Ok(());
    }
    let mut snapshot = desired::snapshot(&inputs, &control.trust_domain);
    let content_sha256 = sha256(&snapshot.encode_to_vec());
    let same = last.content_sha256 == Some(content_sha256);
    if same && last.revision >= floor {
        return Ok(());
    }
    let revision = last.revision.max(floor) + 1;
    snapshot.revision = revision;
    let encoded = snapshot.encode_to_vec();
    if encoded.len() > limits::SNAPSHOT {
        let bytes = encoded.len();
        tracing::error!(%plane, bytes, "snapshot too large, the plane keeps the one before");
        return Ok(());
    }
    let published = Published {
        revision,
        content_sha256,
        snapshot: encoded,
    };
    let at = control.stage.clock.unix_ms();
    match control
        .store
        .publish(plane, last.revision, &published, at)
        .await
    {
        Ok(()) => {}
        // Another control plane was first: what it published is looked at before anything else is.
        Err(StoreError::Changed) => {
            control.touched.overtake(plane, floor);
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    control.metrics.published();
    control.live.published(plane, revision);
    tracing::info!(%plane, revision, "snapshot published");
    Ok(())
}

//! All lanes of the bridge, each opened when it is first needed and kept open.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use zen_chassis::chain::Chain;
use zen_chassis::files::{self, FileError};
use zen_chassis::tasks::Tasks;
use zen_proto::ids::PlaneId;

use crate::lane::{Lane, LaneError, LaneFigures, LaneSetup};

/// Lanes opened at the same time.
const AT_ONCE: usize = 8;

/// The lanes by plane. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<Inner>);

struct Inner {
    root: PathBuf,
    setup: Arc<LaneSetup>,
    tasks: Tasks,
    slots: Mutex<HashMap<PlaneId, Slot>>,
}

/// A lane that is open, or being opened by whoever came first.
type Slot = Arc<OnceCell<Lane>>;

impl Lanes {
    /// The lanes under `root`, which is made if need be; none is opened yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn new(root: PathBuf, setup: LaneSetup, tasks: Tasks) -> Result<Self, FileError> {
        files::make_private_folder(&root)?;
        let slots = Mutex::default();
        Ok(Self(Arc::new(Inner {
            root,
            setup: Arc::new(setup),
            tasks,
            slots,
        })))
    }

    /// Opens the lanes of these planes, so that their parcels expire, are counted and reported even
    /// if nobody asks for them. One that does not open holds up no other.
    pub(crate) async fn open_existing(&self, planes: Vec<PlaneId>) {
        futures::stream::iter(planes)
            .for_each_concurrent(AT_ONCE, |plane| async move {
                // A failure was logged where it happened.
                let _opened = self.get(plane).await;
            })
            .await;
    }

    /// The planes that have a lane's folder.
    ///
    /// # Errors
    /// When the folders cannot be listed.
    pub(crate) fn existing(&self) -> std::io::Result<Vec<PlaneId>> {
        let mut planes = Vec::new();
        for entry in std::fs::read_dir(&self.0.root)? {
            let name = entry?.file_name();
            match name.to_str().map(str::parse::<PlaneId>) {
                Some(Ok(plane)) => planes.push(plane),
                _ => tracing::warn!(?name, "what lies among the lanes is named after no plane"),
            }
        }
        Ok(planes)
    }

    /// The lane of a plane, opened if need be.
    ///
    /// # Errors
    /// [`LaneError`]; the next call tries again.
    pub(crate) async fn get(&self, plane: PlaneId) -> Result<Lane, LaneError> {
        let slot = Arc::clone(self.0.slots.lock().entry(plane).or_default());
        let lane = slot
            .get_or_try_init(|| self.open(plane, Arc::clone(&slot)))
            .await?;
        if lane.is_closing() {
            Err(LaneError::Closing)
        } else {
            Ok(lane.clone())
        }
    }

    /// What every open lane holds.
    pub(crate) fn figures(&self) -> Vec<(PlaneId, LaneFigures)> {
        let slots = self.0.slots.lock();
        let open = slots
            .iter()
            .filter_map(|(plane, slot)| Some((*plane, slot.get()?)));
        open.map(|(plane, lane)| (plane, lane.figures())).collect()
    }

    /// Closes all lanes: their cursors are committed when this returns. Lanes opened later end at
    /// once.
    pub(crate) async fn close(&self) {
        self.0.setup.closing.cancel();
        let lanes: Vec<Lane> = self
            .0
            .slots
            .lock()
            .values()
            .filter_map(|slot| slot.get().cloned())
            .collect();
        for lane in lanes {
            lane.ended().await;
        }
    }

    async fn open(&self, plane: PlaneId, slot: Slot) -> Result<Lane, LaneError> {
        let folder = self.0.root.join(plane.to_string());
        let opened = Lane::open(plane, &folder, Arc::clone(&self.0.setup)).await;
        let (lane, work) = opened.inspect_err(|error| {
            tracing::error!(%plane, code = error.code(), error = %Chain(error), "lane not opened");
        })?;
        let lanes = self.clone();
        self.0.tasks.spawn_side("lane", async move {
            work.await;
            lanes.forget(plane, &slot);
        });
        Ok(lane)
    }

    /// A lane that has ended makes room for a new opening of it.
    fn forget(&self, plane: PlaneId, ended: &Slot) {
        let mut slots = self.0.slots.lock();
        if slots
            .get(&plane)
            .is_some_and(|slot| Arc::ptr_eq(slot, ended))
        {
            slots.remove(&plane);
        }
    }
}

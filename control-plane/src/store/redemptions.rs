//! One redemption or recovery is one transaction: a [`Case`] is opened with all that it is judged
//! by, and closed with what came of it. A case that is dropped leaves nothing behind.

use zen_proto::ids::{BundleId, PlaneId};

use super::bundles::{self, Redeemed, StoredBundle};
use super::events::{self, NewEvent};
use super::identities::{self, Issued};
use super::planes::plane;
use super::{DbRow, Store, StoreError, Tx, stored};
use crate::plane::Plane;

/// What a redemption or recovery is judged by, held still until it is closed.
pub(crate) struct Case {
    tx: Tx,
    /// The bundle, if there is one of that id. None in a recovery.
    pub(crate) bundle: Option<StoredBundle>,
    /// The plane: the bundle's own, or the one that wants to recover.
    pub(crate) plane: Option<Plane>,
    /// The plane's current keys.
    pub(crate) current_keys: Vec<[u8; 32]>,
}

impl Store {
    /// Opens the case of a bundle.
    pub(crate) async fn redemption(&self, bundle: BundleId) -> Result<Case, StoreError> {
        let mut tx = self.write().await?;
        let bundle = bundles::find(&mut tx, bundle).await?;
        let plane = bundle.as_ref().map(|bundle| bundle.plane);
        Case::open(tx, bundle, plane).await
    }

    /// Opens the case of a plane that wants to recover.
    pub(crate) async fn recovery(&self, plane: PlaneId) -> Result<Case, StoreError> {
        let tx = self.write().await?;
        Case::open(tx, None, Some(plane)).await
    }
}

impl Case {
    async fn open(
        mut tx: Tx,
        bundle: Option<StoredBundle>,
        id: Option<PlaneId>,
    ) -> Result<Self, StoreError> {
        let Some(id) = id else {
            return Ok(Self {
                tx,
                bundle,
                plane: None,
                current_keys: Vec::new(),
            });
        };
        let plane = sqlx::query("SELECT * FROM planes WHERE id = $1")
            .bind(id.to_string())
            .try_map(|row: DbRow| plane(&row))
            .fetch_optional(&mut *tx)
            .await?;
        let current_keys = identities::current(&mut tx, id).await?;
        Ok(Self {
            tx,
            bundle,
            plane,
            current_keys,
        })
    }

    /// The SubjectPublicKeyInfo of a current key of the plane.
    pub(crate) async fn spki(
        &mut self,
        plane: PlaneId,
        key_sha256: &[u8; 32],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        identities::spki(&mut self.tx, plane, key_sha256).await
    }

    /// Closes the case with a first redemption: the bundle is bound to the key, which becomes the
    /// plane's only current one.
    pub(crate) async fn enrol(
        mut self,
        bundle: BundleId,
        issued: &Issued,
        events: &[NewEvent],
    ) -> Result<(), StoreError> {
        let redeemed = Redeemed {
            key_sha256: issued.key_sha256,
            chain_pem: issued.chain_pem.clone(),
        };
        bundles::bind(&mut self.tx, bundle, &redeemed, issued.at).await?;
        identities::replace(&mut self.tx, issued).await?;
        sqlx::query(
            "UPDATE planes SET enrolled_at = $1, first_heartbeat_at = NULL, recoveries = 0 \
             WHERE id = $2",
        )
        .bind(stored(issued.at))
        .bind(issued.plane.to_string())
        .execute(&mut *self.tx)
        .await?;
        self.record(events).await
    }

    /// Closes the case with a recovery, which is counted.
    pub(crate) async fn recover(
        mut self,
        issued: &Issued,
        events: &[NewEvent],
    ) -> Result<(), StoreError> {
        identities::keep(&mut self.tx, issued).await?;
        sqlx::query("UPDATE planes SET recoveries = recoveries + 1 WHERE id = $1")
            .bind(issued.plane.to_string())
            .execute(&mut *self.tx)
            .await?;
        self.record(events).await
    }

    /// Closes the case with nothing but entries of the timeline.
    pub(crate) async fn record(mut self, events: &[NewEvent]) -> Result<(), StoreError> {
        for event in events {
            events::add(&mut self.tx, event).await?;
        }
        Ok(self.tx.commit().await?)
    }
}

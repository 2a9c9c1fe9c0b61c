//! What was last published to each plane.

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::{DbRow, Notice, Store, StoreError, hash, number, stored};

/// A snapshot as it was published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    /// From 1.
    pub(crate) revision: u64,
    /// SHA-256 of the encoding with revision 0: what tells whether the content changed.
    pub(crate) content_sha256: [u8; 32],
    /// The encoding with its revision.
    pub(crate) snapshot: Vec<u8>,
}

impl Store {
    /// What was last published to the plane.
    pub(crate) async fn published(&self, plane: PlaneId) -> Result<Option<Published>, StoreError> {
        let found = sqlx::query(
            "SELECT revision, content_sha256, snapshot FROM snapshots WHERE plane_id = $1",
        )
        .bind(plane.to_string())
        .try_map(|row: DbRow| {
            Ok(Published {
                revision: number(&row, "revision")?,
                content_sha256: hash(&row, "content_sha256")?,
                snapshot: row.try_get("snapshot")?,
            })
        })
        .fetch_optional(&self.reader)
        .await?;
        Ok(found)
    }

    /// The revision last published to the plane; 0 if none was.
    pub(crate) async fn published_revision(&self, plane: PlaneId) -> Result<u64, StoreError> {
        let found = sqlx::query("SELECT revision FROM snapshots WHERE plane_id = $1")
            .bind(plane.to_string())
            .try_map(|row: DbRow| number(&row, "revision"))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found.unwrap_or(0))
    }

    /// Publishes, if what was published before is still of revision `before` (0 if nothing was),
    /// and tells the other control planes.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if somebody else published meanwhile.
    pub(crate) async fn publish(
        &self,
        plane: PlaneId,
        before: u64,
        new: &Published,
        at: u64,
    ) -> Result<(), StoreError> {
        // One statement keeps the promise: no turn among the writers is needed.
        let mut tx = self.write_alone().await?;
        let done = sqlx::query(
            "INSERT INTO snapshots (plane_id, revision, content_sha256, snapshot, published_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (plane_id) DO UPDATE \
             SET revision = excluded.revision, content_sha256 = excluded.content_sha256, \
             snapshot = excluded.snapshot, published_at = excluded.published_at \
             WHERE snapshots.revision = $6",
        )
        .bind(plane.to_string())
        .bind(stored(new.revision))
        .bind(new.content_sha256.as_slice())
        .bind(&new.snapshot)
        .bind(stored(at))
        .bind(stored(before))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        let revision = new.revision;
        self.notify(&mut tx, &Notice::Published { plane, revision })
            .await?;
        Ok(tx.commit().await?)
    }
}

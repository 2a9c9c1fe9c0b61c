//! What was last published to each plane.

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::{DbRow, Store, StoreError, hash, number, stored};

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

    /// Publishes, if the revision is beyond the one published before.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if somebody else published meanwhile.
    pub(crate) async fn publish(
        &self,
        plane: PlaneId,
        new: &Published,
        at: u64,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO snapshots (plane_id, revision, content_sha256, snapshot, published_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (plane_id) DO UPDATE \
             SET revision = excluded.revision, content_sha256 = excluded.content_sha256, \
             snapshot = excluded.snapshot, published_at = excluded.published_at \
             WHERE snapshots.revision < excluded.revision",
        )
        .bind(plane.to_string())
        .bind(stored(new.revision))
        .bind(new.content_sha256.as_slice())
        .bind(&new.snapshot)
        .bind(stored(at))
        .execute(&self.writer)
        .await?;
        if done.rows_affected() == 0 {
            Err(StoreError::Changed)
        } else {
            Ok(())
        }
    }
}

//! The steps of a root's rotation as they are kept, each in one transaction with its entry in the
//! audit log, and what planes say of the roots they have.

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::roots::{insert, root};
use super::{DbRow, NewAudit, Store, StoreError, StoredRoot, Tx, audit, number_if, stored, word};
use crate::roots::{self, Said, Stage, StepError};

/// A step, or why it could not be taken.
pub(crate) type RootStep = Result<(), StepError>;

/// What is known of one enrolled plane in service, as far as roots are concerned.
pub(crate) struct PlaneRoots {
    pub(crate) id: PlaneId,
    pub(crate) name: String,
    pub(crate) said: Said,
    /// When it began to say so, Unix milliseconds; none if it never said anything.
    pub(crate) since: Option<u64>,
    pub(crate) enrolled: bool,
    /// When its bundle that can still be redeemed was issued.
    pub(crate) bundle_at: Option<u64>,
}

impl Store {
    /// Every root, the oldest first.
    pub(crate) async fn roots(&self) -> Result<Vec<StoredRoot>, StoreError> {
        let roots = sqlx::query("SELECT * FROM roots ORDER BY id")
            .try_map(|row: DbRow| root(&row))
            .fetch_all(&self.reader)
            .await?;
        Ok(roots)
    }

    /// Announces a root.
    pub(crate) async fn announce_root(
        &self,
        new: &StoredRoot,
        entry: &NewAudit,
    ) -> Result<RootStep, StoreError> {
        let mut tx = self.write().await?;
        if let Err(refused) = roots::begin(&stages(&mut tx).await?) {
            return Ok(Err(refused));
        }
        insert(&mut tx, new).await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Makes an announced root the one that signs.
    pub(crate) async fn promote_root(
        &self,
        id: i64,
        entry: &NewAudit,
    ) -> Result<RootStep, StoreError> {
        let mut tx = self.write().await?;
        if let Err(refused) = roots::promote(&stages(&mut tx).await?, id) {
            return Ok(Err(refused));
        }
        for (from, to) in [
            (Stage::Signing, Stage::Retiring),
            (Stage::Announced, Stage::Signing),
        ] {
            sqlx::query("UPDATE roots SET stage = $1 WHERE stage = $2")
                .bind(to.as_str())
                .bind(from.as_str())
                .execute(&mut *tx)
                .await?;
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Removes a root, with its key.
    pub(crate) async fn remove_root(
        &self,
        id: i64,
        entry: &NewAudit,
    ) -> Result<RootStep, StoreError> {
        let mut tx = self.write().await?;
        if let Err(refused) = roots::remove(&stages(&mut tx).await?, id) {
            return Ok(Err(refused));
        }
        sqlx::query("DELETE FROM roots WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Keeps what a plane says of its roots; the time stays if it said the same before.
    pub(crate) async fn keep_said_roots(
        &self,
        plane: PlaneId,
        said: &Said,
        at: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO plane_roots (plane_id, held, used, at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (plane_id) DO UPDATE \
             SET held = excluded.held, used = excluded.used, at = excluded.at \
             WHERE plane_roots.held <> excluded.held OR plane_roots.used <> excluded.used",
        )
        .bind(plane.to_string())
        .bind(words(&said.held))
        .bind(words(&said.used))
        .bind(stored(at))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Every plane in service that is enrolled, or may become so by a bundle that is out.
    pub(crate) async fn plane_roots(&self, now: u64) -> Result<Vec<PlaneRoots>, StoreError> {
        let planes = sqlx::query(
            "SELECT p.id, p.name, p.enrolled_at, r.held, r.used, r.at, \
             (SELECT MIN(b.issued_at) FROM bundles b WHERE b.plane_id = p.id \
              AND b.superseded_at IS NULL AND b.redeemed_at IS NULL AND b.expires_at > $1) \
             AS bundle_at \
             FROM planes p LEFT JOIN plane_roots r ON r.plane_id = p.id \
             WHERE p.retired_at IS NULL ORDER BY p.id",
        )
        .bind(stored(now))
        .try_map(|row: DbRow| plane(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(planes
            .into_iter()
            .filter(|plane| plane.enrolled || plane.bundle_at.is_some())
            .collect())
    }
}

async fn stages(tx: &mut Tx) -> Result<Vec<(i64, Stage)>, StoreError> {
    let stages = sqlx::query("SELECT id, stage FROM roots ORDER BY id")
        .try_map(|row: DbRow| Ok((row.try_get("id")?, word(&row, "stage")?)))
        .fetch_all(&mut **tx)
        .await?;
    Ok(stages)
}

fn plane(row: &DbRow) -> Result<PlaneRoots, sqlx::Error> {
    let digests = |column: &'static str| -> Result<Vec<[u8; 32]>, sqlx::Error> {
        let text: Option<String> = row.try_get(column)?;
        Ok(read(&text.unwrap_or_default()))
    };
    Ok(PlaneRoots {
        id: word(row, "id")?,
        name: row.try_get("name")?,
        said: Said {
            held: digests("held")?,
            used: digests("used")?,
        },
        since: number_if(row, "at")?,
        enrolled: number_if(row, "enrolled_at")?.is_some(),
        bundle_at: number_if(row, "bundle_at")?,
    })
}

fn words(digests: &[[u8; 32]]) -> String {
    let words: Vec<_> = digests.iter().map(hex::encode).collect();
    words.join(" ")
}

fn read(words: &str) -> Vec<[u8; 32]> {
    let digest = |word: &str| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(word, &mut bytes).ok().map(|()| bytes)
    };
    words.split(' ').filter_map(digest).collect()
}

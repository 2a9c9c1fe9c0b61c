//! Planes: made, listed, changed, retired, and what was last heard of them.

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::{
    DbRow, NewAudit, Notice, Page, Scope, Store, StoreError, Wanted, audit, name_taken, number,
    number_if, stored, word, word_if,
};
use crate::plane::{Plane, PlaneKind};

/// What people may change of a plane.
pub(crate) struct PlaneChange {
    pub(crate) name: String,
    pub(crate) data_plane: Option<PlaneId>,
}

/// What is kept of a session, coarsely.
pub(crate) struct Heard<'a> {
    /// Unix milliseconds.
    pub(crate) at: u64,
    pub(crate) agent_version: &'a str,
    pub(crate) applied_revision: u64,
}

/// What came of retiring a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// It is out of service from now on.
    Now,
    /// It was out of service already.
    Before,
    /// It is at another version than the one that is meant.
    Changed,
}

pub(super) fn plane(row: &DbRow) -> Result<Plane, sqlx::Error> {
    Ok(Plane {
        id: word(row, "id")?,
        tenant: word(row, "tenant_id")?,
        name: row.try_get("name")?,
        kind: word(row, "kind")?,
        data_plane: word_if(row, "data_plane_id")?,
        created_at: number(row, "created_at")?,
        enrolled_at: number_if(row, "enrolled_at")?,
        retired_at: number_if(row, "retired_at")?,
        version: number(row, "version")?,
        last_heartbeat_at: number_if(row, "last_heartbeat_at")?,
        agent_version: row.try_get("agent_version")?,
        applied_revision: number(row, "applied_revision")?,
        recoveries: number(row, "recoveries")?,
    })
}

impl Store {
    /// Adds a plane.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if an unretired plane of the tenant has the name.
    pub(crate) async fn add_plane(
        &self,
        plane: &Plane,
        entry: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO planes (id, tenant_id, name, kind, data_plane_id, created_at, version, \
             applied_revision, recoveries) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0)",
        )
        .bind(plane.id.to_string())
        .bind(plane.tenant.to_string())
        .bind(&plane.name)
        .bind(plane.kind.as_str())
        .bind(plane.data_plane.map(|id| id.to_string()))
        .bind(stored(plane.created_at))
        .bind(stored(plane.version))
        .execute(&mut *tx)
        .await
        .map_err(name_taken)?;
        audit::append(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// The plane, whosever it is.
    pub(crate) async fn any_plane(&self, id: PlaneId) -> Result<Option<Plane>, StoreError> {
        let found = sqlx::query("SELECT * FROM planes WHERE id = $1")
            .bind(id.to_string())
            .try_map(|row: DbRow| plane(&row))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// The plane, if it lies in the scope.
    pub(crate) async fn plane(
        &self,
        scope: Scope,
        id: PlaneId,
    ) -> Result<Option<Plane>, StoreError> {
        let found = self.any_plane(id).await?;
        Ok(found.filter(|plane| [scope.tenant, scope.also].contains(&plane.tenant)))
    }

    /// The planes of the scope, retired ones too.
    pub(crate) async fn planes(
        &self,
        scope: Scope,
        kind: Option<PlaneKind>,
        wanted: &Wanted,
    ) -> Result<Page<Plane>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM planes WHERE (tenant_id = $1 OR tenant_id = $2) AND id > $3 \
             AND ($4 = '' OR kind = $4) \
             AND ($5 = '' OR LOWER(name) LIKE LOWER($5) ESCAPE '\\') \
             AND ($6 = '' OR name = $6) ORDER BY id LIMIT $7",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(&wanted.after)
        .bind(kind.map(PlaneKind::as_str).unwrap_or_default())
        .bind(wanted.named.pattern())
        .bind(&wanted.named.exact)
        .bind(wanted.rows())
        .try_map(|row: DbRow| plane(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(Page::cut(rows, wanted, |plane| plane.id.to_string()))
    }

    /// Every plane in service, whosever it is.
    pub(crate) async fn planes_in_service(&self) -> Result<Vec<PlaneId>, StoreError> {
        let found = sqlx::query("SELECT id FROM planes WHERE retired_at IS NULL ORDER BY id")
            .try_map(|row: DbRow| word(&row, "id"))
            .fetch_all(&self.reader)
            .await?;
        Ok(found)
    }

    /// The data planes in service, at most two: one is a default, more is a choice.
    pub(crate) async fn some_data_planes(&self) -> Result<Vec<PlaneId>, StoreError> {
        let found = sqlx::query(
            "SELECT id FROM planes WHERE kind = $1 AND retired_at IS NULL ORDER BY id LIMIT 2",
        )
        .bind(PlaneKind::Data.as_str())
        .try_map(|row: DbRow| word(&row, "id"))
        .fetch_all(&self.reader)
        .await?;
        Ok(found)
    }

    /// The edge planes that use the data plane, retired ones too.
    pub(crate) async fn planes_using(&self, data_plane: PlaneId) -> Result<Vec<Plane>, StoreError> {
        let found = sqlx::query("SELECT * FROM planes WHERE data_plane_id = $1 ORDER BY id")
            .bind(data_plane.to_string())
            .try_map(|row: DbRow| plane(&row))
            .fetch_all(&self.reader)
            .await?;
        Ok(found)
    }

    /// Changes a plane that is still as it was read.
    ///
    /// # Errors
    /// [`StoreError::Changed`], [`StoreError::NameTaken`].
    pub(crate) async fn change_plane(
        &self,
        read: &Plane,
        change: &PlaneChange,
        entry: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE planes SET name = $1, data_plane_id = $2, version = version + 1 \
             WHERE id = $3 AND version = $4 AND retired_at IS NULL",
        )
        .bind(&change.name)
        .bind(change.data_plane.map(|id| id.to_string()))
        .bind(read.id.to_string())
        .bind(stored(read.version))
        .execute(&mut *tx)
        .await
        .map_err(name_taken)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        audit::append(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// Takes a plane out of service for good: its bundles and keys are worth nothing any more.
    pub(crate) async fn retire_plane(
        &self,
        id: PlaneId,
        pinned: Option<u64>,
        at: u64,
        entry: &NewAudit,
    ) -> Result<Retired, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE planes SET retired_at = $1, version = version + 1 \
             WHERE id = $2 AND retired_at IS NULL AND ($3 = 0 OR version = $3)",
        )
        .bind(stored(at))
        .bind(id.to_string())
        .bind(stored(pinned.unwrap_or(0)))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            let row = sqlx::query("SELECT retired_at FROM planes WHERE id = $1")
                .bind(id.to_string())
                .try_map(|row: DbRow| number_if(&row, "retired_at"))
                .fetch_optional(&mut *tx)
                .await?;
            let before = row.flatten().is_some() || pinned.is_none();
            return Ok(if before {
                Retired::Before
            } else {
                Retired::Changed
            });
        }
        sqlx::query("UPDATE plane_identities SET current = $1 WHERE plane_id = $2")
            .bind(false)
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        audit::append(&mut tx, entry).await?;
        self.notify(&mut tx, &Notice::Retired(id)).await?;
        tx.commit().await?;
        Ok(Retired::Now)
    }

    /// Keeps what was last heard of a plane. Answers whether it is the first heartbeat since its
    /// last redemption.
    pub(crate) async fn heard(&self, id: PlaneId, heard: &Heard<'_>) -> Result<bool, StoreError> {
        let mut tx = self.write_alone().await?;
        sqlx::query(
            "UPDATE planes SET last_heartbeat_at = $1, agent_version = $2, applied_revision = $3 \
             WHERE id = $4",
        )
        .bind(stored(heard.at))
        .bind(heard.agent_version)
        .bind(stored(heard.applied_revision))
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        let first = sqlx::query(
            "UPDATE planes SET first_heartbeat_at = $1 \
             WHERE id = $2 AND first_heartbeat_at IS NULL",
        )
        .bind(stored(heard.at))
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(first.rows_affected() == 1)
    }

    /// Gives a plane its whole budget of recoveries again, after a long session.
    pub(crate) async fn forgive_recoveries(&self, id: PlaneId) -> Result<(), StoreError> {
        sqlx::query("UPDATE planes SET recoveries = 0 WHERE id = $1 AND recoveries > 0")
            .bind(id.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

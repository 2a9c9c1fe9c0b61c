//! Flows, together with where their two ends live.

use zen_proto::ids::{EndpointId, FlowId, PlaneId, TargetId, TenantId};

use super::{
    DbRow, NewAudit, Page, Store, StoreError, Tx, Wanted, audit, flag, json, name_taken, number,
    stored, to_json, word,
};
use crate::flow::{Flow, FlowBody};

pub(super) fn flow(row: &DbRow) -> Result<Flow, sqlx::Error> {
    Ok(Flow {
        id: word(row, "id")?,
        tenant: word(row, "tenant_id")?,
        endpoint: word(row, "endpoint_id")?,
        endpoint_plane: word(row, "endpoint_plane_id")?,
        target: word(row, "target_id")?,
        target_plane: word(row, "target_plane_id")?,
        whole: flag(row, "whole")?,
        body: json(row, "spec")?,
        created_at: number(row, "created_at")?,
        updated_at: number(row, "updated_at")?,
        version: number(row, "version")?,
    })
}

/// Appends a condition to the joined select, at compile time.
macro_rules! joined {
    ($rest:literal) => {
        concat!(
            "SELECT f.*, e.plane_id AS endpoint_plane_id, t.plane_id AS target_plane_id, ",
            "(e.removed_at IS NULL AND t.removed_at IS NULL AND ep.retired_at IS NULL ",
            "AND tp.retired_at IS NULL) AS whole ",
            "FROM flows f JOIN endpoints e ON e.id = f.endpoint_id ",
            "JOIN targets t ON t.id = f.target_id ",
            "JOIN planes ep ON ep.id = e.plane_id JOIN planes tp ON tp.id = t.plane_id ",
            $rest
        )
    };
}
pub(super) use joined;

/// How many flows begin or end in a plane at the most.
pub(crate) struct Room {
    /// The planes of the flow's two ends.
    pub(crate) planes: [PlaneId; 2],
    /// [`zen_proto::limits::FLOWS_PER_PLANE`].
    pub(crate) most: usize,
}

/// Which flows are wanted; none means any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlowsOf {
    /// Where one end lives.
    pub(crate) plane: Option<PlaneId>,
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) target: Option<TargetId>,
}

/// What came of adding a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    Added,
    /// The plane has as many flows as it may.
    Full(PlaneId),
}

impl Store {
    /// Adds a flow, if its planes have room.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if another flow of the tenant has the name.
    pub(crate) async fn add_flow(
        &self,
        new: &Flow,
        room: &Room,
        entry: &NewAudit,
    ) -> Result<Added, StoreError> {
        let mut tx = self.write().await?;
        for plane in room.planes {
            if flows_in(&mut tx, plane).await? >= room.most as u64 {
                return Ok(Added::Full(plane));
            }
        }
        sqlx::query(
            "INSERT INTO flows (id, tenant_id, name, endpoint_id, target_id, enabled, spec, \
             created_at, updated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 1)",
        )
        .bind(new.id.to_string())
        .bind(new.tenant.to_string())
        .bind(&new.body.name)
        .bind(new.endpoint.to_string())
        .bind(new.target.to_string())
        .bind(new.body.enabled)
        .bind(to_json(&new.body)?)
        .bind(stored(new.created_at))
        .execute(&mut *tx)
        .await
        .map_err(name_taken)?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Added::Added)
    }

    /// The tenant's flow of that id.
    pub(crate) async fn flow(
        &self,
        tenant: TenantId,
        id: FlowId,
    ) -> Result<Option<Flow>, StoreError> {
        let found = sqlx::query(joined!("WHERE f.id = $1 AND f.tenant_id = $2"))
            .bind(id.to_string())
            .bind(tenant.to_string())
            .try_map(|row: DbRow| flow(&row))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// The tenant's flows.
    pub(crate) async fn flows(
        &self,
        tenant: TenantId,
        of: &FlowsOf,
        wanted: &Wanted,
    ) -> Result<Page<Flow>, StoreError> {
        let rows = sqlx::query(joined!(
            "WHERE f.tenant_id = $1 AND ($2 = '' OR f.endpoint_id = $2) \
             AND ($3 = '' OR f.target_id = $3) \
             AND ($4 = '' OR e.plane_id = $4 OR t.plane_id = $4) AND f.id > $5 \
             AND ($6 = '' OR LOWER(f.name) LIKE LOWER($6) ESCAPE '\\') \
             AND ($7 = '' OR f.name = $7) ORDER BY f.id LIMIT $8"
        ))
        .bind(tenant.to_string())
        .bind(of.endpoint.map(|id| id.to_string()).unwrap_or_default())
        .bind(of.target.map(|id| id.to_string()).unwrap_or_default())
        .bind(of.plane.map(|id| id.to_string()).unwrap_or_default())
        .bind(&wanted.after)
        .bind(wanted.named.pattern())
        .bind(&wanted.named.exact)
        .bind(wanted.rows())
        .try_map(|row: DbRow| flow(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(Page::cut(rows, wanted, |flow| flow.id.to_string()))
    }

    /// The enabled flows that begin or end in the plane and do not stay in it.
    pub(crate) async fn crossing_flows(&self, plane: PlaneId) -> Result<Vec<Flow>, StoreError> {
        let found = sqlx::query(joined!(
            "WHERE (e.plane_id = $1 OR t.plane_id = $1) AND e.plane_id <> t.plane_id AND f.enabled \
             ORDER BY f.id"
        ))
        .bind(plane.to_string())
        .try_map(|row: DbRow| flow(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(found)
    }

    /// Changes a flow that is still as it was read.
    ///
    /// # Errors
    /// [`StoreError::Changed`], [`StoreError::NameTaken`].
    pub(crate) async fn change_flow(
        &self,
        read: &Flow,
        body: &FlowBody,
        at: u64,
        entry: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE flows SET name = $1, enabled = $2, spec = $3, updated_at = $4, \
             version = version + 1 WHERE id = $5 AND version = $6",
        )
        .bind(&body.name)
        .bind(body.enabled)
        .bind(to_json(body)?)
        .bind(stored(at))
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

    /// Removes a flow. Answers whether there was one, at the `pinned` version.
    pub(crate) async fn remove_flow(
        &self,
        id: FlowId,
        pinned: Option<u64>,
        entry: &NewAudit,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM flows WHERE id = $1 AND ($2 = 0 OR version = $2)")
            .bind(id.to_string())
            .bind(stored(pinned.unwrap_or(0)))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }
}

async fn flows_in(tx: &mut Tx, plane: PlaneId) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT CAST(COUNT(*) AS BIGINT) AS flows FROM flows f JOIN endpoints e ON e.id = f.endpoint_id \
         JOIN targets t ON t.id = f.target_id WHERE e.plane_id = $1 OR t.plane_id = $1",
    )
    .bind(plane.to_string())
    .fetch_one(&mut **tx)
    .await?;
    Ok(number(&row, "flows")?)
}

//! Small counts and looks that only pages need.

use std::collections::HashMap;

use sqlx::Row as _;
use zen_proto::ids::{PlaneId, TenantId};

use super::{DbRow, Scope, Store, StoreError, number, stored};
use crate::plane::PlaneKind;

/// Data planes offered as a choice at the most.
const CHOICES: i64 = 500;

/// A bundle that can still be redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenBundle {
    /// Unix milliseconds.
    pub(crate) issued_at: u64,
    pub(crate) expires_at: u64,
}

impl Store {
    /// How many edge planes of the scope are in service.
    pub(crate) async fn count_edge_planes(&self, scope: Scope) -> Result<u64, StoreError> {
        let found = sqlx::query(
            "SELECT CAST(COUNT(*) AS BIGINT) AS planes FROM planes \
             WHERE (tenant_id = $1 OR tenant_id = $2) AND kind = $3 AND retired_at IS NULL",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(PlaneKind::Edge.as_str())
        .try_map(|row: DbRow| number(&row, "planes"))
        .fetch_one(&self.reader)
        .await?;
        Ok(found)
    }

    /// When the bundles that can still be redeemed expire (Unix milliseconds), by plane.
    pub(crate) async fn open_bundles(
        &self,
        scope: Scope,
        now: u64,
    ) -> Result<HashMap<String, u64>, StoreError> {
        let found = sqlx::query(
            "SELECT plane_id, MAX(expires_at) AS expires_at FROM bundles \
             WHERE (tenant_id = $1 OR tenant_id = $2) AND redeemed_at IS NULL \
             AND superseded_at IS NULL AND expires_at > $3 GROUP BY plane_id",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(stored(now))
        .try_map(|row: DbRow| Ok((row.try_get("plane_id")?, number(&row, "expires_at")?)))
        .fetch_all(&self.reader)
        .await?;
        Ok(found.into_iter().collect())
    }

    /// The plane's bundle that can still be redeemed.
    pub(crate) async fn open_bundle(
        &self,
        plane: PlaneId,
        now: u64,
    ) -> Result<Option<OpenBundle>, StoreError> {
        let found = sqlx::query(
            "SELECT issued_at, expires_at FROM bundles WHERE plane_id = $1 \
             AND redeemed_at IS NULL AND superseded_at IS NULL AND expires_at > $2 \
             ORDER BY issued_at DESC LIMIT 1",
        )
        .bind(plane.to_string())
        .bind(stored(now))
        .try_map(|row: DbRow| {
            Ok(OpenBundle {
                issued_at: number(&row, "issued_at")?,
                expires_at: number(&row, "expires_at")?,
            })
        })
        .fetch_optional(&self.reader)
        .await?;
        Ok(found)
    }

    /// The plane CA chain that was issued last, PEM.
    pub(crate) async fn newest_chain(&self, plane: PlaneId) -> Result<Option<String>, StoreError> {
        let found = sqlx::query(
            "SELECT chain_pem FROM plane_identities WHERE plane_id = $1 AND current = $2 \
             ORDER BY issued_at DESC LIMIT 1",
        )
        .bind(plane.to_string())
        .bind(true)
        .try_map(|row: DbRow| row.try_get("chain_pem"))
        .fetch_optional(&self.reader)
        .await?;
        Ok(found)
    }

    /// Id and name of the data planes in service, by name.
    pub(crate) async fn named_data_planes(&self) -> Result<Vec<(String, String)>, StoreError> {
        let found = sqlx::query(
            "SELECT id, name FROM planes WHERE kind = $1 AND retired_at IS NULL \
             ORDER BY name LIMIT $2",
        )
        .bind(PlaneKind::Data.as_str())
        .bind(CHOICES)
        .try_map(|row: DbRow| Ok((row.try_get("id")?, row.try_get("name")?)))
        .fetch_all(&self.reader)
        .await?;
        Ok(found)
    }

    /// What each plane of the scope delivered in one minute (counted since 1970).
    pub(crate) async fn delivered_in(
        &self,
        scope: Scope,
        minute: u64,
    ) -> Result<HashMap<String, u64>, StoreError> {
        let found = sqlx::query(
            "SELECT plane_id, CAST(SUM(delivered) AS BIGINT) AS delivered FROM minutes \
             WHERE (tenant_id = $1 OR tenant_id = $2) AND minute = $3 GROUP BY plane_id",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(stored(minute))
        .try_map(|row: DbRow| Ok((row.try_get("plane_id")?, number(&row, "delivered")?)))
        .fetch_all(&self.reader)
        .await?;
        Ok(found.into_iter().collect())
    }

    /// How many deliveries of the tenant became dead letters since a minute (counted since 1970).
    pub(crate) async fn dead_lettered_since(
        &self,
        tenant: TenantId,
        minute: u64,
    ) -> Result<u64, StoreError> {
        let found = sqlx::query(
            "SELECT CAST(COALESCE(SUM(dead_lettered), 0) AS BIGINT) AS dead FROM minutes \
             WHERE tenant_id = $1 AND minute >= $2",
        )
        .bind(tenant.to_string())
        .bind(stored(minute))
        .try_map(|row: DbRow| number(&row, "dead"))
        .fetch_one(&self.reader)
        .await?;
        Ok(found)
    }

    /// The names of a tenant's targets in a plane, by id.
    pub(crate) async fn target_names(
        &self,
        plane: PlaneId,
        tenant: TenantId,
    ) -> Result<HashMap<String, String>, StoreError> {
        let found = sqlx::query(
            "SELECT id, name FROM targets \
             WHERE plane_id = $1 AND tenant_id = $2 AND removed_at IS NULL LIMIT $3",
        )
        .bind(plane.to_string())
        .bind(tenant.to_string())
        .bind(CHOICES)
        .try_map(|row: DbRow| Ok((row.try_get("id")?, row.try_get("name")?)))
        .fetch_all(&self.reader)
        .await?;
        Ok(found.into_iter().collect())
    }
}

//! What is shown beside each item of a list, read for a whole page at once. A page is everything
//! between two ids, so its rows are found without naming each of them.

use std::collections::BTreeMap;

use sqlx::Row as _;
use zen_proto::component::Component;
use zen_proto::ids::{EndpointId, PlaneId, TenantId};

use super::events::event;
use super::{DbRow, Event, Scope, Store, StoreError, number, word};

/// Alerts shown of one plane in a list, the newest.
const ALERTS: i64 = 5;

/// The first and the last plane of a page.
pub(crate) type Range = (PlaneId, PlaneId);

impl Store {
    /// The revisions last published to the planes of a page; those with none are left out.
    pub(crate) async fn published_revisions(
        &self,
        scope: Scope,
        (first, last): Range,
    ) -> Result<BTreeMap<PlaneId, u64>, StoreError> {
        let found = sqlx::query(
            "SELECT s.plane_id, s.revision FROM snapshots s JOIN planes p ON p.id = s.plane_id \
             WHERE (p.tenant_id = $1 OR p.tenant_id = $2) AND p.id >= $3 AND p.id <= $4",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(first.to_string())
        .bind(last.to_string())
        .try_map(|row: DbRow| Ok((word(&row, "plane_id")?, number(&row, "revision")?)))
        .fetch_all(&self.reader)
        .await?;
        Ok(found.into_iter().collect())
    }

    /// Where the ingesters of the planes of a page are reached, one for each plane.
    pub(crate) async fn ingest_urls_of_planes(
        &self,
        scope: Scope,
        (first, last): Range,
    ) -> Result<BTreeMap<PlaneId, String>, StoreError> {
        let found = sqlx::query(
            "SELECT a.plane_id, a.address FROM addresses a JOIN planes p ON p.id = a.plane_id \
             WHERE (p.tenant_id = $1 OR p.tenant_id = $2) AND p.id >= $3 AND p.id <= $4 \
             AND a.component = $5 ORDER BY a.plane_id, a.instance DESC",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(first.to_string())
        .bind(last.to_string())
        .bind(Component::Ingester.as_str())
        .try_map(|row: DbRow| Ok((word(&row, "plane_id")?, row.try_get("address")?)))
        .fetch_all(&self.reader)
        .await?;
        // Of several instances the first one stays, as where one plane is shown.
        Ok(found.into_iter().collect())
    }

    /// The newest alerts of each plane of a page, newest first.
    pub(crate) async fn alerts_of_planes(
        &self,
        scope: Scope,
        (first, last): Range,
    ) -> Result<BTreeMap<PlaneId, Vec<Event>>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM (SELECT e.*, ROW_NUMBER() OVER (PARTITION BY e.plane_id \
             ORDER BY e.id DESC) AS place FROM plane_events e \
             JOIN planes p ON p.id = e.plane_id \
             WHERE (p.tenant_id = $1 OR p.tenant_id = $2) AND p.id >= $3 AND p.id <= $4 \
             AND e.alert) AS newest WHERE place <= $5 ORDER BY plane_id, id DESC",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(first.to_string())
        .bind(last.to_string())
        .bind(ALERTS)
        .try_map(|row: DbRow| Ok((word::<PlaneId>(&row, "plane_id")?, event(&row)?)))
        .fetch_all(&self.reader)
        .await?;
        let mut alerts: BTreeMap<PlaneId, Vec<Event>> = BTreeMap::new();
        for (plane, event) in found {
            alerts.entry(plane).or_default().push(event);
        }
        Ok(alerts)
    }

    /// Where the ingesters are reached of the planes in which a page of the tenant's endpoints
    /// lives, one for each plane.
    pub(crate) async fn ingest_urls(
        &self,
        tenant: TenantId,
        first: EndpointId,
        last: EndpointId,
    ) -> Result<BTreeMap<PlaneId, String>, StoreError> {
        let found = sqlx::query(
            "SELECT plane_id, instance, address FROM addresses WHERE component = $4 \
             AND plane_id IN (SELECT plane_id FROM endpoints \
             WHERE tenant_id = $1 AND id >= $2 AND id <= $3) ORDER BY plane_id, instance DESC",
        )
        .bind(tenant.to_string())
        .bind(first.to_string())
        .bind(last.to_string())
        .bind(Component::Ingester.as_str())
        .try_map(|row: DbRow| Ok((word(&row, "plane_id")?, row.try_get("address")?)))
        .fetch_all(&self.reader)
        .await?;
        Ok(found.into_iter().collect())
    }
}

//! Counters of flows and endpoints, as components report them since their start.

use sqlx::Row as _;
use zen_proto::ids::PlaneId;
use zen_proto::session::v1::FlowCounters;

use super::minutes::News;
use super::{DbRow, Store, StoreError, Tx, number, stored};
use crate::plane::Plane;

/// Whose counts they are, within a plane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CountKey {
    pub(crate) component: String,
    pub(crate) instance: String,
    pub(crate) boot_id: String,
    pub(crate) flow_id: String,
    pub(crate) endpoint_id: String,
}

/// The counts of one flow or endpoint, in the order of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) dispatched: u64,
    pub(crate) delivered: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) duplicates: u64,
    pub(crate) expired: u64,
}

impl From<&FlowCounters> for Counts {
    fn from(wire: &FlowCounters) -> Self {
        Self {
            accepted: wire.accepted,
            refused: wire.refused,
            dispatched: wire.dispatched,
            delivered: wire.delivered,
            failed_attempts: wire.failed_attempts,
            dead_lettered: wire.dead_lettered,
            duplicates: wire.duplicates,
            expired: wire.expired,
        }
    }
}

/// What a plane has counted for one flow or endpoint, all instances and starts together.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    /// Empty if it is not of one flow.
    pub(crate) flow_id: String,
    /// Empty if it is of a flow.
    pub(crate) endpoint_id: String,
    pub(crate) counts: Counts,
}

fn counts(row: &DbRow) -> Result<Counts, sqlx::Error> {
    Ok(Counts {
        accepted: number(row, "accepted")?,
        refused: number(row, "refused")?,
        dispatched: number(row, "dispatched")?,
        delivered: number(row, "delivered")?,
        failed_attempts: number(row, "failed_attempts")?,
        dead_lettered: number(row, "dead_lettered")?,
        duplicates: number(row, "duplicates")?,
        expired: number(row, "expired")?,
    })
}

impl Store {
    /// What the plane has counted, sorted by flow and endpoint.
    pub(crate) async fn totals(&self, plane: PlaneId) -> Result<Vec<Total>, StoreError> {
        let found = sqlx::query(
            "SELECT flow_id, endpoint_id, \
             CAST(SUM(accepted) AS BIGINT) AS accepted, CAST(SUM(refused) AS BIGINT) AS refused, \
             CAST(SUM(dispatched) AS BIGINT) AS dispatched, \
             CAST(SUM(delivered) AS BIGINT) AS delivered, \
             CAST(SUM(failed_attempts) AS BIGINT) AS failed_attempts, \
             CAST(SUM(dead_lettered) AS BIGINT) AS dead_lettered, \
             CAST(SUM(duplicates) AS BIGINT) AS duplicates, \
             CAST(SUM(expired) AS BIGINT) AS expired \
             FROM counters WHERE plane_id = $1 \
             GROUP BY flow_id, endpoint_id ORDER BY flow_id, endpoint_id",
        )
        .bind(plane.to_string())
        .try_map(|row: DbRow| {
            Ok(Total {
                flow_id: row.try_get("flow_id")?,
                endpoint_id: row.try_get("endpoint_id")?,
                counts: counts(&row)?,
            })
        })
        .fetch_all(&self.reader)
        .await?;
        Ok(found)
    }

    /// Keeps the newest counts of a plane, and adds what is new in them to the minute of `at`, Unix
    /// milliseconds.
    pub(crate) async fn count(
        &self,
        plane: &Plane,
        newest: &[(CountKey, Counts)],
        at: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write_alone().await?;
        let mut news = News::of(plane);
        for (key, counts) in newest {
            let before = kept(&mut tx, plane.id, key).await?.unwrap_or_default();
            news.take(&mut tx, key, &before, counts).await?;
            put(&mut tx, plane.id, key, *counts).await?;
        }
        news.keep(&mut tx, at).await?;
        Ok(tx.commit().await?)
    }

    /// A component began anew: what its earlier starts counted is folded into one row a flow.
    pub(crate) async fn fold_counts(
        &self,
        plane: PlaneId,
        component: &str,
        instance: &str,
        boot_id: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let earlier = sqlx::query(
            "SELECT * FROM counters WHERE plane_id = $1 AND component = $2 AND instance = $3 \
             AND boot_id <> $4 AND boot_id <> ''",
        )
        .bind(plane.to_string())
        .bind(component)
        .bind(instance)
        .bind(boot_id)
        .try_map(|row: DbRow| {
            let key = CountKey {
                component: component.to_owned(),
                instance: instance.to_owned(),
                boot_id: String::new(),
                flow_id: row.try_get("flow_id")?,
                endpoint_id: row.try_get("endpoint_id")?,
            };
            Ok((key, counts(&row)?))
        })
        .fetch_all(&mut *tx)
        .await?;
        for (key, counts) in &earlier {
            add(&mut tx, plane, key, *counts).await?;
        }
        sqlx::query(
            "DELETE FROM counters WHERE plane_id = $1 AND component = $2 AND instance = $3 \
             AND boot_id <> $4 AND boot_id <> ''",
        )
        .bind(plane.to_string())
        .bind(component)
        .bind(instance)
        .bind(boot_id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}

async fn kept(tx: &mut Tx, plane: PlaneId, key: &CountKey) -> Result<Option<Counts>, StoreError> {
    let found = sqlx::query(
        "SELECT * FROM counters WHERE plane_id = $1 AND component = $2 AND instance = $3 \
         AND boot_id = $4 AND flow_id = $5 AND endpoint_id = $6",
    )
    .bind(plane.to_string())
    .bind(key.component.as_str())
    .bind(key.instance.as_str())
    .bind(key.boot_id.as_str())
    .bind(key.flow_id.as_str())
    .bind(key.endpoint_id.as_str())
    .try_map(|row: DbRow| counts(&row))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found)
}

const PUT: &str = "INSERT INTO counters (plane_id, component, instance, boot_id, flow_id, \
     endpoint_id, accepted, refused, dispatched, delivered, failed_attempts, dead_lettered, \
     duplicates, expired) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
     ON CONFLICT (plane_id, component, instance, boot_id, flow_id, endpoint_id) DO UPDATE SET \
     accepted = excluded.accepted, refused = excluded.refused, \
     dispatched = excluded.dispatched, delivered = excluded.delivered, \
     failed_attempts = excluded.failed_attempts, dead_lettered = excluded.dead_lettered, \
     duplicates = excluded.duplicates, expired = excluded.expired";

const ADD: &str = "INSERT INTO counters (plane_id, component, instance, boot_id, flow_id, \
     endpoint_id, accepted, refused, dispatched, delivered, failed_attempts, dead_lettered, \
     duplicates, expired) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
     ON CONFLICT (plane_id, component, instance, boot_id, flow_id, endpoint_id) DO UPDATE SET \
     accepted = counters.accepted + excluded.accepted, \
     refused = counters.refused + excluded.refused, \
     dispatched = counters.dispatched + excluded.dispatched, \
     delivered = counters.delivered + excluded.delivered, \
     failed_attempts = counters.failed_attempts + excluded.failed_attempts, \
     dead_lettered = counters.dead_lettered + excluded.dead_lettered, \
     duplicates = counters.duplicates + excluded.duplicates, \
     expired = counters.expired + excluded.expired";

async fn put(tx: &mut Tx, plane: PlaneId, key: &CountKey, of: Counts) -> Result<(), StoreError> {
    upsert(tx, PUT, plane, key, of).await
}

async fn add(tx: &mut Tx, plane: PlaneId, key: &CountKey, of: Counts) -> Result<(), StoreError> {
    upsert(tx, ADD, plane, key, of).await
}

async fn upsert(
    tx: &mut Tx,
    sql: &'static str,
    plane: PlaneId,
    key: &CountKey,
    of: Counts,
) -> Result<(), StoreError> {
    let keys = [
        &key.component,
        &key.instance,
        &key.boot_id,
        &key.flow_id,
        &key.endpoint_id,
    ];
    let values = [
        of.accepted,
        of.refused,
        of.dispatched,
        of.delivered,
        of.failed_attempts,
        of.dead_lettered,
        of.duplicates,
        of.expired,
    ];
    let query = sqlx::query(sql).bind(plane.to_string());
    let query = keys
        .into_iter()
        .fold(query, |query, key| query.bind(key.as_str()));
    let query = values
        .into_iter()
        .fold(query, |query, value| query.bind(stored(value)));
    query.execute(&mut **tx).await?;
    Ok(())
}

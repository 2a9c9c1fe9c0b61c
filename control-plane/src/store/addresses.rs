//! Where components say they are reached. Kept, so that after a restart the same is published.

use std::collections::BTreeMap;

use sqlx::Row as _;
use zen_proto::component::Component;
use zen_proto::ids::PlaneId;

use super::{DbRow, Store, StoreError, number, stored};

/// Instances of one component, by name, with their addresses.
pub(crate) type Addresses = BTreeMap<String, String>;

impl Store {
    /// The addresses of a plane's instances of one component, as they stand in the store.
    pub(crate) async fn addresses(
        &self,
        plane: PlaneId,
        component: Component,
    ) -> Result<Addresses, StoreError> {
        let found = sqlx::query(
            "SELECT instance, address FROM addresses WHERE plane_id = $1 AND component = $2",
        )
        .bind(plane.to_string())
        .bind(component.as_str())
        .try_map(|row: DbRow| Ok((row.try_get("instance")?, row.try_get("address")?)))
        .fetch_all(&self.reader)
        .await?;
        Ok(found.into_iter().collect())
    }

    /// Keeps what a plane reports of one component at `at` and forgets instances last seen before
    /// `forget`. Answers whether anything is different now. Times are Unix milliseconds.
    pub(crate) async fn report_addresses(
        &self,
        plane: PlaneId,
        component: Component,
        reported: &Addresses,
        at: u64,
        forget: u64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write_alone().await?;
        let before = sqlx::query(
            "SELECT instance, address, seen_at FROM addresses \
             WHERE plane_id = $1 AND component = $2",
        )
        .bind(plane.to_string())
        .bind(component.as_str())
        .try_map(|row: DbRow| {
            let seen_at = number(&row, "seen_at")?;
            Ok((
                row.try_get::<String, _>("instance")?,
                row.try_get::<String, _>("address")?,
                seen_at,
            ))
        })
        .fetch_all(&mut *tx)
        .await?;
        let mut changed = reported.iter().any(|(instance, address)| {
            !before
                .iter()
                .any(|(known, at, _)| known == instance && at == address)
        });
        for (instance, address) in reported {
            sqlx::query(
                "INSERT INTO addresses (plane_id, component, instance, address, seen_at) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (plane_id, component, instance) \
                 DO UPDATE SET address = excluded.address, seen_at = excluded.seen_at",
            )
            .bind(plane.to_string())
            .bind(component.as_str())
            .bind(instance)
            .bind(address)
            .bind(stored(at))
            .execute(&mut *tx)
            .await?;
        }
        for (instance, _, seen_at) in before {
            if seen_at < forget && !reported.contains_key(&instance) {
                sqlx::query(
                    "DELETE FROM addresses \
                     WHERE plane_id = $1 AND component = $2 AND instance = $3",
                )
                .bind(plane.to_string())
                .bind(component.as_str())
                .bind(&instance)
                .execute(&mut *tx)
                .await?;
                changed = true;
            }
        }
        tx.commit().await?;
        Ok(changed)
    }
}

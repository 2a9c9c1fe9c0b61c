//! What was counted in each minute, by plane and tenant, for 30 days. Counters only ever tell how
//! much there was since a component's start; what is new in them is found and added in the same
//! transaction in which they are kept, so nothing is added twice.

use std::collections::BTreeMap;

use zen_proto::ids::{PlaneId, TenantId};

use super::{CountKey, Counts, DbRow, Store, StoreError, Tx, number, stored, word};
use crate::plane::{Plane, PlaneKind};

/// Milliseconds of a minute.
pub(crate) const MINUTE_MS: u64 = 60_000;

/// What came to pass in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Increments {
    /// Events.
    pub(crate) accepted: u64,
    /// Deliveries.
    pub(crate) delivered: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) refused: u64,
    pub(crate) expired: u64,
}

/// Whose minutes are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MinutesOf {
    /// All of a plane's, whosever events they were.
    Plane(PlaneId),
    /// All of a tenant's, in whatever plane.
    Tenant(TenantId),
}

/// Which minutes are wanted, and how many of them make one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Minutes since 1970.
    pub(crate) from: u64,
    /// The first minute that is not wanted any more.
    pub(crate) until: u64,
    /// Minutes of one slot, at least 1.
    pub(crate) step: u64,
}

impl Increments {
    /// What is new since `before`. Events are counted where they were accepted, not once more for
    /// each flow.
    fn since(before: &Counts, now: &Counts, of_endpoint: bool) -> Self {
        let accepted = now.accepted.saturating_sub(before.accepted);
        Self {
            accepted: if of_endpoint { accepted } else { 0 },
            delivered: now.delivered.saturating_sub(before.delivered),
            failed_attempts: now.failed_attempts.saturating_sub(before.failed_attempts),
            dead_lettered: now.dead_lettered.saturating_sub(before.dead_lettered),
            refused: now.refused.saturating_sub(before.refused),
            expired: now.expired.saturating_sub(before.expired),
        }
    }

    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.failed_attempts += other.failed_attempts;
        self.dead_lettered += other.dead_lettered;
        self.refused += other.refused;
        self.expired += other.expired;
    }
}

/// Gathers what is new in one report of a plane.
pub(super) struct News<'a> {
    plane: &'a Plane,
    by_tenant: BTreeMap<TenantId, Increments>,
}

impl<'a> News<'a> {
    pub(super) const fn of(plane: &'a Plane) -> Self {
        Self {
            plane,
            by_tenant: BTreeMap::new(),
        }
    }

    /// Takes the counts of one flow or endpoint, and what stood there before.
    pub(super) async fn take(
        &mut self,
        tx: &mut Tx,
        key: &CountKey,
        before: &Counts,
        now: &Counts,
    ) -> Result<(), StoreError> {
        let new = Increments::since(before, now, !key.endpoint_id.is_empty());
        if new == Increments::default() {
            return Ok(());
        }
        let tenant = match self.plane.kind {
            PlaneKind::Edge => self.plane.tenant,
            PlaneKind::Data => owner(tx, key).await?.unwrap_or(self.plane.tenant),
        };
        self.by_tenant.entry(tenant).or_default().add(&new);
        Ok(())
    }

    /// Adds what was gathered to the minute of `at`, Unix milliseconds.
    pub(super) async fn keep(self, tx: &mut Tx, at: u64) -> Result<(), StoreError> {
        for (tenant, new) in self.by_tenant {
            let query = sqlx::query(
                "INSERT INTO minutes (plane_id, tenant_id, minute, accepted, delivered, \
                 failed_attempts, dead_lettered, refused, expired) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                 ON CONFLICT (plane_id, tenant_id, minute) DO UPDATE SET \
                 accepted = minutes.accepted + excluded.accepted, \
                 delivered = minutes.delivered + excluded.delivered, \
                 failed_attempts = minutes.failed_attempts + excluded.failed_attempts, \
                 dead_lettered = minutes.dead_lettered + excluded.dead_lettered, \
                 refused = minutes.refused + excluded.refused, \
                 expired = minutes.expired + excluded.expired",
            )
            .bind(self.plane.id.to_string())
            .bind(tenant.to_string())
            .bind(stored(at / MINUTE_MS));
            [
                new.accepted,
                new.delivered,
                new.failed_attempts,
                new.dead_lettered,
                new.refused,
                new.expired,
            ]
            .into_iter()
            .fold(query, |query, value| query.bind(stored(value)))
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}

/// Whose flow or endpoint it is, if it is still there.
async fn owner(tx: &mut Tx, key: &CountKey) -> Result<Option<TenantId>, StoreError> {
    let (sql, id) = if key.endpoint_id.is_empty() {
        ("SELECT tenant_id FROM flows WHERE id = $1", &key.flow_id)
    } else {
        (
            "SELECT tenant_id FROM endpoints WHERE id = $1",
            &key.endpoint_id,
        )
    };
    let found = sqlx::query(sql)
        .bind(id.as_str())
        .try_map(|row: DbRow| word(&row, "tenant_id"))
        .fetch_optional(&mut **tx)
        .await?;
    Ok(found)
}

impl Store {
    /// What was counted, by the first minute of its slot; slots in which nothing was are left out.
    pub(crate) async fn minutes(
        &self,
        of: MinutesOf,
        span: Span,
    ) -> Result<BTreeMap<u64, Increments>, StoreError> {
        let (plane, tenant) = match of {
            MinutesOf::Plane(id) => (id.to_string(), String::new()),
            MinutesOf::Tenant(id) => (String::new(), id.to_string()),
        };
        let found = sqlx::query(
            "SELECT (minute - $3) / $5 AS slot, \
             CAST(SUM(accepted) AS BIGINT) AS accepted, \
             CAST(SUM(delivered) AS BIGINT) AS delivered, \
             CAST(SUM(failed_attempts) AS BIGINT) AS failed_attempts, \
             CAST(SUM(dead_lettered) AS BIGINT) AS dead_lettered, \
             CAST(SUM(refused) AS BIGINT) AS refused, \
             CAST(SUM(expired) AS BIGINT) AS expired \
             FROM minutes WHERE (plane_id = $1 OR tenant_id = $2) \
             AND minute >= $3 AND minute < $4 GROUP BY slot",
        )
        .bind(plane)
        .bind(tenant)
        .bind(stored(span.from))
        .bind(stored(span.until))
        .bind(stored(span.step))
        .try_map(|row: DbRow| {
            let counted = Increments {
                accepted: number(&row, "accepted")?,
                delivered: number(&row, "delivered")?,
                failed_attempts: number(&row, "failed_attempts")?,
                dead_lettered: number(&row, "dead_lettered")?,
                refused: number(&row, "refused")?,
                expired: number(&row, "expired")?,
            };
            Ok((span.from + number(&row, "slot")? * span.step, counted))
        })
        .fetch_all(&self.reader)
        .await?;
        Ok(found.into_iter().collect())
    }

    /// Forgets minutes before this one. Answers how many rows there were.
    pub(crate) async fn forget_minutes(&self, before: u64) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM minutes WHERE minute < $1")
            .bind(stored(before))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected())
    }
}

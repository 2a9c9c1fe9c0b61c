//! What several control planes on one PostgreSQL database know of each other: who runs, and which
//! plane's session is where. On SQLite there is one control plane and these tables stay empty.
//!
//! Times are those of the database, in microseconds: the clocks of two machines never agree enough
//! to say which of two sessions is the newer one. This file alone uses what only PostgreSQL has.

use std::collections::BTreeSet;

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::{DbRow, Notice, Store, StoreError, Tx, flag, number, stored, word};

/// A replica that was not seen for this long is dead, microseconds.
const DEAD: i64 = 5_000_000;
/// Rows of dead replicas and questions nobody came back for go after this long, microseconds.
const FORGET: i64 = 300_000_000;
/// A change of this number never was: everything is after it.
pub(crate) const NO_CHANGE: u64 = 0;

/// The database's clock in an expression.
macro_rules! now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    };
}
pub(super) use now;

/// A plane's newest session as its replica tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) plane: PlaneId,
    /// Where it is, or was.
    pub(crate) replica: String,
    /// By the database's clock, microseconds.
    pub(crate) opened_at: u64,
    pub(crate) open: bool,
    /// What was last heard in it, encoded.
    pub(crate) report: Vec<u8>,
}

/// What the others wrote since the last look.
pub(crate) struct Seen {
    pub(crate) sessions: Vec<SessionRow>,
    /// The replicas that are alive, this one included.
    pub(crate) alive: BTreeSet<String>,
    /// Where to go on the next time.
    pub(crate) change: u64,
}

impl Store {
    /// The time by the database's clock, Unix microseconds.
    pub(crate) async fn database_time(&self) -> Result<u64, StoreError> {
        let row = sqlx::query(concat!("SELECT ", now!(), " AS now"))
            .fetch_one(&self.reader)
            .await?;
        Ok(number(&row, "now")?)
    }

    /// Says that the replica is alive, and what changed of its sessions. A session that is older
    /// than the one on record changes nothing.
    pub(crate) async fn beat(
        &self,
        replica: &str,
        changed: &[SessionRow],
    ) -> Result<(), StoreError> {
        if changed.is_empty() {
            // Nothing that waits for its turn: this must go through while a writer is slow.
            let mut tx = self.write_alone().await?;
            seen(&mut tx, replica).await?;
            return Ok(tx.commit().await?);
        }
        let mut tx = self.write().await?;
        seen(&mut tx, replica).await?;
        // Batches are numbered in the order in which they commit, for writers take turns: whoever
        // reads on from the number it has seen misses none.
        let row = sqlx::query("SELECT COALESCE(MAX(change), 0) + 1 AS change FROM plane_sessions")
            .fetch_one(&mut *tx)
            .await?;
        let change = number(&row, "change")?;
        for session in changed {
            sqlx::query(
                "INSERT INTO plane_sessions \
                 (plane_id, replica_id, opened_at, is_open, report, change) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (plane_id) DO UPDATE SET \
                 replica_id = excluded.replica_id, opened_at = excluded.opened_at, \
                 is_open = excluded.is_open, report = excluded.report, change = excluded.change \
                 WHERE plane_sessions.opened_at <= excluded.opened_at",
            )
            .bind(session.plane.to_string())
            .bind(replica)
            .bind(stored(session.opened_at))
            .bind(session.open)
            .bind(session.report.as_slice())
            .bind(stored(change))
            .execute(&mut *tx)
            .await?;
        }
        self.notify(&mut tx, &Notice::Sessions).await?;
        Ok(tx.commit().await?)
    }

    /// What other replicas wrote after `change`.
    pub(crate) async fn look(&self, replica: &str, change: u64) -> Result<Seen, StoreError> {
        let mut tx = self.read().await?;
        let rows = sqlx::query(
            "SELECT plane_id, replica_id, opened_at, is_open, report, change FROM plane_sessions \
             WHERE change > $1 ORDER BY change",
        )
        .bind(stored(change))
        .try_map(|row: DbRow| {
            let session = SessionRow {
                plane: word(&row, "plane_id")?,
                replica: row.try_get("replica_id")?,
                opened_at: number(&row, "opened_at")?,
                open: flag(&row, "is_open")?,
                report: row.try_get("report")?,
            };
            Ok((session, number(&row, "change")?))
        })
        .fetch_all(&mut *tx)
        .await?;
        let alive = sqlx::query(concat!(
            "SELECT id FROM replicas WHERE seen_at > ",
            now!(),
            " - $1"
        ))
        .bind(DEAD)
        .try_map(|row: DbRow| row.try_get("id"))
        .fetch_all(&mut *tx)
        .await?;
        let change = rows.last().map_or(change, |(_, change)| *change);
        let sessions = rows.into_iter().map(|(session, _)| session);
        Ok(Seen {
            sessions: sessions.filter(|row| row.replica != replica).collect(),
            alive: alive.into_iter().collect(),
            change,
        })
    }

    /// The replica stops: it is not waited for.
    pub(crate) async fn leave(&self, replica: &str) -> Result<(), StoreError> {
        let mut tx = self.write_alone().await?;
        sqlx::query("DELETE FROM replicas WHERE id = $1")
            .bind(replica)
            .execute(&mut *tx)
            .await?;
        self.notify(&mut tx, &Notice::Sessions).await?;
        Ok(tx.commit().await?)
    }

    /// Removes what dead replicas and given-up questions left behind.
    pub(crate) async fn forget_replicas(&self) -> Result<(), StoreError> {
        for sql in [
            concat!("DELETE FROM replicas WHERE seen_at < ", now!(), " - $1"),
            concat!("DELETE FROM asks WHERE asked_at < ", now!(), " - $1"),
        ] {
            sqlx::query(sql).bind(FORGET).execute(&self.writer).await?;
        }
        Ok(())
    }

    /// The revision last published to each plane, and the planes retired after `since` (Unix
    /// milliseconds): what notices that were missed would have told.
    pub(crate) async fn missed(
        &self,
        since: u64,
    ) -> Result<(Vec<(PlaneId, u64)>, Vec<PlaneId>), StoreError> {
        let published = sqlx::query("SELECT plane_id, revision FROM snapshots")
            .try_map(|row: DbRow| Ok((word(&row, "plane_id")?, number(&row, "revision")?)))
            .fetch_all(&self.reader)
            .await?;
        let retired = sqlx::query("SELECT id FROM planes WHERE retired_at >= $1")
            .bind(stored(since))
            .try_map(|row: DbRow| word(&row, "id"))
            .fetch_all(&self.reader)
            .await?;
        Ok((published, retired))
    }
}

async fn seen(tx: &mut Tx, replica: &str) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "INSERT INTO replicas (id, started_at, seen_at) VALUES ($1, ",
        now!(),
        ", ",
        now!(),
        ") ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
    ))
    .bind(replica)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

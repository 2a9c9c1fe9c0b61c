//! A plane's timeline, bounded: repeats are counted, the oldest entries make room.

use std::fmt;
use std::str::FromStr;

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::{DbRow, Store, StoreError, Tx, number, stored, word};

/// Entries kept for one plane.
const KEPT: i64 = 500;
/// Alerts shown of one plane.
const ALERTS: i64 = 20;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum EventKind {
            $($(#[$doc])* $variant,)*
        }

        impl EventKind {
            /// The word, as kept and shown.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for EventKind {
            type Err = UnknownEvent;

            fn from_str(text: &str) -> Result<Self, UnknownEvent> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    other => Err(UnknownEvent(other.to_owned())),
                }
            }
        }
    };
}

kinds! {
    /// A bundle was handed out.
    BundleIssued = "bundle_issued";
    /// A bundle was redeemed for the first time.
    BundleRedeemed = "bundle_redeemed";
    /// A redemption or recovery was refused; the code says why.
    Refused = "refused";
    /// A plane CA was issued at enrolment or recovery.
    CertificateIssued = "certificate_issued";
    /// A plane CA was renewed in the session.
    CertificateRenewed = "certificate_renewed";
    /// The plane was heard of for the first time since it enrolled.
    FirstHeartbeat = "first_heartbeat";
    /// The plane accepted or delivered an event for the first time since it enrolled.
    FirstEvent = "first_event";
    /// A session was opened.
    Connected = "connected";
    /// A session ended.
    Disconnected = "disconnected";
    /// The agent did not take a snapshot; the code says why.
    SnapshotRejected = "snapshot_rejected";
    /// The plane was taken out of service.
    Retired = "retired";
}

/// The text is no kind of event.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a kind of event")]
pub(crate) struct UnknownEvent(String);

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An entry to be added.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) plane: PlaneId,
    /// Unix milliseconds.
    pub(crate) at: u64,
    pub(crate) kind: EventKind,
    pub(crate) code: Option<String>,
    pub(crate) detail: String,
    pub(crate) remote_address: Option<String>,
    pub(crate) key_fingerprint: Option<String>,
    /// Somebody has to look at it.
    pub(crate) alert: bool,
}

impl NewEvent {
    /// An entry with nothing but its kind and a detail.
    pub(crate) fn plain(
        plane: PlaneId,
        at: u64,
        kind: EventKind,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            plane,
            at,
            kind,
            code: None,
            detail: detail.into(),
            remote_address: None,
            key_fingerprint: None,
            alert: false,
        }
    }
}

/// An entry as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// When it happened first, Unix milliseconds.
    pub(crate) at: u64,
    /// When it happened last.
    pub(crate) last_at: u64,
    /// How often in a row.
    pub(crate) times: u64,
    pub(crate) kind: EventKind,
    pub(crate) code: Option<String>,
    pub(crate) detail: String,
    pub(crate) remote_address: Option<String>,
    pub(crate) key_fingerprint: Option<String>,
}

pub(super) fn event(row: &DbRow) -> Result<Event, sqlx::Error> {
    Ok(Event {
        at: number(row, "at")?,
        last_at: number(row, "last_at")?,
        times: number(row, "times")?,
        kind: word(row, "kind")?,
        code: row.try_get("code")?,
        detail: row.try_get("detail")?,
        remote_address: row.try_get("remote_address")?,
        key_fingerprint: row.try_get("key_fingerprint")?,
    })
}

impl Store {
    /// The plane's timeline, oldest first.
    pub(crate) async fn events(&self, plane: PlaneId) -> Result<Vec<Event>, StoreError> {
        let found = sqlx::query("SELECT * FROM plane_events WHERE plane_id = $1 ORDER BY id")
            .bind(plane.to_string())
            .try_map(|row: DbRow| event(&row))
            .fetch_all(&self.reader)
            .await?;
        Ok(found)
    }

    /// The plane's newest alerts, newest first.
    pub(crate) async fn alerts(&self, plane: PlaneId) -> Result<Vec<Event>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM plane_events WHERE plane_id = $1 AND alert ORDER BY id DESC LIMIT $2",
        )
        .bind(plane.to_string())
        .bind(ALERTS)
        .try_map(|row: DbRow| event(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(found)
    }

    /// Adds the entry of the plane's first event since it enrolled; nothing if there was one.
    pub(crate) async fn first_event(&self, event: &NewEvent) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let first = sqlx::query(
            "UPDATE planes SET first_event_at = $1 WHERE id = $2 \
             AND (first_event_at IS NULL OR first_event_at < enrolled_at)",
        )
        .bind(stored(event.at))
        .bind(event.plane.to_string())
        .execute(&mut *tx)
        .await?;
        if first.rows_affected() == 1 {
            add(&mut tx, event).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Adds an entry to a timeline.
    pub(crate) async fn add_event(&self, event: &NewEvent) -> Result<(), StoreError> {
        let mut tx = self.write_alone().await?;
        add(&mut tx, event).await?;
        Ok(tx.commit().await?)
    }
}

/// Adds an entry. The same as the newest one is counted there: an agent that keeps trying does not
/// push everything else out.
pub(super) async fn add(tx: &mut Tx, new: &NewEvent) -> Result<(), StoreError> {
    let plane = new.plane.to_string();
    let newest =
        sqlx::query("SELECT * FROM plane_events WHERE plane_id = $1 ORDER BY id DESC LIMIT 1")
            .bind(&plane)
            .try_map(|row: DbRow| Ok((row.try_get::<i64, _>("id")?, event(&row)?)))
            .fetch_optional(&mut **tx)
            .await?;
    if let Some((id, _)) = newest.filter(|(_, newest)| is_repeat(newest, new)) {
        sqlx::query("UPDATE plane_events SET times = times + 1, last_at = $1 WHERE id = $2")
            .bind(stored(new.at))
            .bind(id)
            .execute(&mut **tx)
            .await?;
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO plane_events (plane_id, at, last_at, times, kind, code, detail, \
         remote_address, key_fingerprint, alert) VALUES ($1, $2, $2, 1, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&plane)
    .bind(stored(new.at))
    .bind(new.kind.as_str())
    .bind(&new.code)
    .bind(&new.detail)
    .bind(&new.remote_address)
    .bind(&new.key_fingerprint)
    .bind(new.alert)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM plane_events WHERE plane_id = $1 AND id <= \
         (SELECT id FROM plane_events WHERE plane_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
    )
    .bind(&plane)
    .bind(KEPT)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether it is the same again: of the same kind and code, from the same key and host (ports
/// differ at each try).
fn is_repeat(newest: &Event, new: &NewEvent) -> bool {
    fn host(address: Option<&String>) -> Option<&str> {
        address.map(|text| {
            text.rsplit_once(':')
                .map_or(text.as_str(), |(host, _port)| host)
        })
    }
    newest.kind == EventKind::Refused
        && new.kind == EventKind::Refused
        && newest.code == new.code
        && newest.detail == new.detail
        && newest.key_fingerprint == new.key_fingerprint
        && host(newest.remote_address.as_ref()) == host(new.remote_address.as_ref())
}

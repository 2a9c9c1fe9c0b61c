//! Sealed secrets of planes, and what names them.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use sqlx::{AssertSqlSafe, Row as _};
use zen_proto::ids::{PlaneId, SecretId};
use zen_proto::limits;

use super::placed::{Noun, placed};
use super::{
    DbRow, NewAudit, Page, Removal, Scope, Store, StoreError, Tx, Wanted, audit, json, name_taken,
    number, stored, to_json, word,
};
use crate::endpoint::EndpointBody;
use crate::principal::{Actor, ActorKind};
use crate::secret::{SealedSecret, Secret, locked};
use crate::target::TargetBody;

/// Everything but the sealed text.
macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, plane_id, name, recipients, note, version, created_at, ",
            "updated_at, writer_kind, writer_id, writer_name FROM secrets ",
            $rest
        )
    };
}

/// Endpoints or targets that are read to learn what they name, at the most.
const NAMING: i64 = 10_000;
/// Users named when a removal is refused.
const NAMED: usize = 20;

/// What came of keeping a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Stored,
    /// The plane has as many as it may.
    TooMany,
    /// The plane's secrets would be larger together than they may.
    TooLarge,
}

/// A secret that is stored anew.
#[derive(Clone, Debug)]
pub(crate) struct Revised {
    /// None leaves the text as it is.
    pub(crate) sealed: Option<String>,
    pub(crate) recipients: Vec<String>,
    pub(crate) note: Option<String>,
    pub(crate) at: u64,
    pub(crate) writer: Actor,
}

/// A secret that the plane's own zen-lock sealed to its newest key.
#[derive(Clone, Debug)]
pub(crate) struct Resealing {
    pub(crate) plane: PlaneId,
    pub(crate) id: SecretId,
    /// The version it was made from.
    pub(crate) version: u64,
    pub(crate) sealed: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) at: u64,
    pub(crate) writer: Actor,
}

/// What kind of thing names a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum UsedBy {
    Endpoint,
    Target,
}

/// Something that names a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) by: UsedBy,
    pub(crate) id: String,
    pub(crate) name: String,
}

fn secret(row: &DbRow) -> Result<Secret, sqlx::Error> {
    let kind: &str = row.try_get("writer_kind")?;
    let kinds = [ActorKind::User, ActorKind::Key];
    let kind = kinds.into_iter().find(|known| known.as_str() == kind);
    Ok(Secret {
        id: word(row, "id")?,
        tenant: word(row, "tenant_id")?,
        plane: word(row, "plane_id")?,
        name: row.try_get("name")?,
        recipients: json(row, "recipients")?,
        note: row.try_get("note")?,
        version: number(row, "version")?,
        created_at: number(row, "created_at")?,
        updated_at: number(row, "updated_at")?,
        writer: Actor {
            kind: kind.unwrap_or(ActorKind::System),
            id: row.try_get("writer_id")?,
            name: row.try_get("writer_name")?,
        },
    })
}

pub(super) fn sealed(row: &DbRow) -> Result<SealedSecret, sqlx::Error> {
    Ok(SealedSecret {
        id: word(row, "id")?,
        name: row.try_get("name")?,
        sealed: row.try_get("sealed")?,
        version: number(row, "version")?,
    })
}

impl Store {
    /// Adds a secret, if its plane has room.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if another one of the plane has the name.
    pub(crate) async fn add_secret(
        &self,
        new: &Secret,
        sealed: &str,
        entry: &NewAudit,
    ) -> Result<Kept, StoreError> {
        let mut tx = self.write().await?;
        let kept = room(&mut tx, new.plane, None, sealed.len()).await?;
        if kept != Kept::Stored {
            return Ok(kept);
        }
        sqlx::query(
            "INSERT INTO secrets (id, tenant_id, plane_id, name, sealed, recipients, note, \
             version, created_at, updated_at, writer_kind, writer_id, writer_name) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(new.id.to_string())
        .bind(new.tenant.to_string())
        .bind(new.plane.to_string())
        .bind(&new.name)
        .bind(sealed)
        .bind(to_json(&new.recipients)?)
        .bind(&new.note)
        .bind(stored(new.version))
        .bind(stored(new.created_at))
        .bind(stored(new.updated_at))
        .bind(new.writer.kind.as_str())
        .bind(&new.writer.id)
        .bind(&new.writer.name)
        .execute(&mut *tx)
        .await
        .map_err(name_taken)?;
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Kept::Stored)
    }

    /// The scope's secret of that id with its sealed text.
    pub(crate) async fn secret(
        &self,
        scope: Scope,
        id: SecretId,
    ) -> Result<Option<(Secret, String)>, StoreError> {
        let found = sqlx::query("SELECT * FROM secrets WHERE id = $1 AND tenant_id IN ($2, $3)")
            .bind(id.to_string())
            .bind(scope.tenant.to_string())
            .bind(scope.also.to_string())
            .try_map(|row: DbRow| Ok((secret(&row)?, row.try_get("sealed")?)))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// A plane's secret, whoever asks: for what the plane itself says of it.
    pub(crate) async fn secret_of_plane(
        &self,
        plane: PlaneId,
        id: SecretId,
    ) -> Result<Option<Secret>, StoreError> {
        let found = sqlx::query(columns!("WHERE id = $1 AND plane_id = $2"))
            .bind(id.to_string())
            .bind(plane.to_string())
            .try_map(|row: DbRow| secret(&row))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// The scope's secrets, of one plane or all, without their sealed texts.
    pub(crate) async fn secrets(
        &self,
        scope: Scope,
        plane: Option<PlaneId>,
        wanted: &Wanted,
    ) -> Result<Page<Secret>, StoreError> {
        let rows = sqlx::query(columns!(
            "WHERE tenant_id IN ($1, $2) AND ($3 = '' OR plane_id = $3) AND id > $4 \
             AND ($5 = '' OR LOWER(name) LIKE LOWER($5) ESCAPE '\\') \
             AND ($6 = '' OR name = $6) ORDER BY id LIMIT $7"
        ))
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(plane.map(|id| id.to_string()).unwrap_or_default())
        .bind(&wanted.after)
        .bind(wanted.named.pattern())
        .bind(&wanted.named.exact)
        .bind(wanted.rows())
        .try_map(|row: DbRow| secret(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(Page::cut(rows, wanted, |secret| secret.id.to_string()))
    }

    /// Stores a secret anew that is still as it was read, if its plane has room.
    ///
    /// # Errors
    /// [`StoreError::Changed`].
    pub(crate) async fn change_secret(
        &self,
        read: &Secret,
        new: &Revised,
        entry: &NewAudit,
    ) -> Result<Kept, StoreError> {
        let mut tx = self.write().await?;
        if let Some(sealed) = &new.sealed {
            let kept = room(&mut tx, read.plane, Some(read.id), sealed.len()).await?;
            if kept != Kept::Stored {
                return Ok(kept);
            }
        }
        let done = sqlx::query(
            "UPDATE secrets SET sealed = COALESCE($1, sealed), recipients = $2, note = $3, \
             updated_at = $4, writer_kind = $5, writer_id = $6, writer_name = $7, \
             version = version + 1 WHERE id = $8 AND version = $9",
        )
        .bind(&new.sealed)
        .bind(to_json(&new.recipients)?)
        .bind(&new.note)
        .bind(stored(new.at))
        .bind(new.writer.kind.as_str())
        .bind(&new.writer.id)
        .bind(&new.writer.name)
        .bind(read.id.to_string())
        .bind(stored(read.version))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Kept::Stored)
    }

    /// Stores what the plane's zen-lock sealed again, if the plane has the secret and it is still
    /// at the version that it was made from.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if it is not.
    pub(crate) async fn reseal_secret(
        &self,
        new: &Resealing,
        entry: &NewAudit,
    ) -> Result<Kept, StoreError> {
        let mut tx = self.write().await?;
        let kept = room(&mut tx, new.plane, Some(new.id), new.sealed.len()).await?;
        if kept != Kept::Stored {
            return Ok(kept);
        }
        let done = sqlx::query(
            "UPDATE secrets SET sealed = $1, recipients = $2, updated_at = $3, writer_kind = $4, \
             writer_id = $5, writer_name = $6, version = version + 1 \
             WHERE id = $7 AND plane_id = $8 AND version = $9",
        )
        .bind(&new.sealed)
        .bind(to_json(&new.recipients)?)
        .bind(stored(new.at))
        .bind(new.writer.kind.as_str())
        .bind(&new.writer.id)
        .bind(&new.writer.name)
        .bind(new.id.to_string())
        .bind(new.plane.to_string())
        .bind(stored(new.version))
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Kept::Stored)
    }

    /// Removes a secret with its sealed text, unless something names it and it is not `forced`, or
    /// it is not at the `pinned` version.
    pub(crate) async fn remove_secret(
        &self,
        read: &Secret,
        forced: bool,
        pinned: Option<u64>,
        entry: &NewAudit,
    ) -> Result<Removal, StoreError> {
        let mut tx = self.write().await?;
        if !forced {
            let planes = [read.plane];
            let mut users = BTreeSet::new();
            let mut note = |(_, _, used): (PlaneId, String, Use)| {
                users.insert(used);
            };
            let name = Some(read.name.as_str());
            let (endpoint, target) = (UsedBy::Endpoint, UsedBy::Target);
            naming::<EndpointBody>(&mut tx, endpoint, None, &planes, name, &mut note).await?;
            naming::<TargetBody>(&mut tx, target, None, &planes, name, &mut note).await?;
            if !users.is_empty() {
                let ids = users.into_iter().take(NAMED).map(|used| used.id);
                return Ok(Removal::InUse(ids.collect()));
            }
        }
        let done = sqlx::query("DELETE FROM secrets WHERE id = $1 AND ($2 = 0 OR version = $2)")
            .bind(read.id.to_string())
            .bind(stored(pinned.unwrap_or(0)))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(pinned.map_or(Removal::Absent, |_| Removal::Changed));
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Removal::Removed)
    }

    /// What of the scope names secrets of these planes, by plane and secret.
    pub(crate) async fn secret_users(
        &self,
        scope: Scope,
        planes: &[PlaneId],
    ) -> Result<BTreeMap<(PlaneId, String), BTreeSet<Use>>, StoreError> {
        let mut found: BTreeMap<_, BTreeSet<Use>> = BTreeMap::new();
        if planes.is_empty() {
            return Ok(found);
        }
        let mut tx = self.read().await?;
        let mut note = |(plane, secret, used): (PlaneId, String, Use)| {
            found.entry((plane, secret)).or_default().insert(used);
        };
        let (endpoint, target, scope) = (UsedBy::Endpoint, UsedBy::Target, Some(scope));
        naming::<EndpointBody>(&mut tx, endpoint, scope, planes, None, &mut note).await?;
        naming::<TargetBody>(&mut tx, target, scope, planes, None, &mut note).await?;
        Ok(found)
    }

    /// The names of the secrets that are kept for these planes.
    pub(crate) async fn secret_names(
        &self,
        planes: &[PlaneId],
    ) -> Result<BTreeSet<(PlaneId, String)>, StoreError> {
        if planes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let text = format!(
            "SELECT plane_id, name FROM secrets WHERE plane_id IN ({})",
            places(planes.len(), 1)
        );
        let query = sqlx::query(AssertSqlSafe(text));
        let query = planes
            .iter()
            .fold(query, |query, plane| query.bind(plane.to_string()));
        let found = query
            .try_map(|row: DbRow| Ok((word(&row, "plane_id")?, row.try_get("name")?)))
            .fetch_all(&self.reader)
            .await?;
        Ok(found.into_iter().collect())
    }
}

/// `$1, $2, …`: numbers of parameters, and nothing else, are written into statements.
fn places(count: usize, first: usize) -> String {
    let places: Vec<_> = (first..first + count).map(|at| format!("${at}")).collect();
    places.join(", ")
}

/// Whether the plane may keep `bytes` more, in a new secret or in place of the one it has.
async fn room(
    tx: &mut Tx,
    plane: PlaneId,
    instead_of: Option<SecretId>,
    bytes: usize,
) -> Result<Kept, StoreError> {
    let row = sqlx::query(
        "SELECT CAST(COUNT(*) AS BIGINT) AS secrets, \
         CAST(COALESCE(SUM(LENGTH(sealed)), 0) AS BIGINT) AS bytes \
         FROM secrets WHERE plane_id = $1 AND id <> $2",
    )
    .bind(plane.to_string())
    .bind(instead_of.map(|id| id.to_string()).unwrap_or_default())
    .fetch_one(&mut **tx)
    .await?;
    let (secrets, present) = (number(&row, "secrets")?, number(&row, "bytes")?);
    if secrets >= limits::SECRETS_PER_PLANE as u64 {
        return Ok(Kept::TooMany);
    }
    if present.saturating_add(bytes as u64) > limits::SECRETS_PER_PLANE_BYTES as u64 {
        return Ok(Kept::TooLarge);
    }
    Ok(Kept::Stored)
}

/// Tells each endpoint or target of these planes, in the scope if there is one, that names a secret
/// (or the one of that name): its plane, the secret's name, and itself.
async fn naming<B: Noun + 'static>(
    tx: &mut Tx,
    by: UsedBy,
    scope: Option<Scope>,
    planes: &[PlaneId],
    only: Option<&str>,
    tell: &mut (dyn FnMut((PlaneId, String, Use)) + Send),
) -> Result<(), StoreError>
where
    <B::Id as FromStr>::Err: 'static,
{
    let scope: Vec<_> = scope.iter().flat_map(|s| [s.tenant, s.also]).collect();
    let whose = scope.first().map_or("", |_| "tenant_id IN ($1, $2) AND ");
    let (table, first) = (B::TABLE, scope.len() + 1);
    let text = format!(
        "SELECT * FROM {table} WHERE {whose}removed_at IS NULL AND plane_id IN ({}) \
         AND spec LIKE ${} ORDER BY id LIMIT {NAMING}",
        places(planes.len(), first),
        first + planes.len(),
    );
    let query = sqlx::query(AssertSqlSafe(text));
    let query = scope.iter().fold(query, |q, id| q.bind(id.to_string()));
    let query = planes.iter().fold(query, |q, id| q.bind(id.to_string()));
    // A secret's name has no character that means something in a pattern. What else the pattern
    // finds, such as a longer name, is left out below.
    let rows = query
        .bind(format!("%\"lock:{}%", only.unwrap_or_default()))
        .try_map(|row: DbRow| placed::<B>(&row))
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        let named: BTreeSet<&str> = row.body.secrets().into_iter().filter_map(locked).collect();
        for secret in named {
            if only.is_none_or(|only| only == secret) {
                let used = Use {
                    by,
                    id: row.id.to_string(),
                    name: row.body.name().to_owned(),
                };
                tell((row.plane, secret.to_owned(), used));
            }
        }
    }
    Ok(())
}

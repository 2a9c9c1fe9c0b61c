//! Sealed secrets of planes. What names them is found in `users`.

mod users;

use sqlx::Row as _;
use zen_proto::ids::{PlaneId, SecretId};
use zen_proto::limits;

pub(crate) use self::users::{Use, UsedBy};
use super::{
    DbRow, NewAudit, Page, Removal, Scope, Store, StoreError, Tx, Wanted, audit, json, name_taken,
    number, stored, to_json, word,
};
use crate::principal::{Actor, ActorKind};
use crate::secret::{SealedSecret, Secret};

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
            let users = users::of(&mut tx, read.plane, &read.name).await?;
            if !users.is_empty() {
                return Ok(Removal::InUse(users));
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

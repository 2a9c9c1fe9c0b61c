//! What lives in a plane: endpoints and targets. Both are kept alike (who owns it, where it lives,
//! and a body as the API shows it), so they share their statements.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row as _;
use zen_proto::ids::{PlaneId, TenantId};

use super::{
    DbRow, NewAudit, Page, Store, StoreError, Wanted, audit, json, name_taken, number, number_if,
    stored, to_json, word,
};

/// The statements for one table.
pub(crate) struct Statements {
    add: &'static str,
    find: &'static str,
    list: &'static str,
    change: &'static str,
    remove: &'static str,
    flows: &'static str,
    pub(super) in_plane: &'static str,
}

/// A noun that lives in a plane; its body is what a person writes about it.
pub(crate) trait Noun:
    serde::Serialize + serde::de::DeserializeOwned + Send + Unpin
{
    /// Its id.
    type Id: Display + FromStr<Err: std::error::Error + Send + Sync> + Copy + Send + Unpin;
    /// How its table is spoken to.
    const SQL: Statements;
    /// Its table.
    const TABLE: &'static str;

    /// Its name, unique among those of its tenant in its plane.
    fn name(&self) -> &str;

    /// The references to secrets in it.
    fn secrets(&self) -> Vec<&str>;
}

macro_rules! statements {
    ($table:literal, $column:literal) => {
        $crate::store::placed::Statements::of(
            concat!(
                "INSERT INTO ",
                $table,
                " (id, tenant_id, plane_id, name, spec, created_at, ",
                "updated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $6, 1)"
            ),
            concat!(
                "SELECT * FROM ",
                $table,
                " WHERE id = $1 AND tenant_id = $2"
            ),
            concat!(
                "SELECT * FROM ",
                $table,
                " WHERE tenant_id = $1 AND removed_at IS NULL ",
                "AND ($2 = '' OR plane_id = $2) AND id > $3 ",
                "AND ($4 = '' OR LOWER(name) LIKE LOWER($4) ESCAPE '\\') ",
                "AND ($5 = '' OR name = $5) ORDER BY id LIMIT $6"
            ),
            concat!(
                "UPDATE ",
                $table,
                " SET name = $1, spec = $2, updated_at = $3, ",
                "version = version + 1 WHERE id = $4 AND version = $5 AND removed_at IS NULL"
            ),
            concat!(
                "UPDATE ",
                $table,
                " SET removed_at = $1, version = version + 1 ",
                "WHERE id = $2 AND removed_at IS NULL AND ($3 = 0 OR version = $3)"
            ),
            concat!(
                "SELECT id FROM flows WHERE ",
                $column,
                " = $1 AND enabled ORDER BY id LIMIT 20"
            ),
            concat!("SELECT * FROM ", $table, " WHERE plane_id = $1"),
        )
    };
}
pub(crate) use statements;

impl Statements {
    /// Made by the macro beside it.
    pub(crate) const fn of(
        add: &'static str,
        find: &'static str,
        list: &'static str,
        change: &'static str,
        remove: &'static str,
        flows: &'static str,
        in_plane: &'static str,
    ) -> Self {
        Self {
            add,
            find,
            list,
            change,
            remove,
            flows,
            in_plane,
        }
    }
}

/// Something that lives in a plane, as it is kept. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed<B: Noun> {
    pub(crate) id: B::Id,
    pub(crate) tenant: TenantId,
    pub(crate) plane: PlaneId,
    pub(crate) body: B,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) removed_at: Option<u64>,
    /// Counts its changes.
    pub(crate) version: u64,
}

pub(super) fn placed<B: Noun>(row: &DbRow) -> Result<Placed<B>, sqlx::Error>
where
    <B::Id as FromStr>::Err: 'static,
{
    Ok(Placed {
        id: word(row, "id")?,
        tenant: word(row, "tenant_id")?,
        plane: word(row, "plane_id")?,
        body: json(row, "spec")?,
        created_at: number(row, "created_at")?,
        updated_at: number(row, "updated_at")?,
        removed_at: number_if(row, "removed_at")?,
        version: number(row, "version")?,
    })
}

/// What came of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    Removed,
    /// It is at another version than the one it is meant for.
    Changed,
    /// There is none of that id, or not any more.
    Absent,
    /// Enabled flows use it: some of their ids.
    InUse(Vec<String>),
}

impl Store {
    /// Adds an endpoint or target.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if another one in the plane has the name.
    pub(crate) async fn add<B: Noun>(
        &self,
        new: &Placed<B>,
        entry: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(B::SQL.add)
            .bind(new.id.to_string())
            .bind(new.tenant.to_string())
            .bind(new.plane.to_string())
            .bind(new.body.name().to_owned())
            .bind(to_json(&new.body)?)
            .bind(stored(new.created_at))
            .execute(&mut *tx)
            .await
            .map_err(name_taken)?;
        audit::append(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }

    /// The tenant's endpoint or target of that id, removed ones too.
    pub(crate) async fn find<B: Noun + 'static>(
        &self,
        tenant: TenantId,
        id: B::Id,
    ) -> Result<Option<Placed<B>>, StoreError>
    where
        <B::Id as FromStr>::Err: 'static,
    {
        let found = sqlx::query(B::SQL.find)
            .bind(id.to_string())
            .bind(tenant.to_string())
            .try_map(|row: DbRow| placed(&row))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// The tenant's endpoints or targets, of one plane or all.
    pub(crate) async fn list<B: Noun + 'static>(
        &self,
        tenant: TenantId,
        plane: Option<PlaneId>,
        wanted: &Wanted,
    ) -> Result<Page<Placed<B>>, StoreError>
    where
        <B::Id as FromStr>::Err: 'static,
    {
        let rows = sqlx::query(B::SQL.list)
            .bind(tenant.to_string())
            .bind(plane.map(|id| id.to_string()).unwrap_or_default())
            .bind(&wanted.after)
            .bind(wanted.named.pattern())
            .bind(&wanted.named.exact)
            .bind(wanted.rows())
            .try_map(|row: DbRow| placed(&row))
            .fetch_all(&self.reader)
            .await?;
        Ok(Page::cut(rows, wanted, |item: &Placed<B>| {
            item.id.to_string()
        }))
    }

    /// Changes one that is still as it was read.
    ///
    /// # Errors
    /// [`StoreError::Changed`], [`StoreError::NameTaken`].
    pub(crate) async fn change<B: Noun>(
        &self,
        read: &Placed<B>,
        body: &B,
        at: u64,
        entry: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(B::SQL.change)
            .bind(body.name().to_owned())
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

    /// Removes one, unless enabled flows use it, or it is not at the `pinned` version.
    pub(crate) async fn remove<B: Noun>(
        &self,
        id: B::Id,
        pinned: Option<u64>,
        at: u64,
        entry: &NewAudit,
    ) -> Result<Removal, StoreError> {
        let mut tx = self.write().await?;
        let flows: Vec<String> = sqlx::query(B::SQL.flows)
            .bind(id.to_string())
            .try_map(|row: DbRow| row.try_get("id"))
            .fetch_all(&mut *tx)
            .await?;
        if !flows.is_empty() {
            return Ok(Removal::InUse(flows));
        }
        let done = sqlx::query(B::SQL.remove)
            .bind(stored(at))
            .bind(id.to_string())
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

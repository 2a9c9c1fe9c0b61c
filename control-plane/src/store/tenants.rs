//! Tenants, and the very first owner.

use sqlx::Row as _;
use zen_proto::ids::TenantId;

use super::audit::append;
use super::sessions::{NewLink, insert_link};
use super::users::{User, insert_user};
use super::{
    DbRow, NewAudit, Page, Store, StoreError, Wanted, flag, name_taken, number, stored, word,
};

/// A tenant as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) name: String,
    /// `operator`, `default` or `tenant`.
    pub(crate) kind: String,
    /// Everybody needs a second step to sign in.
    pub(crate) totp_required: bool,
    /// Unix milliseconds.
    pub(crate) created_at: u64,
    pub(crate) version: u64,
}

/// A tenant about to be made, with the person who will own it and their way in.
pub(crate) struct NewTenant {
    pub(crate) tenant: Tenant,
    pub(crate) owner: User,
    pub(crate) link: NewLink,
}

/// The first person of all, whose way in is a link.
pub(crate) struct FirstOwner {
    pub(crate) user: User,
    pub(crate) link: NewLink,
}

fn tenant(row: &DbRow) -> Result<Tenant, sqlx::Error> {
    Ok(Tenant {
        id: word(row, "id")?,
        name: row.try_get("name")?,
        kind: row.try_get("role")?,
        totp_required: flag(row, "totp_required")?,
        created_at: number(row, "created_at")?,
        version: number(row, "version")?,
    })
}

impl Store {
    /// A tenant.
    pub(crate) async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let found = sqlx::query(
            "SELECT id, name, role, totp_required, created_at, version FROM tenants WHERE id = $1",
        )
        .bind(id.to_string())
        .try_map(|row: DbRow| tenant(&row))
        .fetch_optional(&self.reader)
        .await?;
        Ok(found)
    }

    /// All tenants, the oldest first.
    pub(crate) async fn tenants(&self, wanted: &Wanted) -> Result<Page<Tenant>, StoreError> {
        let items = sqlx::query(
            "SELECT id, name, role, totp_required, created_at, version FROM tenants WHERE id > $1 \
             ORDER BY id LIMIT $2",
        )
        .bind(&wanted.after)
        .bind(wanted.rows())
        .try_map(|row: DbRow| tenant(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(Page::cut(items, wanted, |tenant| tenant.id.to_string()))
    }

    /// Makes a tenant; the entries go to the log of who makes it and to its own.
    ///
    /// # Errors
    /// `NameTaken` if there is one of that name, or somebody has the owner's e-mail address.
    pub(crate) async fn add_tenant(
        &self,
        new: &NewTenant,
        entries: [&NewAudit; 2],
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO tenants (id, name, role, totp_required, created_at) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(new.tenant.id.to_string())
        .bind(&new.tenant.name)
        .bind(&new.tenant.kind)
        .bind(new.tenant.totp_required)
        .bind(stored(new.tenant.created_at))
        .execute(&mut *tx)
        .await
        .map_err(name_taken)?;
        for entry in entries {
            append(&mut tx, entry).await?;
        }
        insert_user(&mut tx, &new.owner).await?;
        insert_link(&mut tx, &new.link).await?;
        Ok(tx.commit().await?)
    }

    /// Changes a tenant's name and what it asks of its people, of the version that was read.
    pub(crate) async fn change_tenant(
        &self,
        after: &Tenant,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        let done = sqlx::query(
            "UPDATE tenants SET name = $1, totp_required = $2, version = version + 1 \
             WHERE id = $3 AND version = $4",
        )
        .bind(&after.name)
        .bind(after.totp_required)
        .bind(after.id.to_string())
        .bind(stored(after.version))
        .execute(&mut *tx)
        .await
        .map_err(name_taken)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        Ok(tx.commit().await?)
    }

    /// Whether there is any person at all.
    pub(crate) async fn has_people(&self) -> Result<bool, StoreError> {
        let found = sqlx::query("SELECT id FROM users LIMIT 1")
            .fetch_optional(&self.reader)
            .await?;
        Ok(found.is_some())
    }

    /// Makes the first person, unless there is one already.
    pub(crate) async fn add_first_owner(
        &self,
        first: &FirstOwner,
        audit: &NewAudit,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let found = sqlx::query("SELECT id FROM users LIMIT 1")
            .fetch_optional(&mut *tx)
            .await?;
        if found.is_some() {
            return Ok(false);
        }
        append(&mut tx, audit).await?;
        insert_user(&mut tx, &first.user).await?;
        insert_link(&mut tx, &first.link).await?;
        tx.commit().await?;
        Ok(true)
    }
}

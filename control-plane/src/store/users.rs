//! People: who may sign in, in which tenant, as what. An e-mail address belongs to one person,
//! whatever its case.

use sqlx::Row as _;
use zen_proto::ids::{TenantId, UserId};

use super::audit::append;
use super::sessions::{NewLink, insert_link};
use super::{
    DbRow, NewAudit, Page, Store, StoreError, Tx, Wanted, flag, name_taken, number, number_if,
    stored, word,
};
use crate::people::email::folded;
use crate::permissions::Role;

/// A person as kept.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) tenant: TenantId,
    /// May also manage what belongs to the operator.
    pub(crate) operator: bool,
    /// None until the very first owner gave one.
    pub(crate) email: Option<String>,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// argon2id, as a PHC string; none for who has not set one.
    pub(crate) password: Option<String>,
    pub(crate) disabled: bool,
    /// The secret of the authenticator app, sealed; none without one.
    pub(crate) totp: Option<String>,
    /// One that was begun and not confirmed.
    pub(crate) totp_pending: Option<String>,
    /// The step of the last code that was taken.
    pub(crate) totp_step: Option<u64>,
    /// Unix milliseconds, as all times here.
    pub(crate) created_at: u64,
    pub(crate) signed_in_at: Option<u64>,
    pub(crate) version: u64,
}

/// What a change of a person sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserChange {
    pub(crate) name: String,
    pub(crate) email: Option<String>,
    pub(crate) role: Role,
    pub(crate) disabled: bool,
}

/// What came of a change that might have left a tenant without an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It was made.
    Done,
    /// Not made: nobody would be left who may decide about people.
    LastOwner,
}

pub(super) fn user(row: &DbRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: word(row, "id")?,
        tenant: word(row, "tenant_id")?,
        operator: flag(row, "operator")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        role: word(row, "role")?,
        password: row.try_get("password")?,
        disabled: number_if(row, "disabled_at")?.is_some(),
        totp: row.try_get("totp_sealed")?,
        totp_pending: row.try_get("totp_pending")?,
        totp_step: number_if(row, "totp_step")?,
        created_at: number(row, "created_at")?,
        signed_in_at: number_if(row, "signed_in_at")?,
        version: number(row, "version")?,
    })
}

macro_rules! select_users_with {
    ($columns:literal, $rest:expr) => {
        concat!(
            "SELECT users.id AS id, users.tenant_id AS tenant_id, users.operator AS operator, ",
            "users.email AS email, users.name AS name, users.role AS role, ",
            "users.password AS password, users.disabled_at AS disabled_at, ",
            "users.totp_sealed AS totp_sealed, users.totp_pending AS totp_pending, ",
            "users.totp_step AS totp_step, users.created_at AS created_at, ",
            "users.signed_in_at AS signed_in_at, users.version AS version",
            $columns,
            " FROM users ",
            $rest
        )
    };
}
pub(super) use select_users_with;

macro_rules! select_users {
    ($rest:literal) => {
        select_users_with!("", $rest)
    };
}

impl Store {
    /// A person, whatever the tenant.
    pub(crate) async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let found = sqlx::query(select_users!("WHERE id = $1"))
            .bind(id.to_string())
            .try_map(|row: DbRow| user(&row))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// The person with this e-mail address, whatever its case.
    pub(crate) async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let found = sqlx::query(select_users!("WHERE email_folded = $1"))
            .bind(folded(email))
            .try_map(|row: DbRow| user(&row))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// The first owner, as long as they have not said who they are.
    pub(crate) async fn nameless_user(&self) -> Result<Option<User>, StoreError> {
        let found = sqlx::query(select_users!("WHERE email IS NULL ORDER BY id LIMIT 1"))
            .try_map(|row: DbRow| user(&row))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// The people of a tenant, the oldest first.
    pub(crate) async fn users(
        &self,
        tenant: TenantId,
        wanted: &Wanted,
    ) -> Result<Page<User>, StoreError> {
        let items = sqlx::query(select_users!(
            "WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"
        ))
        .bind(tenant.to_string())
        .bind(&wanted.after)
        .bind(wanted.rows())
        .try_map(|row: DbRow| user(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(Page::cut(items, wanted, |user| user.id.to_string()))
    }

    /// Adds a person.
    ///
    /// # Errors
    /// `NameTaken` if somebody has the e-mail address.
    pub(crate) async fn add_user(&self, new: &User, audit: &NewAudit) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        insert_user(&mut tx, new).await?;
        Ok(tx.commit().await?)
    }

    /// Adds a person with a link to come in by.
    ///
    /// # Errors
    /// `NameTaken` if somebody has the e-mail address.
    pub(crate) async fn invite(
        &self,
        new: &User,
        link: &NewLink,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        insert_user(&mut tx, new).await?;
        insert_link(&mut tx, link).await?;
        Ok(tx.commit().await?)
    }

    /// Changes a person, of the version that was read.
    pub(crate) async fn change_user(
        &self,
        before: &User,
        change: &UserChange,
        at: u64,
        audit: &NewAudit,
    ) -> Result<Changed, StoreError> {
        let mut tx = self.write().await?;
        // First: this holds up every other audited change of the tenant until the commit, so that
        // two owners cannot demote each other at once.
        append(&mut tx, audit).await?;
        let weaker = change.disabled || change.role != Role::Owner;
        if weaker && !other_owner(&mut tx, before).await? {
            return Ok(Changed::LastOwner);
        }
        let done = sqlx::query(
            "UPDATE users SET name = $1, email = $2, email_folded = $3, role = $4, \
             disabled_at = CASE WHEN $5 THEN COALESCE(disabled_at, $6) ELSE NULL END, \
             updated_at = $6, version = version + 1 WHERE id = $7 AND version = $8",
        )
        .bind(&change.name)
        .bind(change.email.as_deref())
        .bind(change.email.as_deref().map(folded))
        .bind(change.role.as_str())
        .bind(change.disabled)
        .bind(stored(at))
        .bind(before.id.to_string())
        .bind(stored(before.version))
        .execute(&mut *tx)
        .await
        .map_err(name_taken)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        if change.disabled || change.role != before.role {
            end_sessions(&mut tx, before.id, None).await?;
        }
        tx.commit().await?;
        Ok(Changed::Done)
    }

    /// Removes a person, of the version that was read, with everything that lets them in.
    pub(crate) async fn remove_user(
        &self,
        before: &User,
        audit: &NewAudit,
    ) -> Result<Changed, StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        if !other_owner(&mut tx, before).await? {
            return Ok(Changed::LastOwner);
        }
        let id = before.id.to_string();
        for sql in [
            "DELETE FROM sessions WHERE user_id = $1",
            "DELETE FROM sign_in_links WHERE user_id = $1",
            "DELETE FROM sign_in_steps WHERE user_id = $1",
            "DELETE FROM recovery_codes WHERE user_id = $1",
        ] {
            sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
        }
        let done = sqlx::query("DELETE FROM users WHERE id = $1 AND version = $2")
            .bind(&id)
            .bind(stored(before.version))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        tx.commit().await?;
        Ok(Changed::Done)
    }

    /// Sets a person's password, ends every other way in: sessions (but `keep`), links, steps.
    pub(crate) async fn set_password(
        &self,
        id: UserId,
        hash: &str,
        keep: Option<&str>,
        at: u64,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        write_password(&mut tx, id, hash, at).await?;
        end_sessions(&mut tx, id, keep).await?;
        Ok(tx.commit().await?)
    }

    /// Keeps the same password under today's parameters, unless it was changed meanwhile.
    pub(crate) async fn rehash_password(
        &self,
        id: UserId,
        before: &str,
        hash: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE users SET password = $1 WHERE id = $2 AND password = $3")
            .bind(hash)
            .bind(id.to_string())
            .bind(before)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Writes a new person.
pub(super) async fn insert_user(tx: &mut Tx, new: &User) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO users (id, tenant_id, operator, email, email_folded, name, role, password, \
         created_at, updated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, 1)",
    )
    .bind(new.id.to_string())
    .bind(new.tenant.to_string())
    .bind(new.operator)
    .bind(new.email.as_deref())
    .bind(new.email.as_deref().map(folded))
    .bind(&new.name)
    .bind(new.role.as_str())
    .bind(new.password.as_deref())
    .bind(stored(new.created_at))
    .execute(&mut **tx)
    .await
    .map_err(name_taken)?;
    Ok(())
}

/// Writes a person's password.
pub(super) async fn write_password(
    tx: &mut Tx,
    id: UserId,
    hash: &str,
    at: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE users SET password = $1, updated_at = $2, version = version + 1 WHERE id = $3",
    )
    .bind(hash)
    .bind(stored(at))
    .bind(id.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends the sessions of a person but the one of id `keep`, links and half-done sign-ins.
pub(super) async fn end_sessions(
    tx: &mut Tx,
    id: UserId,
    keep: Option<&str>,
) -> Result<(), StoreError> {
    let id = id.to_string();
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2")
        .bind(&id)
        .bind(keep.unwrap_or_default())
        .execute(&mut **tx)
        .await?;
    for sql in [
        "DELETE FROM sign_in_links WHERE user_id = $1",
        "DELETE FROM sign_in_steps WHERE user_id = $1",
    ] {
        sqlx::query(sql).bind(&id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Whether the tenant has an owner beside this person who has been here, or never needed one.
async fn other_owner(tx: &mut Tx, leaving: &User) -> Result<bool, StoreError> {
    if leaving.role != Role::Owner || leaving.disabled {
        return Ok(true);
    }
    let row = sqlx::query(
        "SELECT CAST(COUNT(*) AS BIGINT) AS others FROM users WHERE tenant_id = $1 AND id <> $2 \
         AND role = 'owner' AND disabled_at IS NULL AND signed_in_at IS NOT NULL",
    )
    .bind(leaving.tenant.to_string())
    .bind(leaving.id.to_string())
    .fetch_one(&mut **tx)
    .await?;
    Ok(number(&row, "others")? > 0)
}

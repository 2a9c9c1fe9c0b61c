//! Sessions of people, sign-in links, and sign-ins that wait for their second step. Of every token
//! only the SHA-256 is kept.

use sqlx::Row as _;
use zen_proto::ids::UserId;

use super::audit::append;
use super::users::{User, user, write_password};
use super::{DbRow, NewAudit, Store, StoreError, Tx, flag, hash, name_taken, number, stored};
use crate::people::email::folded;
use crate::people::session::{Carried, Times};

/// A session as kept.
pub(crate) struct StoredSession {
    /// For lists; lets nobody in.
    pub(crate) id: String,
    pub(crate) times: Times,
    pub(crate) carried: Carried,
    /// Signed in without the second step that the tenant asks for.
    pub(crate) second_step: bool,
    pub(crate) user: User,
    pub(crate) tenant_name: String,
    /// The tenant asks for a second step.
    pub(crate) totp_required: bool,
}

/// A session about to begin.
pub(crate) struct NewSession {
    pub(crate) id: String,
    pub(crate) user: UserId,
    pub(crate) token_sha256: [u8; 32],
    /// The provider or an authenticator app was part of the sign-in.
    pub(crate) second_step: bool,
    pub(crate) at: u64,
    pub(crate) address: String,
    pub(crate) browser: String,
}

/// A session as its owner sees it.
pub(crate) struct ListedSession {
    pub(crate) id: String,
    pub(crate) times: Times,
    pub(crate) address: String,
    pub(crate) browser: String,
}

/// A sign-in that waits for its second step.
pub(crate) struct Step {
    pub(crate) user: User,
    pub(crate) expires_at: u64,
    /// Codes that were tried.
    pub(crate) tries: u64,
    pub(crate) next: String,
}

/// A sign-in link about to be handed out.
pub(crate) struct NewLink {
    pub(crate) token_sha256: [u8; 32],
    pub(crate) user: UserId,
    pub(crate) at: u64,
    pub(crate) expires_at: u64,
}

/// What the bearer of a sign-in link sets.
pub(crate) struct Taken {
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password: String,
}

macro_rules! select_sessions {
    ($rest:literal) => {
        super::users::select_users_with!(
            ", sessions.id AS session_id, sessions.began_at AS began_at, \
             sessions.seen_at AS seen_at, sessions.rotated_at AS rotated_at, \
             sessions.token_sha256 AS token_sha256, sessions.second_step AS second_step, \
             tenants.name AS tenant_name, tenants.totp_required AS totp_required",
            concat!(
                "JOIN sessions ON sessions.user_id = users.id ",
                "JOIN tenants ON tenants.id = users.tenant_id ",
                $rest
            )
        )
    };
}

impl Store {
    /// The session whose token, the present one or the one before, has this hash.
    pub(crate) async fn session(
        &self,
        token_sha256: &[u8; 32],
    ) -> Result<Option<StoredSession>, StoreError> {
        let found = sqlx::query(select_sessions!(
            "WHERE sessions.token_sha256 = $1 OR sessions.previous_sha256 = $1"
        ))
        .bind(token_sha256.as_slice())
        .try_map(|row: DbRow| {
            let current = hash(&row, "token_sha256")? == *token_sha256;
            session(&row, current)
        })
        .fetch_optional(&self.reader)
        .await?;
        Ok(found)
    }

    /// The session of this id.
    pub(crate) async fn session_of_id(
        &self,
        id: &str,
    ) -> Result<Option<StoredSession>, StoreError> {
        let found = sqlx::query(select_sessions!("WHERE sessions.id = $1"))
            .bind(id)
            .try_map(|row: DbRow| session(&row, true))
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }

    /// Begins a session.
    pub(crate) async fn begin_session(
        &self,
        new: &NewSession,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        insert_session(&mut tx, new).await?;
        Ok(tx.commit().await?)
    }

    /// Replaces a session's token, unless another request did.
    pub(crate) async fn rotate_session(
        &self,
        id: &str,
        before: &[u8; 32],
        after: &[u8; 32],
        at: u64,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE sessions SET token_sha256 = $1, previous_sha256 = $2, rotated_at = $3, \
             seen_at = $3 WHERE id = $4 AND token_sha256 = $2",
        )
        .bind(after.as_slice())
        .bind(before.as_slice())
        .bind(stored(at))
        .bind(id)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Writes down that a session is in use.
    pub(crate) async fn see_session(&self, id: &str, at: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE sessions SET seen_at = $1 WHERE id = $2")
            .bind(stored(at))
            .bind(id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Ends one session of a person; false if there is none of this id.
    pub(crate) async fn end_session(
        &self,
        user: UserId,
        id: &str,
        audit: Option<&NewAudit>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id = $2")
            .bind(user.to_string())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(audit) = audit {
            append(&mut tx, audit).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The sessions of a person, the one used last first.
    pub(crate) async fn sessions_of(&self, user: UserId) -> Result<Vec<ListedSession>, StoreError> {
        let found = sqlx::query(
            "SELECT id, began_at, seen_at, rotated_at, remote_address, browser FROM sessions \
             WHERE user_id = $1 ORDER BY seen_at DESC, id LIMIT 100",
        )
        .bind(user.to_string())
        .try_map(|row: DbRow| {
            Ok(ListedSession {
                id: row.try_get("id")?,
                times: times(&row)?,
                address: row.try_get("remote_address")?,
                browser: row.try_get("browser")?,
            })
        })
        .fetch_all(&self.reader)
        .await?;
        Ok(found)
    }

    /// Forgets what is over: sessions unused since `idle` or begun before `oldest`, links and steps
    /// that expired before `now`.
    pub(crate) async fn forget_sessions(
        &self,
        idle: u64,
        oldest: u64,
        now: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM sessions WHERE seen_at <= $1 OR began_at <= $2")
            .bind(stored(idle))
            .bind(stored(oldest))
            .execute(&mut *tx)
            .await?;
        for sql in [
            "DELETE FROM sign_in_links WHERE expires_at <= $1",
            "DELETE FROM sign_in_steps WHERE expires_at <= $1",
        ] {
            sqlx::query(sql).bind(stored(now)).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Keeps a link; every earlier one of the person is void.
    pub(crate) async fn add_link(
        &self,
        link: &NewLink,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        insert_link(&mut tx, link).await?;
        Ok(tx.commit().await?)
    }

    /// Whose link has this hash, if it is good at `now`.
    pub(crate) async fn link(
        &self,
        token_sha256: &[u8; 32],
        now: u64,
    ) -> Result<Option<User>, StoreError> {
        let found = sqlx::query(super::users::select_users_with!(
            "",
            "JOIN sign_in_links ON sign_in_links.user_id = users.id \
             WHERE sign_in_links.token_sha256 = $1 AND sign_in_links.expires_at > $2"
        ))
        .bind(token_sha256.as_slice())
        .bind(stored(now))
        .try_map(|row: DbRow| user(&row))
        .fetch_optional(&self.reader)
        .await?;
        Ok(found)
    }

    /// Whether a person has a link that is good at `now`.
    pub(crate) async fn has_link(&self, user: UserId, now: u64) -> Result<bool, StoreError> {
        let found =
            sqlx::query("SELECT user_id FROM sign_in_links WHERE user_id = $1 AND expires_at > $2")
                .bind(user.to_string())
                .bind(stored(now))
                .fetch_optional(&self.reader)
                .await?;
        Ok(found.is_some())
    }

    /// Uses a link: it is gone, the person has a password, and nothing else lets them in any more.
    /// False if somebody else used it first.
    pub(crate) async fn take_link(
        &self,
        token_sha256: &[u8; 32],
        user: UserId,
        taken: &Taken,
        at: u64,
        audit: &NewAudit,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        let used = sqlx::query("DELETE FROM sign_in_links WHERE token_sha256 = $1")
            .bind(token_sha256.as_slice())
            .execute(&mut *tx)
            .await?;
        if used.rows_affected() == 0 {
            return Ok(false);
        }
        write_password(&mut tx, user, &taken.password, at).await?;
        sqlx::query("UPDATE users SET email = $1, email_folded = $2, name = $3 WHERE id = $4")
            .bind(&taken.email)
            .bind(folded(&taken.email))
            .bind(&taken.name)
            .bind(user.to_string())
            .execute(&mut *tx)
            .await
            .map_err(name_taken)?;
        super::users::end_sessions(&mut tx, user, None).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Keeps a sign-in that waits for its second step.
    pub(crate) async fn add_step(
        &self,
        token_sha256: &[u8; 32],
        user: UserId,
        next: &str,
        expires_at: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sign_in_steps (token_sha256, user_id, next, expires_at, tries) \
             VALUES ($1, $2, $3, $4, 0)",
        )
        .bind(token_sha256.as_slice())
        .bind(user.to_string())
        .bind(next)
        .bind(stored(expires_at))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The sign-in that waits under this token; `trying` counts a code that is about to be tried.
    pub(crate) async fn step(
        &self,
        token_sha256: &[u8; 32],
        trying: bool,
    ) -> Result<Option<Step>, StoreError> {
        if trying {
            sqlx::query("UPDATE sign_in_steps SET tries = tries + 1 WHERE token_sha256 = $1")
                .bind(token_sha256.as_slice())
                .execute(&self.writer)
                .await?;
        }
        let found = sqlx::query(super::users::select_users_with!(
            ", sign_in_steps.expires_at AS expires_at, sign_in_steps.tries AS tries, \
             sign_in_steps.next AS next",
            "JOIN sign_in_steps ON sign_in_steps.user_id = users.id \
             WHERE sign_in_steps.token_sha256 = $1"
        ))
        .bind(token_sha256.as_slice())
        .try_map(|row: DbRow| {
            Ok(Step {
                user: user(&row)?,
                expires_at: number(&row, "expires_at")?,
                tries: number(&row, "tries")?,
                next: row.try_get("next")?,
            })
        })
        .fetch_optional(&self.reader)
        .await?;
        Ok(found)
    }

    /// Ends a sign-in's second step.
    pub(crate) async fn end_step(&self, token_sha256: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sign_in_steps WHERE token_sha256 = $1")
            .bind(token_sha256.as_slice())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Writes a new link; every earlier one of the person is void.
pub(super) async fn insert_link(tx: &mut Tx, link: &NewLink) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sign_in_links WHERE user_id = $1")
        .bind(link.user.to_string())
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "INSERT INTO sign_in_links (token_sha256, user_id, created_at, expires_at) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(link.token_sha256.as_slice())
    .bind(link.user.to_string())
    .bind(stored(link.at))
    .bind(stored(link.expires_at))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn insert_session(tx: &mut Tx, new: &NewSession) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, token_sha256, second_step, began_at, seen_at, \
         rotated_at, remote_address, browser) VALUES ($1, $2, $3, $4, $5, $5, $5, $6, $7)",
    )
    .bind(&new.id)
    .bind(new.user.to_string())
    .bind(new.token_sha256.as_slice())
    .bind(new.second_step)
    .bind(stored(new.at))
    .bind(&new.address)
    .bind(&new.browser)
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE users SET signed_in_at = $1 WHERE id = $2")
        .bind(stored(new.at))
        .bind(new.user.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn session(row: &DbRow, current: bool) -> Result<StoredSession, sqlx::Error> {
    Ok(StoredSession {
        id: row.try_get("session_id")?,
        times: times(row)?,
        carried: if current {
            Carried::Current
        } else {
            Carried::Previous
        },
        second_step: flag(row, "second_step")?,
        user: user(row)?,
        tenant_name: row.try_get("tenant_name")?,
        totp_required: flag(row, "totp_required")?,
    })
}

fn times(row: &DbRow) -> Result<Times, sqlx::Error> {
    Ok(Times {
        began_at: number(row, "began_at")?,
        seen_at: number(row, "seen_at")?,
        rotated_at: number(row, "rotated_at")?,
    })
}

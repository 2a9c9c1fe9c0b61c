//! The second step of people's sign-ins: sealed secrets, the last code taken, recovery codes.

use zen_proto::ids::UserId;

use super::audit::append;
use super::{NewAudit, Store, StoreError, stored};

impl Store {
    /// Keeps a secret that is not confirmed yet.
    pub(crate) async fn begin_totp(&self, id: UserId, sealed: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE users SET totp_pending = $1 WHERE id = $2")
            .bind(sealed)
            .bind(id.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Puts the pending secret to use, with new recovery codes. The session of id `session` counts
    /// as signed in with it.
    pub(crate) async fn confirm_totp(
        &self,
        id: UserId,
        step: u64,
        recovery: &[[u8; 32]],
        session: &str,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        let user = id.to_string();
        let done = sqlx::query(
            "UPDATE users SET totp_sealed = totp_pending, totp_pending = NULL, totp_step = $1, \
             version = version + 1 WHERE id = $2 AND totp_pending IS NOT NULL",
        )
        .bind(stored(step))
        .bind(&user)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Changed);
        }
        sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1")
            .bind(&user)
            .execute(&mut *tx)
            .await?;
        for sha256 in recovery {
            sqlx::query("INSERT INTO recovery_codes (user_id, sha256) VALUES ($1, $2)")
                .bind(&user)
                .bind(sha256.as_slice())
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("UPDATE sessions SET second_step = TRUE WHERE id = $1 AND user_id = $2")
            .bind(session)
            .bind(&user)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Takes the second step away.
    pub(crate) async fn remove_totp(&self, id: UserId, audit: &NewAudit) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        let user = id.to_string();
        sqlx::query(
            "UPDATE users SET totp_sealed = NULL, totp_pending = NULL, totp_step = NULL, \
             version = version + 1 WHERE id = $1",
        )
        .bind(&user)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1")
            .bind(&user)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Takes the code of a step; false if that or a later one was taken before.
    pub(crate) async fn take_totp_step(&self, id: UserId, step: u64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE users SET totp_step = $1 \
             WHERE id = $2 AND (totp_step IS NULL OR totp_step < $1)",
        )
        .bind(stored(step))
        .bind(id.to_string())
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes a recovery code; false if the person has no such code any more.
    pub(crate) async fn take_recovery_code(
        &self,
        id: UserId,
        sha256: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1 AND sha256 = $2")
            .bind(id.to_string())
            .bind(sha256.as_slice())
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// How many recovery codes a person has left.
    pub(crate) async fn recovery_codes_left(&self, id: UserId) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT CAST(COUNT(*) AS BIGINT) AS rest FROM recovery_codes WHERE user_id = $1",
        )
        .bind(id.to_string())
        .fetch_one(&self.reader)
        .await?;
        Ok(super::number(&row, "rest")?)
    }
}

//! Requests that may be repeated: which are under way, which were carried out, and what was
//! answered. A try that died is found by its claim, which ends; that the change was made is noted in
//! the change's own transaction.

use sqlx::Row as _;
use zen_proto::ids::TenantId;

use super::{DbRow, Store, StoreError, Tx, number, number_if, stored};

/// Requests remembered for one tenant at the most.
const MOST: u64 = 10_000;

/// A try to carry out a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Hash of tenant, operation and key.
    pub(crate) id: String,
    /// Tells this try from others.
    pub(crate) token: String,
}

/// A request that is about to be tried.
pub(crate) struct NewClaim<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) tenant: TenantId,
    pub(crate) fingerprint: &'a [u8],
    /// Unix milliseconds.
    pub(crate) now: u64,
    /// When the try is taken for dead.
    pub(crate) until: u64,
    /// When the request is forgotten.
    pub(crate) expires: u64,
}

/// What is known of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Nothing, or its last try died without an effect: go on.
    Mine,
    /// It was answered: the status, and the rest, sealed.
    Answered { status: u64, sealed: Vec<u8> },
    /// A try is under way for so many milliseconds more at the most.
    UnderWay(u64),
    /// It was carried out; its answer is lost.
    AnswerLost,
    /// The key was used for another request, or by another caller.
    Other,
    /// The tenant has as many as are remembered.
    Full,
}

struct Known {
    fingerprint: Vec<u8>,
    claimed_until: u64,
    carried_out: bool,
    answer: Option<(u64, Vec<u8>)>,
}

fn known(row: &DbRow) -> Result<Known, sqlx::Error> {
    let status = number_if(row, "status")?;
    let sealed: Option<&[u8]> = row.try_get("answer")?;
    Ok(Known {
        fingerprint: row.try_get::<&[u8], _>("fingerprint")?.to_vec(),
        claimed_until: number(row, "claimed_until")?,
        carried_out: number(row, "carried_out")? == 1,
        answer: status.zip(sealed.map(<[u8]>::to_vec)),
    })
}

/// What is to be done about a request that is known already.
fn judged(known: Known, new: &NewClaim<'_>) -> Claimed {
    if known.fingerprint != new.fingerprint {
        return Claimed::Other;
    }
    match known.answer {
        Some((status, sealed)) => Claimed::Answered { status, sealed },
        None if known.claimed_until > new.now => Claimed::UnderWay(known.claimed_until - new.now),
        None if known.carried_out => Claimed::AnswerLost,
        None => Claimed::Mine,
    }
}

impl Store {
    /// Begins a try, unless the request was answered or is under way.
    pub(crate) async fn claim(&self, new: &NewClaim<'_>) -> Result<Claimed, StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM idempotency WHERE id = $1 AND expires_at <= $2")
            .bind(&new.claim.id)
            .bind(stored(new.now))
            .execute(&mut *tx)
            .await?;
        let found = sqlx::query("SELECT * FROM idempotency WHERE id = $1")
            .bind(&new.claim.id)
            .try_map(|row: DbRow| known(&row))
            .fetch_optional(&mut *tx)
            .await?;
        let claimed = match found {
            Some(known) => judged(known, new),
            None if remembered(&mut tx, new.tenant).await? >= MOST => Claimed::Full,
            None => {
                insert(&mut tx, new).await?;
                tx.commit().await?;
                return Ok(Claimed::Mine);
            }
        };
        if claimed == Claimed::Mine {
            sqlx::query("UPDATE idempotency SET claim = $1, claimed_until = $2 WHERE id = $3")
                .bind(&new.claim.token)
                .bind(stored(new.until))
                .bind(&new.claim.id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// Keeps what was answered, sealed.
    pub(crate) async fn answered(
        &self,
        claim: &Claim,
        status: u64,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE idempotency SET status = $1, answer = $2 WHERE id = $3 AND claim = $4")
            .bind(stored(status))
            .bind(sealed)
            .bind(&claim.id)
            .bind(&claim.token)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// The try came to nothing: the next one may begin at once. If the change was made all the
    /// same, the request stays known.
    pub(crate) async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM idempotency WHERE id = $1 AND claim = $2 AND carried_out = $3")
            .bind(&claim.id)
            .bind(&claim.token)
            .bind(0_i64)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE idempotency SET claimed_until = 0 WHERE id = $1 AND claim = $2")
            .bind(&claim.id)
            .bind(&claim.token)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Forgets requests that are old enough. Answers how many.
    pub(crate) async fn forget_requests(&self, now: u64) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM idempotency WHERE expires_at <= $1")
            .bind(stored(now))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected())
    }
}

/// Notes in the change's own transaction that the request is carried out.
///
/// # Errors
/// [`StoreError::Changed`] if another try has taken over: then this one must not change anything.
pub(super) async fn carried_out(tx: &mut Tx, claim: &Claim) -> Result<(), StoreError> {
    let done = sqlx::query("UPDATE idempotency SET carried_out = $1 WHERE id = $2 AND claim = $3")
        .bind(1_i64)
        .bind(&claim.id)
        .bind(&claim.token)
        .execute(&mut **tx)
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::Changed);
    }
    Ok(())
}

async fn remembered(tx: &mut Tx, tenant: TenantId) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT CAST(COUNT(*) AS BIGINT) AS requests FROM idempotency WHERE tenant_id = $1",
    )
    .bind(tenant.to_string())
    .fetch_one(&mut **tx)
    .await?;
    Ok(number(&row, "requests")?)
}

async fn insert(tx: &mut Tx, new: &NewClaim<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO idempotency (id, tenant_id, claim, claimed_until, fingerprint, carried_out, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&new.claim.id)
    .bind(new.tenant.to_string())
    .bind(&new.claim.token)
    .bind(stored(new.until))
    .bind(new.fingerprint)
    .bind(0_i64)
    .bind(stored(new.expires))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;

    use super::*;

    fn judge(answer: Option<(u64, Vec<u8>)>, claimed_until: u64, carried_out: bool) -> Claimed {
        let claim = Claim {
            id: "i".to_owned(),
            token: "t".to_owned(),
        };
        let new = NewClaim {
            claim: &claim,
            tenant: TenantId::generate(1, [1; 10]),
            fingerprint: b"same",
            now: 100,
            until: 200,
            expires: 300,
        };
        let known = Known {
            fingerprint: b"same".to_vec(),
            claimed_until,
            carried_out,
            answer,
        };
        judged(known, &new)
    }

    #[test]
    fn a_try_that_died_without_effect_is_made_again_and_one_with_effect_is_not() {
        assert_eq!(judge(None, 150, false), Claimed::UnderWay(50));
        assert_eq!(judge(None, 100, false), Claimed::Mine);
        assert_eq!(judge(None, 100, true), Claimed::AnswerLost);
        let answered = judge(Some((201, vec![1])), 150, true);
        assert!(matches!(answered, Claimed::Answered { status: 201, .. }));
    }
}

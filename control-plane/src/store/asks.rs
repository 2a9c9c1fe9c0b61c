//! Questions to planes whose session is on another control plane: written by the one that asks,
//! taken and answered by the one with the session, removed when read. PostgreSQL only.

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::replicas::now;
use super::{DbRow, Notice, Store, StoreError, number, stored, word};

/// Questions taken at once.
const TAKEN: i64 = 64;

/// A question on its way to another replica.
pub(crate) struct NewAsk {
    pub(crate) id: String,
    /// The replica that asks.
    pub(crate) asker: String,
    /// The replica with the session.
    pub(crate) replica: String,
    pub(crate) plane: PlaneId,
    /// Encoded.
    pub(crate) question: Vec<u8>,
    pub(crate) timeout_ms: u64,
}

/// A question that another replica asks here.
pub(crate) struct TakenAsk {
    pub(crate) id: String,
    pub(crate) asker: String,
    pub(crate) plane: PlaneId,
    pub(crate) question: Vec<u8>,
    pub(crate) timeout_ms: u64,
}

/// What came of a question.
pub(crate) struct AskOutcome {
    pub(crate) id: String,
    /// `answered`, or why not.
    pub(crate) outcome: String,
    /// Encoded; there if it was answered.
    pub(crate) answer: Option<Vec<u8>>,
}

impl Store {
    /// Hands a question to the replica with the session.
    pub(crate) async fn ask(&self, new: &NewAsk) -> Result<(), StoreError> {
        let mut tx = self.write_alone().await?;
        sqlx::query(concat!(
            "INSERT INTO asks (id, asker_id, replica_id, plane_id, question, timeout_ms, asked_at) ",
            "VALUES ($1, $2, $3, $4, $5, $6, ",
            now!(),
            ")"
        ))
        .bind(&new.id)
        .bind(&new.asker)
        .bind(&new.replica)
        .bind(new.plane.to_string())
        .bind(new.question.as_slice())
        .bind(stored(new.timeout_ms))
        .execute(&mut *tx)
        .await?;
        self.notify(&mut tx, &Notice::Asked(new.replica.clone()))
            .await?;
        Ok(tx.commit().await?)
    }

    /// Takes the questions that wait for the replica, each once.
    pub(crate) async fn take_asks(&self, replica: &str) -> Result<Vec<TakenAsk>, StoreError> {
        let taken = sqlx::query(concat!(
            "UPDATE asks SET taken_at = ",
            now!(),
            " WHERE id IN (SELECT id FROM asks WHERE replica_id = $1 AND taken_at IS NULL ",
            "ORDER BY asked_at LIMIT $2) ",
            "RETURNING id, asker_id, plane_id, question, timeout_ms"
        ))
        .bind(replica)
        .bind(TAKEN)
        .try_map(|row: DbRow| {
            Ok(TakenAsk {
                id: row.try_get("id")?,
                asker: row.try_get("asker_id")?,
                plane: word(&row, "plane_id")?,
                question: row.try_get("question")?,
                timeout_ms: number(&row, "timeout_ms")?,
            })
        })
        .fetch_all(&self.writer)
        .await?;
        Ok(taken)
    }

    /// Writes what came of a question that `asker` waits for.
    pub(crate) async fn answer_ask(
        &self,
        asker: &str,
        outcome: &AskOutcome,
    ) -> Result<(), StoreError> {
        let mut tx = self.write_alone().await?;
        sqlx::query("UPDATE asks SET outcome = $1, answer = $2 WHERE id = $3")
            .bind(&outcome.outcome)
            .bind(outcome.answer.clone())
            .bind(&outcome.id)
            .execute(&mut *tx)
            .await?;
        self.notify(&mut tx, &Notice::Answered(asker.to_owned()))
            .await?;
        Ok(tx.commit().await?)
    }

    /// Reads and removes what came of the replica's questions.
    pub(crate) async fn ask_outcomes(&self, asker: &str) -> Result<Vec<AskOutcome>, StoreError> {
        let found = sqlx::query(
            "DELETE FROM asks WHERE asker_id = $1 AND outcome IS NOT NULL \
             RETURNING id, outcome, answer",
        )
        .bind(asker)
        .try_map(|row: DbRow| {
            Ok(AskOutcome {
                id: row.try_get("id")?,
                outcome: row.try_get("outcome")?,
                answer: row.try_get("answer")?,
            })
        })
        .fetch_all(&self.writer)
        .await?;
        Ok(found)
    }
}

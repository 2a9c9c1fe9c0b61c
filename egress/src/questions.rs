//! Answers what the control plane asks, from the ledger: metadata, never payloads.

use tokio::sync::mpsc;
use zen_chassis::chain::Chain;
use zen_chassis::neighbour::Question;
use zen_proto::query::v1::{QueryError, answer, query};

use crate::ledger::{Ledger, LedgerError};

/// Answers one question after the other.
pub(crate) async fn answer(mut questions: mpsc::Receiver<Question>, ledger: Ledger) {
    while let Some(Question { query, reply }) = questions.recv().await {
        let answered = match query.question {
            Some(query::Question::ListDeliveries(asked)) => ledger.list(asked.into()).await,
            Some(query::Question::ListDeadLetters(asked)) => ledger.list(asked.into()).await,
            None => {
                let detail = "this version does not know the question";
                let _sent = reply.send(error("QUERY_INVALID", detail.to_owned()));
                continue;
            }
        };
        let answered = match answered {
            Ok(page) => answer::Answer::Deliveries(page),
            Err(why @ LedgerError::Cursor) => error("QUERY_INVALID", why.to_string()),
            Err(why) => {
                tracing::error!(error = %Chain(&why), "question not answered");
                error("QUERY_FAILED", Chain(&why).to_string())
            }
        };
        // Nobody waits any more if the agent has gone.
        let _sent = reply.send(answered);
    }
}

fn error(code: &str, detail: String) -> answer::Answer {
    answer::Answer::Error(QueryError {
        code: code.to_owned(),
        detail,
    })
}

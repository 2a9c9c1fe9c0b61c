//! Answers what the control plane asks: from the ledger metadata, never payloads; of the targets
//! what a call or a connection shows.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use zen_chassis::chain::Chain;
use zen_chassis::neighbour::Question;
use zen_proto::ids::{DeliveryId, TargetId};
use zen_proto::query::v1::{GetDelivery, Probed, Query, QueryError, Replay, TestCall, TestCalled};
use zen_proto::query::v1::{answer, query};

use crate::codes;
use crate::ledger::{Ledger, LedgerError, ListQuery};
use crate::probe::probe;
use crate::replay::{ReplayError, replay};
use crate::scheduler::{Shared, make_client};
use crate::uplink::Bridges;

/// Questions answered at once: a slow target does not hold up a list.
const AT_ONCE: usize = 8;

/// Whatever answers are made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bridges: Bridges,
}

impl Answers {
    /// Answers questions until nobody can ask any more.
    pub(crate) async fn give(self, mut questions: mpsc::Receiver<Question>) {
        let mut under_way = FuturesUnordered::<BoxFuture<'static, ()>>::new();
        loop {
            tokio::select! {
                question = questions.recv(), if under_way.len() < AT_ONCE => match question {
                    Some(question) => under_way.push(Box::pin(self.clone().take(question))),
                    None => return,
                },
                Some(()) = under_way.next() => {}
            }
        }
    }

    async fn take(self, Question { query, reply }: Question) {
        let answered = self.answer(query).await.unwrap_or_else(|error| {
            if error.code == FAILED {
                tracing::error!(error = error.detail, "question not answered");
            }
            answer::Answer::Error(error)
        });
        // Nobody waits any more if the agent has gone.
        let _sent = reply.send(answered);
    }

    async fn answer(&self, query: Query) -> Result<answer::Answer, QueryError> {
        use query::Question;
        match query.question {
            Some(Question::ListDeliveries(asked)) => self.list(asked.into()).await,
            Some(Question::ListDeadLetters(asked)) => self.list(asked.into()).await,
            Some(Question::GetDelivery(asked)) => self.find(asked).await,
            Some(Question::Replay(asked)) => self.replay(asked).await,
            Some(Question::TestCall(asked)) => {
                let called = self.test(asked).await?;
                Ok(answer::Answer::TestCalled(called))
            }
            Some(Question::Probe(asked)) => {
                let Probed { hops } = probe(&self.shared, &self.bridges, &asked.tenant_id).await;
                Ok(answer::Answer::Probed(Probed { hops }))
            }
            Some(Question::TestEvent(_) | Question::Ping(_) | Question::RotatePlaneCa(_))
            | None => Err(invalid("this version does not know the question")),
        }
    }

    async fn list(&self, asked: ListQuery) -> Result<answer::Answer, QueryError> {
        let page = self.ledger().list(asked).await.map_err(failed)?;
        Ok(answer::Answer::Deliveries(page))
    }

    async fn find(&self, asked: GetDelivery) -> Result<answer::Answer, QueryError> {
        let id: DeliveryId = asked.delivery_id.parse().map_err(invalid)?;
        let found = self.ledger().find(id, asked.tenant_id).await;
        found
            .map_err(failed)?
            .map(answer::Answer::Delivery)
            .ok_or_else(|| error("DELIVERY_UNKNOWN", format!("there is no delivery {id}")))
    }

    async fn replay(&self, asked: Replay) -> Result<answer::Answer, QueryError> {
        let now_ms = self.shared.stage.clock.unix_ms();
        let replayed = replay(self.ledger(), asked, now_ms)
            .await
            .map_err(|error| match error {
                ReplayError::Invalid(text) => invalid(text),
                ReplayError::Ledger(error) => failed(error),
            })?;
        self.shared.courier.metrics.replayed(replayed.replayed);
        Ok(answer::Answer::Replayed(replayed))
    }

    async fn test(&self, asked: TestCall) -> Result<TestCalled, QueryError> {
        let id: TargetId = asked.target_id.parse().map_err(invalid)?;
        let target = self.shared.directory.borrow().target(id).cloned();
        let is_of = |tenant: &str| asked.tenant_id.is_empty() || asked.tenant_id == tenant;
        let Some(target) = target.filter(|target| is_of(&target.tenant_id)) else {
            return Ok(TestCalled {
                code: codes::TARGET_UNKNOWN.to_owned(),
                detail: "the plane's configuration does not know the target yet".to_owned(),
                ..TestCalled::default()
            });
        };
        let client = make_client(&target, &self.shared);
        Ok(self.shared.courier.test(&target, client).await)
    }

    fn ledger(&self) -> &Ledger {
        &self.shared.courier.ledger
    }
}

const FAILED: &str = "QUERY_FAILED";

fn failed(why: LedgerError) -> QueryError {
    match why {
        LedgerError::Cursor => invalid(why),
        why => error(FAILED, Chain(&why).to_string()),
    }
}

fn invalid(why: impl ToString) -> QueryError {
    error("QUERY_INVALID", why.to_string())
}

fn error(code: &str, detail: String) -> QueryError {
    QueryError {
        code: code.to_owned(),
        detail,
    }
}

//! Deliveries and dead letters: not kept here, but asked of the plane while the caller waits.

use serde::{Deserialize, Serialize};
use zen_proto::ids::{FlowId, PlaneId, TargetId};
use zen_proto::limits;
use zen_proto::query::v1::{
    Attempt, DeliveryRecord, DeliveryStatus, ListDeadLetters, ListDeliveries, answer, query,
};

use super::{Listed, shown_time};
use crate::control::Control;
use crate::live::AskError;
use crate::problem::Problem;
use crate::store::Principal;

/// Longest cursor of a plane.
const CURSOR: usize = 1024;

/// What is asked of deliveries; which plane may follow from target or flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeliveriesAsked {
    plane_id: Option<String>,
    /// `pending`, `delivered` or `dead_letter`; none means any.
    status: Option<String>,
    flow_id: Option<String>,
    target_id: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// What is asked of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeadLettersAsked {
    plane_id: Option<String>,
    flow_id: Option<String>,
    target_id: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A delivery as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct DeliveryView {
    id: String,
    event_id: String,
    flow_id: String,
    target_id: String,
    endpoint_id: String,
    tenant_id: String,
    plane_id: String,
    status: &'static str,
    accepted_at: Option<String>,
    settled_at: Option<String>,
    next_attempt_at: Option<String>,
    attempts: u32,
    history: Vec<AttemptView>,
    body_bytes: u64,
    /// Why it is a dead letter.
    code: Option<String>,
}

#[derive(Debug, Serialize)]
struct AttemptView {
    number: u32,
    started_at: Option<String>,
    duration_ms: u32,
    /// HTTP status; none if there was no answer.
    status: Option<u32>,
    code: Option<String>,
    detail: Option<String>,
}

impl Control {
    /// Deliveries of a plane, the newest first.
    pub(crate) async fn list_deliveries(
        &self,
        caller: &Principal,
        asked: DeliveriesAsked,
    ) -> Result<Listed<DeliveryView>, Problem> {
        let DeliveriesAsked {
            plane_id,
            status,
            flow_id,
            target_id,
            limit,
            cursor,
        } = asked;
        let status = match status.as_deref() {
            None => DeliveryStatus::Unspecified,
            Some("pending") => DeliveryStatus::Pending,
            Some("delivered") => DeliveryStatus::Delivered,
            Some("dead_letter") => DeliveryStatus::DeadLetter,
            Some(_) => return Err(Problem::query("status: pending, delivered or dead_letter")),
        };
        let subject = Subject {
            plane_id,
            flow_id,
            target_id,
        };
        let plane = self.asked_plane(caller, &subject).await?;
        let question = query::Question::ListDeliveries(ListDeliveries {
            status: status.into(),
            flow_id: subject.flow_id.unwrap_or_default(),
            target_id: subject.target_id.unwrap_or_default(),
            limit: checked_limit(limit)?,
            cursor: checked_cursor(cursor)?,
            tenant_id: caller.tenant.to_string(),
        });
        self.ask(plane, question).await
    }

    /// Dead letters of a plane, the newest first.
    pub(crate) async fn list_dead_letters(
        &self,
        caller: &Principal,
        asked: DeadLettersAsked,
    ) -> Result<Listed<DeliveryView>, Problem> {
        let DeadLettersAsked {
            plane_id,
            flow_id,
            target_id,
            limit,
            cursor,
        } = asked;
        let subject = Subject {
            plane_id,
            flow_id,
            target_id,
        };
        let plane = self.asked_plane(caller, &subject).await?;
        let question = query::Question::ListDeadLetters(ListDeadLetters {
            flow_id: subject.flow_id.unwrap_or_default(),
            target_id: subject.target_id.unwrap_or_default(),
            limit: checked_limit(limit)?,
            cursor: checked_cursor(cursor)?,
            tenant_id: caller.tenant.to_string(),
        });
        self.ask(plane, question).await
    }

    /// The plane whose egress has them: the one named, or where the target or flow ends.
    async fn asked_plane(&self, caller: &Principal, subject: &Subject) -> Result<PlaneId, Problem> {
        let mut plane = None;
        if let Some(text) = &subject.target_id {
            let id = parsed::<TargetId>("target_id", text)?;
            plane = Some(self.target(caller, id).await?.plane);
        }
        if let Some(text) = &subject.flow_id {
            let id = parsed::<FlowId>("flow_id", text)?;
            plane = Some(self.flow(caller, id).await?.target_plane);
        }
        if let Some(text) = &subject.plane_id {
            let id = parsed::<PlaneId>("plane_id", text)?;
            // What lies in a data plane may be asked of it by whoever owns it.
            let own = self
                .store
                .plane(self.scope(caller), id)
                .await?
                .map(|plane| plane.id);
            let id = own.or_else(|| plane.filter(|found| *found == id));
            plane = Some(id.ok_or_else(|| Problem::no_such("plane", text))?);
        }
        plane.ok_or_else(|| Problem::query("plane_id, flow_id or target_id is required"))
    }

    async fn ask(
        &self,
        plane: PlaneId,
        question: query::Question,
    ) -> Result<Listed<DeliveryView>, Problem> {
        let asked = self
            .live
            .ask(plane, question, self.times.query_timeout)
            .await;
        self.metrics.query(match &asked {
            Ok(answer::Answer::Deliveries(_)) => "ANSWERED",
            Ok(answer::Answer::Error(_)) => "QUERY_FAILED",
            Err(AskError::NotConnected) => "PLANE_NOT_CONNECTED",
            Err(AskError::Busy) => "PLANE_BUSY",
            Err(AskError::Timeout) => "QUERY_TIMEOUT",
        });
        match asked? {
            answer::Answer::Deliveries(page) => {
                let shown = |record| delivery(plane, record);
                let next_cursor = Some(page.next_cursor).filter(|cursor| !cursor.is_empty());
                Ok(Listed {
                    items: page.deliveries.into_iter().map(shown).collect(),
                    next_cursor,
                })
            }
            answer::Answer::Error(error) => Err(match error.code.as_str() {
                "COMPONENT_ABSENT" => Problem::absent(error.detail),
                "QUERY_TIMEOUT" => Problem::query_timeout(error.detail),
                "QUERY_INVALID" => Problem::query(error.detail),
                _ => Problem::query_failed(error.detail),
            }),
        }
    }
}

struct Subject {
    plane_id: Option<String>,
    flow_id: Option<String>,
    target_id: Option<String>,
}

fn parsed<I: std::str::FromStr<Err: ToString>>(name: &str, text: &str) -> Result<I, Problem> {
    text.parse()
        .map_err(|error: I::Err| Problem::query(format!("{name}: {}", error.to_string())))
}

fn checked_limit(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(0),
        Some(limit) if (1..=limits::PAGE).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::query(format!("limit: 1 to {}", limits::PAGE))),
    }
}

fn checked_cursor(cursor: Option<String>) -> Result<String, Problem> {
    let cursor = cursor.unwrap_or_default();
    if cursor.len() > CURSOR {
        return Err(Problem::query("cursor: take it from the page before"));
    }
    Ok(cursor)
}

fn delivery(plane: PlaneId, record: DeliveryRecord) -> DeliveryView {
    let status = match record.status() {
        DeliveryStatus::Delivered => "delivered",
        DeliveryStatus::DeadLetter => "dead_letter",
        DeliveryStatus::Pending | DeliveryStatus::Unspecified => "pending",
    };
    DeliveryView {
        id: record.delivery_id,
        event_id: record.event_id,
        flow_id: record.flow_id,
        target_id: record.target_id,
        endpoint_id: record.endpoint_id,
        tenant_id: record.tenant_id,
        plane_id: plane.to_string(),
        status,
        accepted_at: time(record.accepted_at_ms),
        settled_at: time(record.settled_at_ms),
        next_attempt_at: time(record.next_attempt_at_ms),
        attempts: record.attempts,
        history: record.history.into_iter().map(attempt).collect(),
        body_bytes: record.body_bytes,
        code: text(record.code),
    }
}

fn attempt(wire: Attempt) -> AttemptView {
    AttemptView {
        number: wire.number,
        started_at: time(wire.started_at_ms),
        duration_ms: wire.duration_ms,
        status: (wire.status > 0).then_some(wire.status),
        code: text(wire.code),
        detail: text(wire.detail),
    }
}

fn time(unix_ms: u64) -> Option<String> {
    (unix_ms > 0).then(|| shown_time(unix_ms))
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

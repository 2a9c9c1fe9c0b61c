//! Deliveries and dead letters: not kept here, but asked of the plane while the caller waits.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use zen_proto::ids::{DeliveryId, FlowId, PlaneId, TargetId};
use zen_proto::limits;
use zen_proto::query::v1::{
    Attempt, DeliveryRecord, DeliveryStatus, GetDelivery, ListDeadLetters, ListDeliveries, answer,
    query,
};

use super::ask::{besides, text};
use super::lists::Listed;
use super::shown_time;
use crate::control::Control;
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Named, Wanted};
use crate::target::TargetBody;

/// Longest cursor of a plane.
const CURSOR: usize = 1024;

/// What is asked of deliveries; which plane may follow from target or flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveriesAsked {
    /// Those that end in this plane.
    pub(crate) plane_id: Option<String>,
    /// `pending`, `delivered` or `dead_letter`; none means any.
    #[param(pattern = "^(pending|delivered|dead_letter)$")]
    pub(crate) status: Option<String>,
    /// Those of this flow.
    pub(crate) flow_id: Option<String>,
    /// Those to this target.
    pub(crate) target_id: Option<String>,
    /// Items of a page at the most.
    #[param(minimum = 1, maximum = 500)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(max_length = 1024)]
    pub(crate) cursor: Option<String>,
}

/// What is asked of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadLettersAsked {
    /// Those that end in this plane.
    pub(crate) plane_id: Option<String>,
    /// Those of this flow.
    pub(crate) flow_id: Option<String>,
    /// Those to this target.
    pub(crate) target_id: Option<String>,
    /// Items of a page at the most.
    #[param(minimum = 1, maximum = 500)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(max_length = 1024)]
    pub(crate) cursor: Option<String>,
}

/// Which plane is asked for a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryAsked {
    /// The plane that has the delivery.
    #[param(required = true)]
    pub(crate) plane_id: Option<String>,
}

/// A delivery as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    pub(crate) id: String,
    pub(crate) event_id: String,
    pub(crate) flow_id: String,
    pub(crate) target_id: String,
    pub(crate) endpoint_id: String,
    pub(crate) tenant_id: String,
    pub(crate) plane_id: String,
    pub(crate) status: &'static str,
    pub(crate) accepted_at: Option<String>,
    pub(crate) settled_at: Option<String>,
    pub(crate) next_attempt_at: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) history: Vec<AttemptView>,
    pub(crate) body_bytes: u64,
    /// Why it is a dead letter.
    pub(crate) code: Option<String>,
    /// How often it was replayed.
    pub(crate) replays: u32,
    /// When it was replayed last.
    pub(crate) replayed_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    pub(crate) number: u32,
    pub(crate) started_at: Option<String>,
    pub(crate) duration_ms: u32,
    /// HTTP status; none if there was no answer.
    pub(crate) status: Option<u32>,
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
}

impl Control {
    /// Deliveries of a plane, the newest first.
    pub(crate) async fn list_deliveries(
        &self,
        caller: &Principal,
        asked: DeliveriesAsked,
    ) -> Result<Listed<DeliveryView>, Problem> {
        caller.may(Operation::DeliveryRead)?;
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
        caller.may(Operation::DeliveryRead)?;
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

    /// One delivery of a plane, with its whole history.
    pub(crate) async fn get_delivery(
        &self,
        caller: &Principal,
        id: &str,
        plane_id: Option<&str>,
    ) -> Result<DeliveryView, Problem> {
        caller.may(Operation::DeliveryRead)?;
        let id: DeliveryId = id
            .parse()
            .map_err(|error| Problem::not_found(format!("{error}")))?;
        let subject = Subject {
            plane_id: plane_id.map(ToOwned::to_owned),
            flow_id: None,
            target_id: None,
        };
        let plane = self.asked_plane(caller, &subject).await?;
        let question = query::Question::GetDelivery(GetDelivery {
            delivery_id: id.to_string(),
            tenant_id: caller.tenant.to_string(),
        });
        match self
            .ask_plane(plane, question, self.times.query_timeout)
            .await?
        {
            answer::Answer::Delivery(record) => Ok(delivery(plane, record)),
            _ => Err(besides()),
        }
    }

    /// The plane whose egress has them: the one named, or where the target or flow ends.
    pub(super) async fn asked_plane(
        &self,
        caller: &Principal,
        subject: &Subject,
    ) -> Result<PlaneId, Problem> {
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
            let asked = plane == Some(id)
                || self.store.plane(self.scope(caller), id).await?.is_some()
                || self.has_target_in(caller, id).await?;
            if !asked {
                return Err(Problem::no_such("plane", text));
            }
            plane = Some(id);
        }
        plane.ok_or_else(|| Problem::query("plane_id, flow_id or target_id is required"))
    }

    /// Whether a target of the caller's lies in the plane.
    async fn has_target_in(&self, caller: &Principal, plane: PlaneId) -> Result<bool, Problem> {
        let first = Wanted {
            limit: 1,
            after: String::new(),
            named: Named::default(),
        };
        let list = self
            .store
            .list::<TargetBody>(caller.tenant, Some(plane), &first);
        Ok(!list.await?.items.is_empty())
    }

    async fn ask(
        &self,
        plane: PlaneId,
        question: query::Question,
    ) -> Result<Listed<DeliveryView>, Problem> {
        match self
            .ask_plane(plane, question, self.times.query_timeout)
            .await?
        {
            answer::Answer::Deliveries(page) => {
                let shown = |record| delivery(plane, record);
                let next_cursor = Some(page.next_cursor).filter(|cursor| !cursor.is_empty());
                Ok(Listed {
                    items: page.deliveries.into_iter().map(shown).collect(),
                    next_cursor,
                })
            }
            _ => Err(besides()),
        }
    }
}

/// From what the asked plane follows.
pub(super) struct Subject {
    pub(super) plane_id: Option<String>,
    pub(super) flow_id: Option<String>,
    pub(super) target_id: Option<String>,
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
        replays: record.replays,
        replayed_at: time(record.replayed_at_ms),
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

//! Replaying dead letters: one at once, or all that a filter selects, after their count was shown.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};
use zen_proto::limits;

use super::Shared;
use super::asked::Question;
use super::form::{Form, Posted};
use super::parts::{Pager, grouped};
use super::refusal::Refusal;
use super::render::{Answer, Frame, Nav, page_with, see_other};
use super::visitor::Visitor;
use crate::control::Control;
use crate::manage::{Names, ReplayView};
use crate::permissions::Operation;
use crate::problem::Problem;
use crate::store::NameOf;

/// Where dead letters are listed.
const LIST: &str = "/dead-letters";

/// Its path.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route("/dead-letters/replay", get(ask).post(replay))
}

#[derive(Template)]
#[template(path = "replay.html")]
struct Page {
    frame: Frame,
    form: Form,
    plane_id: String,
    plane: String,
    flow_id: String,
    flow: String,
    target_id: String,
    target: String,
    /// The list's parameters, with their question mark.
    query: String,
    /// Dead letters that the filter selects.
    counted: u64,
    counted_text: String,
    /// What came of it.
    report: Option<Report>,
    /// Why the plane gave no answer.
    refusal: Option<Refusal>,
}

struct Report {
    matched: String,
    replayed: String,
    remaining: u64,
    remaining_text: String,
}

impl From<ReplayView> for Report {
    fn from(came: ReplayView) -> Self {
        Self {
            matched: grouped(came.matched),
            replayed: grouped(came.replayed),
            remaining: came.remaining,
            remaining_text: grouped(came.remaining),
        }
    }
}

/// Counts what the filter selects, and asks.
async fn ask(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    visitor.principal.may(Operation::Replay)?;
    let rate = limits::REPLAY_RATE.to_string();
    let form = Form::untouched(asked.or("rate_per_second", rate));
    counted(&control, visitor, form).await
}

async fn counted(control: &Arc<Control>, visitor: Visitor, form: Form) -> Answer {
    let question = selected(&form.posted, true);
    match control.start_replay(&visitor.principal, question).await {
        Ok(came) => {
            let status = form.status();
            let mut page = Page::new(control, visitor, form).await?;
            page.counted = came.matched;
            page.counted_text = grouped(came.matched);
            page_with(status, &page)
        }
        Err(problem) => refused(control, visitor, form, problem).await,
    }
}

/// Replays: the one delivery that is named, or what the filter selects.
async fn replay(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let question = selected(&posted, false);
    let one = posted.some("delivery_id").is_some();
    match control.start_replay(&visitor.principal, question).await {
        Ok(_) if one => Ok(see_other(&format!("{}&done=replayed", list_of(&posted)))),
        Ok(came) => {
            let mut page = Page::new(&control, visitor, Form::untouched(posted)).await?;
            page.report = Some(came.into());
            page_with(http::StatusCode::OK, &page)
        }
        Err(problem) if !problem.errors.is_empty() && !one => {
            let form = Form::again(posted, problem)?;
            counted(&control, visitor, form).await
        }
        Err(problem) => refused(&control, visitor, Form::untouched(posted), problem).await,
    }
}

async fn refused(control: &Arc<Control>, visitor: Visitor, form: Form, problem: Problem) -> Answer {
    let refusal = Refusal::of_plane(problem)?;
    let status = refusal.status;
    let mut page = Page::new(control, visitor, form).await?;
    page.refusal = Some(refusal);
    page_with(status, &page)
}

impl Page {
    async fn new(control: &Arc<Control>, visitor: Visitor, form: Form) -> Result<Self, Problem> {
        let caller = visitor.principal.clone();
        let name = async |of: NameOf, field: &str| {
            let id = form.posted.some(field);
            let names: Names = control.names(&caller, of, id).await?;
            Ok::<_, Problem>(id.map(|id| names.of(id).to_owned()).unwrap_or_default())
        };
        let plane = name(NameOf::Planes, "plane_id").await?;
        let flow = name(NameOf::Flows, "flow_id").await?;
        let target = name(NameOf::Targets, "target_id").await?;
        let title = "Replay dead letters";
        let frame = Frame::new(control, visitor, Nav::DeadLetters, title).await?;
        let list = list_of(&form.posted);
        let text = |field: &str| form.posted.get(field).to_owned();
        Ok(Self {
            plane_id: text("plane_id"),
            plane,
            flow_id: text("flow_id"),
            flow,
            target_id: text("target_id"),
            target,
            query: list.strip_prefix(LIST).unwrap_or_default().to_owned(),
            frame: frame.below("Dead letters", list),
            counted: 0,
            counted_text: String::new(),
            report: None,
            refusal: None,
            form,
        })
    }
}

/// What is asked of the plane.
fn selected(posted: &Posted, dry_run: bool) -> Value {
    let mut question = json!({ "plane_id": posted.get("plane_id"), "dry_run": dry_run });
    if let Some(rate) = posted.some("rate_per_second") {
        question["rate_per_second"] = rate
            .parse::<u64>()
            .map_or_else(|_| json!(rate), |rate| json!(rate));
    }
    if let Some(id) = posted.some("delivery_id") {
        question["delivery_ids"] = json!([id]);
        return question;
    }
    let mut filter = json!({});
    for field in ["flow_id", "target_id", "code"] {
        if let Some(value) = posted.some(field) {
            filter[field] = json!(value);
        }
    }
    question["filter"] = filter;
    question
}

/// The list that the replay was begun from.
fn list_of(posted: &Posted) -> String {
    let pairs = ["plane_id", "flow_id", "target_id"].map(|field| (field, posted.get(field)));
    let list = Pager::new(LIST, &pairs, Some("first"), None).first;
    list.unwrap_or_else(|| LIST.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_delivery_is_named_and_many_are_filtered() {
        let posted = Posted::default()
            .or("plane_id", "pl_1")
            .or("delivery_id", "dlv_1");
        let wanted = json!({"plane_id": "pl_1", "dry_run": false, "delivery_ids": ["dlv_1"]});
        assert_eq!(selected(&posted, false), wanted);
        let posted = Posted::default()
            .or("plane_id", "pl_1")
            .or("target_id", "tgt_1")
            .or("flow_id", "")
            .or("rate_per_second", "fast");
        let wanted = json!({
            "plane_id": "pl_1", "dry_run": true, "filter": {"target_id": "tgt_1"},
            "rate_per_second": "fast",
        });
        assert_eq!(selected(&posted, true), wanted);
        assert_eq!(
            list_of(&posted),
            "/dead-letters?plane_id=pl_1&target_id=tgt_1"
        );
    }
}

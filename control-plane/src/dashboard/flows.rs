//! Flows: listed, shown with the way of their events, added, changed, switched, removed.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::json;
use zen_proto::ids::FlowId;
use zen_proto::limits;

use super::Shared;
use super::asked::{At, Question};
use super::body::{Fields, Kind, body, filled};
use super::codes::{self, Family};
use super::form::{Form, Posted};
use super::listing::{ListFilter, is_cut, options};
use super::parts::{Pager, grouped};
use super::removal::{self, Removal};
use super::render::{Answer, Frame, Nav, page, page_with, see_other};
use super::visitor::Visitor;
use super::words::Told;
use crate::control::Control;
use crate::flow::Retry;
use crate::manage::{FlowView, Names};
use crate::permissions::Operation;
use crate::precondition::Expected;
use crate::problem::Problem;
use crate::store::{Counts, NameOf};

/// Where they are listed.
const PATH: &str = "/flows";
/// What a form asks of one that exists.
const CHANGED: &Fields = &[
    ("name", Kind::Text),
    ("retry.max_attempts", Kind::MaybeNumber),
    ("retry.initial_backoff_ms", Kind::MaybeNumber),
    ("retry.max_backoff_ms", Kind::MaybeNumber),
    ("enabled", Kind::Tick),
];
const TOLD: &[(&str, &str)] = &[
    (
        "created",
        "The flow was made. Its planes know it in a moment.",
    ),
    (
        "changed",
        "The change was saved. Its planes know it in a moment.",
    ),
    (
        "enabled",
        "The flow is enabled: new events go to the target.",
    ),
    ("disabled", "The flow is disabled: it takes no new events."),
    ("removed", "The flow was removed."),
];

/// Its paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/flows", get(list).post(create))
        .route("/flows/new", get(new))
        .route("/flows/{id}", get(show).post(change))
        .route("/flows/{id}/edit", get(edit))
        .route("/flows/{id}/enable", post(enable))
        .route("/flows/{id}/disable", post(disable))
        .route("/flows/{id}/remove", get(ask_removal).post(remove))
}

#[derive(Template)]
#[template(path = "flows.html")]
struct ListPage {
    frame: Frame,
    filter: ListFilter,
    items: Vec<FlowView>,
    planes: Names,
    endpoints: Names,
    targets: Names,
    pager: Pager,
    may_write: bool,
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let caller = &visitor.principal;
    let filter = ListFilter::new(&control, caller, PATH, &asked).await?;
    let listed = control.list_flows(caller, &filter.flows(&asked)).await?;
    let items = listed.items;
    let ends = |flow: &'_ FlowView| [flow.endpoint_plane_id.clone(), flow.target_plane_id.clone()];
    let planes: Vec<_> = items.iter().flat_map(ends).collect();
    let planes = planes.iter().map(String::as_str);
    let planes = control.names(caller, NameOf::Planes, planes).await?;
    let ids = items.iter().map(|flow| flow.body.endpoint_id.as_str());
    let endpoints = control.names(caller, NameOf::Endpoints, ids).await?;
    let ids = items.iter().map(|flow| flow.body.target_id.as_str());
    let targets = control.names(caller, NameOf::Targets, ids).await?;
    let may_write = visitor.can(Operation::FlowWrite);
    let frame = Frame::new(&control, visitor, Nav::Flows, "Flows").await?;
    let pager = Pager::new(
        PATH,
        &filter.pairs(),
        asked.some("cursor"),
        listed.next_cursor.as_deref(),
    );
    page(&ListPage {
        frame: frame.told(asked.some("done"), TOLD),
        filter,
        items,
        planes,
        endpoints,
        targets,
        pager,
        may_write,
    })
}

#[derive(Template)]
#[template(path = "flow.html")]
struct ShowPage {
    frame: Frame,
    changed: Told,
    item: FlowView,
    endpoint: String,
    endpoint_plane: String,
    target: String,
    target_plane: String,
    counts: Counted,
    retry: String,
    /// Why it could not be switched.
    problem: Option<Problem>,
    remedy: &'static str,
    may_write: bool,
}

/// What was counted, as it is read.
struct Counted {
    dispatched: String,
    delivered: String,
    failed_attempts: String,
    dead_lettered: String,
    expired: String,
}

impl From<Counts> for Counted {
    fn from(counts: Counts) -> Self {
        Self {
            dispatched: grouped(counts.dispatched),
            delivered: grouped(counts.delivered),
            failed_attempts: grouped(counts.failed_attempts),
            dead_lettered: grouped(counts.dead_lettered),
            expired: grouped(counts.expired),
        }
    }
}

async fn show(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<FlowId>,
    Question(asked): Question,
) -> Answer {
    shown(&control, visitor, id, asked.some("done"), None).await
}

/// The page of a flow, with what was just done or kept it from being done.
async fn shown(
    control: &Arc<Control>,
    visitor: Visitor,
    id: FlowId,
    done: Option<&str>,
    problem: Option<Problem>,
) -> Answer {
    let caller = &visitor.principal;
    let item = control.get_flow(caller, id).await?;
    let ends = [
        item.endpoint_plane_id.as_str(),
        item.target_plane_id.as_str(),
    ];
    let planes = control.names(caller, NameOf::Planes, ends).await?;
    let from = [item.body.endpoint_id.as_str()];
    let endpoints = control.names(caller, NameOf::Endpoints, from).await?;
    let to = [item.body.target_id.as_str()];
    let targets = control.names(caller, NameOf::Targets, to).await?;
    let counts = control.flow_counts(caller, &item).await?;
    let code = problem.as_ref().map_or("", |problem| problem.code);
    let status = problem.as_ref().map(|problem| problem.status);
    let may_write = visitor.can(Operation::FlowWrite);
    let frame = Frame::new(control, visitor, Nav::Flows, &item.body.name).await?;
    let shown = ShowPage {
        changed: Told::at(Some(&item.updated_at), frame.now),
        endpoint: endpoints.of(&item.body.endpoint_id).to_owned(),
        endpoint_plane: planes.of(&item.endpoint_plane_id).to_owned(),
        target: targets.of(&item.body.target_id).to_owned(),
        target_plane: planes.of(&item.target_plane_id).to_owned(),
        counts: counts.into(),
        retry: policy(item.body.retry.as_ref()),
        remedy: codes::explained(Family::Request, code).map_or("", |known| known.remedy),
        problem,
        may_write,
        frame: frame.below("Flows", PATH).told(done, TOLD),
        item,
    };
    page_with(status.unwrap_or_default(), &shown)
}

/// The retry policy in a sentence.
fn policy(retry: Option<&Retry>) -> String {
    let attempts = retry.and_then(|retry| retry.max_attempts);
    let attempts = attempts.unwrap_or(limits::MAX_ATTEMPTS);
    let initial = retry.and_then(|retry| retry.initial_backoff_ms);
    let longest = retry.and_then(|retry| retry.max_backoff_ms);
    if attempts == 1 {
        return "One attempt; if it fails, the delivery becomes a dead letter.".to_owned();
    }
    format!(
        "Up to {attempts} attempts. The first pause is up to {}, doubled each time up to {}. After \
         the last attempt the delivery becomes a dead letter.",
        pause(initial.unwrap_or(1_000)),
        pause(longest.unwrap_or(60_000)),
    )
}

/// A pause as people read it.
fn pause(milliseconds: u32) -> String {
    match milliseconds {
        ms if ms < 1000 || ms % 1000 != 0 => format!("{ms} ms"),
        ms if ms < 120_000 => format!("{} s", ms / 1000),
        ms => super::moment::spell(u64::from(ms) / 1000),
    }
}

#[derive(Template)]
#[template(path = "flow_form.html")]
struct FormPage {
    frame: Frame,
    form: Form,
    /// Empty for a new one.
    id: String,
    name: String,
    endpoints: Vec<(String, String)>,
    targets: Vec<(String, String)>,
    no_endpoint: bool,
    no_target: bool,
    /// There are more ends than are offered.
    cut: bool,
    search: String,
}

async fn new(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    visitor.principal.may(Operation::FlowWrite)?;
    let search = asked.get("search").to_owned();
    let form = Form::untouched(asked.or("enabled", "on"));
    form_for_new(&control, visitor, form, search).await
}

async fn create(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let mut wanted = body(&posted, CHANGED);
    wanted["endpoint_id"] = json!(posted.get("endpoint_id"));
    wanted["target_id"] = json!(posted.get("target_id"));
    match control.create_flow(&visitor.principal, wanted).await {
        Ok(made) => Ok(see_other(&format!("{PATH}/{}?done=created", made.id))),
        Err(problem) => {
            let form = Form::again(posted, problem)?;
            form_for_new(&control, visitor, form, String::new()).await
        }
    }
}

async fn form_for_new(
    control: &Arc<Control>,
    visitor: Visitor,
    form: Form,
    search: String,
) -> Answer {
    let caller = &visitor.principal;
    let mut endpoints = control.endpoint_choices(caller, &search).await?;
    let mut targets = control.target_choices(caller, None, &search).await?;
    let cut = is_cut(endpoints.len()) || is_cut(targets.len());
    let (no_endpoint, no_target) = (endpoints.is_empty(), targets.is_empty());
    let chosen = form.posted.get("endpoint_id");
    let names = control
        .names(caller, NameOf::Endpoints, some(chosen))
        .await?;
    names.put_first(&mut endpoints, chosen);
    let chosen = form.posted.get("target_id");
    let names = control.names(caller, NameOf::Targets, some(chosen)).await?;
    names.put_first(&mut targets, chosen);
    let frame = Frame::new(control, visitor, Nav::Flows, "Add flow").await?;
    let status = form.status();
    let page = FormPage {
        frame: frame.below("Flows", PATH),
        form,
        id: String::new(),
        name: String::new(),
        endpoints: options(&endpoints),
        targets: options(&targets),
        no_endpoint: no_endpoint && search.is_empty(),
        no_target: no_target && search.is_empty(),
        cut,
        search,
    };
    page_with(status, &page)
}

fn some(chosen: &str) -> Option<&str> {
    Some(chosen).filter(|id| !id.is_empty())
}

async fn edit(State(control): Shared, visitor: Visitor, At(id): At<FlowId>) -> Answer {
    visitor.principal.may(Operation::FlowWrite)?;
    let item = control.get_flow(&visitor.principal, id).await?;
    let posted = filled(&json!(&item.body)).or("version", item.version.to_string());
    form_for_change(&control, visitor, item, Form::untouched(posted)).await
}

async fn change(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<FlowId>,
    posted: Posted,
) -> Answer {
    let caller = &visitor.principal;
    let patch = body(&posted, CHANGED);
    let expected = posted.expected();
    match control.change_flow(caller, id, patch, &expected).await {
        Ok(_) => Ok(see_other(&format!("{PATH}/{id}?done=changed"))),
        Err(problem) => {
            let item = control.get_flow(caller, id).await?;
            let form = Form::again(posted, problem)?;
            form_for_change(&control, visitor, item, form).await
        }
    }
}

async fn form_for_change(
    control: &Arc<Control>,
    visitor: Visitor,
    item: FlowView,
    form: Form,
) -> Answer {
    let title = format!("Edit {}", item.body.name);
    let frame = Frame::new(control, visitor, Nav::Flows, title).await?;
    let status = form.status();
    let page = FormPage {
        frame: frame
            .below("Flows", PATH)
            .below(&item.body.name, format!("{PATH}/{}", item.id)),
        form,
        id: item.id,
        name: item.body.name,
        endpoints: Vec::new(),
        targets: Vec::new(),
        no_endpoint: false,
        no_target: false,
        cut: false,
        search: String::new(),
    };
    page_with(status, &page)
}

async fn enable(State(control): Shared, visitor: Visitor, At(id): At<FlowId>) -> Answer {
    switch(&control, visitor, id, true).await
}

async fn disable(State(control): Shared, visitor: Visitor, At(id): At<FlowId>) -> Answer {
    switch(&control, visitor, id, false).await
}

async fn switch(control: &Arc<Control>, visitor: Visitor, id: FlowId, on: bool) -> Answer {
    let caller = &visitor.principal;
    let patch = json!({ "enabled": on });
    match control.change_flow(caller, id, patch, &Expected::Any).await {
        Ok(_) => {
            let done = if on { "enabled" } else { "disabled" };
            Ok(see_other(&format!("{PATH}/{id}?done={done}")))
        }
        Err(problem) if problem.status == http::StatusCode::CONFLICT => {
            shown(control, visitor, id, None, Some(problem)).await
        }
        Err(problem) => Err(problem),
    }
}

async fn ask_removal(State(control): Shared, visitor: Visitor, At(id): At<FlowId>) -> Answer {
    visitor.principal.may(Operation::FlowWrite)?;
    let item = control.get_flow(&visitor.principal, id).await?;
    let removal = Removal {
        nav: Nav::Flows,
        nouns: "Flows",
        list: PATH,
        id: item.id,
        name: item.body.name,
        means: "New events of its endpoint no longer go to its target; what still waits becomes a \
            dead letter. This cannot be undone. To stop it for a while, disable it instead.",
        verb: "Remove flow",
    };
    removal::ask(&control, visitor, removal, None).await
}

async fn remove(State(control): Shared, visitor: Visitor, At(id): At<FlowId>) -> Answer {
    let removed = control.remove_flow(&visitor.principal, id, &Expected::Any);
    removed.await?;
    Ok(see_other(&format!("{PATH}?done=removed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_policy_is_told_in_a_sentence() {
        let told = policy(None);
        assert!(told.contains("5 attempts") && told.contains("1 s") && told.contains("60 s"));
        let once = Retry {
            max_attempts: Some(1),
            initial_backoff_ms: None,
            max_backoff_ms: None,
        };
        assert!(policy(Some(&once)).starts_with("One attempt"));
        assert_eq!(pause(1_500), "1500 ms");
        assert_eq!(pause(3_600_000), "1 h");
    }
}

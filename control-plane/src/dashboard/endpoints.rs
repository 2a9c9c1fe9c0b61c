//! Endpoints: listed, shown with their address, added, changed, removed, tried with a test event.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::json;
use zen_proto::ids::EndpointId;
use zen_proto::limits;

use super::Shared;
use super::asked::{At, Question};
use super::body::{Fields, Kind, body, filled};
use super::codes::{self, Family};
use super::form::{Form, Posted};
use super::listing::{FLOWS_SHOWN, ListFilter, is_cut, options, planes};
use super::outcome::Outcome;
use super::parts::{Pager, grouped};
use super::removal::{self, Removal};
use super::render::{Answer, Frame, Nav, page, page_with, see_other};
use super::visitor::Visitor;
use super::words::Told;
use crate::control::Control;
use crate::endpoint::Scheme;
use crate::manage::{EndpointView, FlowView, FlowsAsked, Names, TestEventView};
use crate::permissions::Operation;
use crate::precondition::Expected;
use crate::problem::Problem;
use crate::store::{Counts, NameOf};

/// Where they are listed.
const PATH: &str = "/endpoints";
/// What a form asks of one that exists.
const CHANGED: &Fields = &[
    ("name", Kind::Text),
    ("verification.scheme", Kind::Text),
    ("verification.secrets", Kind::Lines),
    ("verification.tolerance_seconds", Kind::MaybeNumber),
    ("methods", Kind::Lines),
    ("max_body_bytes", Kind::MaybeNumber),
    ("allowed_sources", Kind::Lines),
];
const TOLD: &[(&str, &str)] = &[
    (
        "created",
        "The endpoint was made. Its plane knows it in a moment.",
    ),
    (
        "changed",
        "The change was saved. Its plane knows it in a moment.",
    ),
    ("removed", "The endpoint was removed."),
];

/// Its paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/endpoints", get(list).post(create))
        .route("/endpoints/new", get(new))
        .route("/endpoints/{id}", get(show).post(change))
        .route("/endpoints/{id}/edit", get(edit))
        .route("/endpoints/{id}/remove", get(ask_removal).post(remove))
        .route("/endpoints/{id}/test", post(test))
}

#[derive(Template)]
#[template(path = "endpoints.html")]
struct ListPage {
    frame: Frame,
    filter: ListFilter,
    items: Vec<EndpointView>,
    planes: Names,
    pager: Pager,
    may_write: bool,
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let caller = &visitor.principal;
    let filter = ListFilter::new(&control, caller, PATH, &asked).await?;
    let listed = control
        .list_endpoints(caller, &filter.endpoints(&asked))
        .await?;
    let ids = listed.items.iter().map(|item| item.body.plane_id.as_str());
    let planes = control.names(caller, NameOf::Planes, ids).await?;
    let may_write = visitor.can(Operation::EndpointWrite);
    let frame = Frame::new(&control, visitor, Nav::Endpoints, "Endpoints").await?;
    let pager = Pager::new(
        PATH,
        &filter.pairs(),
        asked.some("cursor"),
        listed.next_cursor.as_deref(),
    );
    page(&ListPage {
        frame: frame.told(asked.some("done"), TOLD),
        filter,
        items: listed.items,
        planes,
        pager,
        may_write,
    })
}

#[derive(Template)]
#[template(path = "endpoint.html")]
struct ShowPage {
    frame: Frame,
    changed: Told,
    item: EndpointView,
    plane: String,
    counts: Counted,
    largest: String,
    /// Name of the file of the first secret, for the example.
    secret_file: String,
    flows: Vec<FlowView>,
    more_flows: bool,
    endpoints: Names,
    targets: Names,
    outcome: Option<Outcome>,
    may_write: bool,
    may_test: bool,
    may_flow: bool,
}

/// What was counted, as it is read.
struct Counted {
    accepted: String,
    duplicates: String,
    refused: String,
}

impl From<Counts> for Counted {
    fn from(counts: Counts) -> Self {
        Self {
            accepted: grouped(counts.accepted),
            duplicates: grouped(counts.duplicates),
            refused: grouped(counts.refused),
        }
    }
}

async fn show(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<EndpointId>,
    Question(asked): Question,
) -> Answer {
    shown(&control, visitor, id, asked.some("done"), None).await
}

/// The page of an endpoint, with what was just done or came of a test.
async fn shown(
    control: &Arc<Control>,
    visitor: Visitor,
    id: EndpointId,
    done: Option<&str>,
    outcome: Option<Outcome>,
) -> Answer {
    let caller = &visitor.principal;
    let item = control.get_endpoint(caller, id).await?;
    let plane_id = item.body.plane_id.as_str();
    let plane = control.names(caller, NameOf::Planes, [plane_id]).await?;
    let counts = control.endpoint_counts(caller, plane_id, &item.id).await?;
    let ends = FlowsAsked {
        endpoint_id: Some(item.id.clone()),
        limit: Some(FLOWS_SHOWN),
        ..FlowsAsked::default()
    };
    let flows = control.list_flows(caller, &ends).await?;
    let ids = flows.items.iter().map(|flow| flow.body.target_id.as_str());
    let targets = control.names(caller, NameOf::Targets, ids).await?;
    let endpoints = control
        .names(caller, NameOf::Endpoints, [item.id.as_str()])
        .await?;
    let first = item.body.verification.secrets.first();
    let secret_file = first.and_then(|reference| reference.strip_prefix("file:"));
    let largest = item
        .body
        .max_body_bytes
        .unwrap_or(limits::BODY_DEFAULT as u64);
    let may = |operation| visitor.can(operation);
    let frame = Frame::new(control, visitor.clone(), Nav::Endpoints, &item.body.name).await?;
    page(&ShowPage {
        changed: Told::at(Some(&item.updated_at), frame.now),
        plane: plane.of(plane_id).to_owned(),
        counts: counts.into(),
        largest: bytes(largest),
        secret_file: secret_file.unwrap_or("webhook-secret").to_owned(),
        more_flows: flows.next_cursor.is_some(),
        flows: flows.items,
        endpoints,
        targets,
        outcome,
        may_write: may(Operation::EndpointWrite),
        may_test: may(Operation::TestSend),
        may_flow: may(Operation::FlowWrite),
        frame: frame.below("Endpoints", PATH).told(done, TOLD),
        item,
    })
}

/// A size as people read it.
pub(super) fn bytes(bytes: u64) -> String {
    const KIB: u64 = 1024;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        _ if bytes.is_multiple_of(KIB * KIB) => format!("{} MiB", bytes / (KIB * KIB)),
        _ => format!("{} KiB", grouped(bytes.div_ceil(KIB))),
    }
}

#[derive(Template)]
#[template(path = "endpoint_form.html")]
struct FormPage {
    frame: Frame,
    form: Form,
    /// Empty for a new one.
    id: String,
    name: String,
    planes: Vec<(String, String)>,
    /// There are more planes than are offered.
    cut: bool,
    search: String,
    schemes: Vec<(&'static str, &'static str)>,
}

async fn new(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    visitor.principal.may(Operation::EndpointWrite)?;
    let search = asked.get("plane").to_owned();
    let posted = asked.or("verification.scheme", Scheme::StandardWebhooks.as_str());
    form_for_new(&control, visitor, Form::untouched(posted), search).await
}

async fn create(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let mut wanted = body(&posted, CHANGED);
    wanted["plane_id"] = json!(posted.get("plane_id"));
    match control.create_endpoint(&visitor.principal, wanted).await {
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
    let chosen = form.posted.get("plane_id").to_owned();
    let choices = planes(control, &visitor.principal, &search, &chosen).await?;
    let frame = Frame::new(control, visitor, Nav::Endpoints, "Add endpoint").await?;
    let status = form.status();
    let page = FormPage {
        frame: frame.below("Endpoints", PATH),
        form,
        id: String::new(),
        name: String::new(),
        cut: is_cut(choices.len()),
        planes: options(choices.iter().map(|plane| &plane.choice)),
        search,
        schemes: schemes(),
    };
    page_with(status, &page)
}

async fn edit(State(control): Shared, visitor: Visitor, At(id): At<EndpointId>) -> Answer {
    visitor.principal.may(Operation::EndpointWrite)?;
    let item = control.get_endpoint(&visitor.principal, id).await?;
    let posted = filled(&json!(&item.body)).or("version", item.version.to_string());
    form_for_change(&control, visitor, item, Form::untouched(posted)).await
}

async fn change(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<EndpointId>,
    posted: Posted,
) -> Answer {
    let caller = &visitor.principal;
    let patch = body(&posted, CHANGED);
    let expected = posted.expected();
    match control.change_endpoint(caller, id, patch, &expected).await {
        Ok(_) => Ok(see_other(&format!("{PATH}/{id}?done=changed"))),
        Err(problem) => {
            let item = control.get_endpoint(caller, id).await?;
            let form = Form::again(posted, problem)?;
            form_for_change(&control, visitor, item, form).await
        }
    }
}

async fn form_for_change(
    control: &Arc<Control>,
    visitor: Visitor,
    item: EndpointView,
    form: Form,
) -> Answer {
    let title = format!("Edit {}", item.body.name);
    let frame = Frame::new(control, visitor, Nav::Endpoints, title).await?;
    let status = form.status();
    let page = FormPage {
        frame: frame
            .below("Endpoints", PATH)
            .below(&item.body.name, format!("{PATH}/{}", item.id)),
        form,
        id: item.id,
        name: item.body.name,
        planes: Vec::new(),
        cut: false,
        search: String::new(),
        schemes: schemes(),
    };
    page_with(status, &page)
}

fn schemes() -> Vec<(&'static str, &'static str)> {
    let all = Scheme::ALL.iter();
    all.map(|scheme| (scheme.as_str(), scheme.title()))
        .collect()
}

async fn ask_removal(State(control): Shared, visitor: Visitor, At(id): At<EndpointId>) -> Answer {
    visitor.principal.may(Operation::EndpointWrite)?;
    removal_of(&control, visitor, id, None).await
}

async fn remove(State(control): Shared, visitor: Visitor, At(id): At<EndpointId>) -> Answer {
    let removed = control.remove_endpoint(&visitor.principal, id, &Expected::Any);
    match removed.await {
        Ok(()) => Ok(see_other(&format!("{PATH}?done=removed"))),
        Err(problem) if problem.code == "IN_USE" => {
            removal_of(&control, visitor, id, Some(problem)).await
        }
        Err(problem) => Err(problem),
    }
}

async fn removal_of(
    control: &Arc<Control>,
    visitor: Visitor,
    id: EndpointId,
    problem: Option<Problem>,
) -> Answer {
    let item = control.get_endpoint(&visitor.principal, id).await?;
    let removal = Removal {
        nav: Nav::Endpoints,
        nouns: "Endpoints",
        list: PATH,
        id: item.id,
        name: item.body.name,
        means: "Its address answers 410 from then on, so that the provider stops sending. What \
            was accepted before is still delivered. This cannot be undone.",
        verb: "Remove endpoint",
    };
    removal::ask(control, visitor, removal, problem).await
}

async fn test(State(control): Shared, visitor: Visitor, At(id): At<EndpointId>) -> Answer {
    let outcome = match control.test_endpoint(&visitor.principal, id).await {
        Ok(came) => came_of_event(&came),
        Err(problem)
            if matches!(
                problem.status,
                StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
            ) =>
        {
            return Err(problem);
        }
        Err(problem) => Outcome::untried(&problem),
    };
    shown(&control, visitor, id, None, Some(outcome)).await
}

/// What the ingester made of a test event.
fn came_of_event(came: &TestEventView) -> Outcome {
    match (&came.event_id, &came.code) {
        (Some(event), None) => Outcome::good(
            "The test event was accepted",
            "It was signed with the endpoint's own secret and taken in like a webhook. Its \
             deliveries follow the endpoint's flows.",
        )
        .with("Event", event),
        (_, code) => {
            let code = code.as_deref().unwrap_or_default();
            let meaning = codes::explained(Family::Intake, code).map(|known| known.meaning);
            let title = match meaning {
                Some(meaning) => format!("The test event was refused: {meaning}"),
                None => "The test event was refused".to_owned(),
            };
            let detail = came.detail.clone().unwrap_or_default();
            Outcome::bad(Family::Intake, title, code, detail)
        }
    }
}

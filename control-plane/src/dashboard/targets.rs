//! Targets: listed with their health, shown, added, changed, removed, tried with a test call.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};
use zen_proto::ids::TargetId;

use super::Shared;
use super::asked::{At, Question};
use super::body::{Fields, Kind, body, filled};
use super::codes::{self, Family};
use super::form::{Form, Posted};
use super::health::Health;
use super::listing::{FLOWS_SHOWN, ListFilter, is_cut, options, planes};
use super::outcome::Outcome;
use super::parts::Pager;
use super::removal::{self, Removal};
use super::render::{Answer, Frame, Nav, page, page_with, see_other};
use super::visitor::Visitor;
use super::words::Told;
use crate::control::Control;
use crate::manage::{FlowView, FlowsAsked, Names, TargetView, TestCallView};
use crate::permissions::Operation;
use crate::precondition::Expected;
use crate::problem::Problem;
use crate::store::NameOf;
use crate::target::{TargetAuth, TargetBody};

/// Where they are listed.
const PATH: &str = "/targets";
/// What a form asks of one that exists, beside its authentication.
const CHANGED: &Fields = &[
    ("name", Kind::Text),
    ("url", Kind::Text),
    ("timeout_ms", Kind::MaybeNumber),
    ("max_concurrency", Kind::MaybeNumber),
    ("signing_secrets", Kind::Lines),
    ("allowed_networks", Kind::Lines),
    ("ca_pem", Kind::MaybeText),
];
const KINDS: [(&str, &str); 3] = [
    ("", "None"),
    ("bearer", "Bearer token"),
    ("basic", "User and password (basic)"),
];
const TOLD: &[(&str, &str)] = &[
    (
        "created",
        "The target was made. Its plane knows it in a moment.",
    ),
    (
        "changed",
        "The change was saved. Its plane knows it in a moment.",
    ),
    ("removed", "The target was removed."),
];

/// Its paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/targets", get(list).post(create))
        .route("/targets/new", get(new))
        .route("/targets/{id}", get(show).post(change))
        .route("/targets/{id}/edit", get(edit))
        .route("/targets/{id}/remove", get(ask_removal).post(remove))
        .route("/targets/{id}/test", post(test))
}

#[derive(Template)]
#[template(path = "targets.html")]
struct ListPage {
    frame: Frame,
    filter: ListFilter,
    items: Vec<Row>,
    planes: Names,
    pager: Pager,
    may_write: bool,
}

struct Row {
    item: TargetView,
    health: Health,
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let caller = &visitor.principal;
    let filter = ListFilter::new(&control, caller, PATH, &asked).await?;
    let listed = control
        .list_targets(caller, &filter.targets(&asked))
        .await?;
    let ids = listed.items.iter().map(|item| item.body.plane_id.as_str());
    let planes = control.names(caller, NameOf::Planes, ids).await?;
    let may_write = visitor.can(Operation::TargetWrite);
    let frame = Frame::new(&control, visitor, Nav::Targets, "Targets").await?;
    let pager = Pager::new(
        PATH,
        &filter.pairs(),
        asked.some("cursor"),
        listed.next_cursor.as_deref(),
    );
    let row = |item: TargetView| Row {
        health: Health::of(&item, frame.now),
        item,
    };
    let items = listed.items.into_iter().map(row).collect();
    page(&ListPage {
        items,
        frame: frame.told(asked.some("done"), TOLD),
        filter,
        planes,
        pager,
        may_write,
    })
}

#[derive(Template)]
#[template(path = "target.html")]
struct ShowPage {
    frame: Frame,
    changed: Told,
    item: TargetView,
    plane: String,
    health: Health,
    auth: String,
    flows: Vec<FlowView>,
    more_flows: bool,
    endpoints: Names,
    targets: Names,
    outcome: Option<Outcome>,
    may_write: bool,
    may_test: bool,
    may_flow: bool,
}

async fn show(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<TargetId>,
    Question(asked): Question,
) -> Answer {
    shown(&control, visitor, id, asked.some("done"), None).await
}

/// The page of a target, with what was just done or came of a test.
async fn shown(
    control: &Arc<Control>,
    visitor: Visitor,
    id: TargetId,
    done: Option<&str>,
    outcome: Option<Outcome>,
) -> Answer {
    let caller = &visitor.principal;
    let item = control.get_target(caller, id).await?;
    let plane_id = item.body.plane_id.as_str();
    let plane = control.names(caller, NameOf::Planes, [plane_id]).await?;
    let ends = FlowsAsked {
        target_id: Some(item.id.clone()),
        limit: Some(FLOWS_SHOWN),
        ..FlowsAsked::default()
    };
    let flows = control.list_flows(caller, &ends).await?;
    let ids = flows
        .items
        .iter()
        .map(|flow| flow.body.endpoint_id.as_str());
    let endpoints = control.names(caller, NameOf::Endpoints, ids).await?;
    let targets = control
        .names(caller, NameOf::Targets, [item.id.as_str()])
        .await?;
    let may = |operation| visitor.can(operation);
    let frame = Frame::new(control, visitor.clone(), Nav::Targets, &item.body.name).await?;
    page(&ShowPage {
        changed: Told::at(Some(&item.updated_at), frame.now),
        plane: plane.of(plane_id).to_owned(),
        health: Health::of(&item, frame.now),
        auth: auth_of(item.body.auth.as_ref()),
        more_flows: flows.next_cursor.is_some(),
        flows: flows.items,
        endpoints,
        targets,
        outcome,
        may_write: may(Operation::TargetWrite),
        may_test: may(Operation::TestSend),
        may_flow: may(Operation::FlowWrite),
        frame: frame.below("Targets", PATH).told(done, TOLD),
        item,
    })
}

fn auth_of(auth: Option<&TargetAuth>) -> String {
    match auth {
        None => "none".to_owned(),
        Some(TargetAuth::Bearer(secret)) => format!("bearer token from {secret}"),
        Some(TargetAuth::Basic(secret)) => format!("user and password from {secret}"),
    }
}

#[derive(Template)]
#[template(path = "target_form.html")]
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
    kinds: [(&'static str, &'static str); 3],
}

async fn new(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    visitor.principal.may(Operation::TargetWrite)?;
    let search = asked.get("plane").to_owned();
    form_for_new(&control, visitor, Form::untouched(asked), search).await
}

async fn create(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let mut wanted = written(&posted, None);
    wanted["plane_id"] = json!(posted.get("plane_id"));
    match control.create_target(&visitor.principal, wanted).await {
        Ok(made) => Ok(see_other(&format!("{PATH}/{}?done=created", made.id))),
        Err(problem) => {
            let form = Form::again(posted, of_the_form(problem))?;
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
    let frame = Frame::new(control, visitor, Nav::Targets, "Add target").await?;
    let status = form.status();
    let page = FormPage {
        frame: frame.below("Targets", PATH),
        form,
        id: String::new(),
        name: String::new(),
        cut: is_cut(choices.len()),
        planes: options(choices.iter().map(|plane| &plane.choice)),
        search,
        kinds: KINDS,
    };
    page_with(status, &page)
}

async fn edit(State(control): Shared, visitor: Visitor, At(id): At<TargetId>) -> Answer {
    visitor.principal.may(Operation::TargetWrite)?;
    let item = control.get_target(&visitor.principal, id).await?;
    let posted = form_of(&item.body).or("version", item.version.to_string());
    form_for_change(&control, visitor, item, Form::untouched(posted)).await
}

async fn change(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<TargetId>,
    posted: Posted,
) -> Answer {
    let caller = &visitor.principal;
    let item = control.get_target(caller, id).await?;
    let patch = written(&posted, item.body.auth.as_ref());
    let expected = posted.expected();
    match control.change_target(caller, id, patch, &expected).await {
        Ok(_) => Ok(see_other(&format!("{PATH}/{id}?done=changed"))),
        Err(problem) => {
            let form = Form::again(posted, of_the_form(problem))?;
            form_for_change(&control, visitor, item, form).await
        }
    }
}

async fn form_for_change(
    control: &Arc<Control>,
    visitor: Visitor,
    item: TargetView,
    form: Form,
) -> Answer {
    let title = format!("Edit {}", item.body.name);
    let frame = Frame::new(control, visitor, Nav::Targets, title).await?;
    let status = form.status();
    let page = FormPage {
        frame: frame
            .below("Targets", PATH)
            .below(&item.body.name, format!("{PATH}/{}", item.id)),
        form,
        id: item.id,
        name: item.body.name,
        planes: Vec::new(),
        cut: false,
        search: String::new(),
        kinds: KINDS,
    };
    page_with(status, &page)
}

/// What the form writes. The API has one field a kind of authentication; a patch has to take away
/// the kind that was there.
fn written(posted: &Posted, now: Option<&TargetAuth>) -> Value {
    let mut wanted = body(posted, CHANGED);
    let kind = posted.get("auth.kind");
    wanted["auth"] = match kind {
        "bearer" | "basic" => {
            let mut auth = json!({});
            match (now, kind) {
                (Some(TargetAuth::Bearer(_)), "basic") => auth["bearer"] = Value::Null,
                (Some(TargetAuth::Basic(_)), "bearer") => auth["basic"] = Value::Null,
                _ => {}
            }
            auth[kind] = json!(posted.get("auth.secret"));
            auth
        }
        _ => Value::Null,
    };
    wanted
}

/// The form of a target that exists.
fn form_of(body: &TargetBody) -> Posted {
    let posted = filled(&json!(body));
    match &body.auth {
        None => posted,
        Some(TargetAuth::Bearer(secret)) => {
            posted.or("auth.kind", "bearer").or("auth.secret", secret)
        }
        Some(TargetAuth::Basic(secret)) => {
            posted.or("auth.kind", "basic").or("auth.secret", secret)
        }
    }
}

/// A problem by the names of the form's fields.
fn of_the_form(mut problem: Problem) -> Problem {
    for fault in &mut problem.errors {
        if matches!(fault.field.as_str(), "auth.bearer" | "auth.basic") {
            "auth.secret".clone_into(&mut fault.field);
        }
    }
    problem
}

async fn ask_removal(State(control): Shared, visitor: Visitor, At(id): At<TargetId>) -> Answer {
    visitor.principal.may(Operation::TargetWrite)?;
    removal_of(&control, visitor, id, None).await
}

async fn remove(State(control): Shared, visitor: Visitor, At(id): At<TargetId>) -> Answer {
    let removed = control.remove_target(&visitor.principal, id, &Expected::Any);
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
    id: TargetId,
    problem: Option<Problem>,
) -> Answer {
    let item = control.get_target(&visitor.principal, id).await?;
    let removal = Removal {
        nav: Nav::Targets,
        nouns: "Targets",
        list: PATH,
        id: item.id,
        name: item.body.name,
        means: "Nothing is delivered to it any more: what still waits for it becomes a dead \
            letter. This cannot be undone.",
        verb: "Remove target",
    };
    removal::ask(control, visitor, removal, problem).await
}

async fn test(State(control): Shared, visitor: Visitor, At(id): At<TargetId>) -> Answer {
    let outcome = match control.test_target(&visitor.principal, id).await {
        Ok(came) => came_of_call(&came),
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

/// What the target made of a test call.
fn came_of_call(came: &TestCallView) -> Outcome {
    let TestCallView {
        status,
        code,
        detail,
        duration_ms,
        remote_address,
    } = came;
    let answered = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let outcome = match code.as_deref() {
        None => Outcome::good(
            format!("The target took the test call: {answered}"),
            "It was a real request by the way of a delivery, marked x-zen-test: 1.",
        ),
        Some(code) => {
            let title = codes::explained(Family::Delivery, code);
            let title = title.map_or("The target did not take the test call", |known| {
                known.meaning
            });
            Outcome::bad(
                Family::Delivery,
                super::words::sentence(title),
                code,
                detail.clone().unwrap_or_default(),
            )
        }
    };
    let outcome = outcome
        .with("Answer", answered)
        .with("Took", format!("{duration_ms} ms"));
    match remote_address {
        Some(address) => outcome.with("Connected to", address),
        None => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_of_authentication_takes_the_place_of_the_one_before() {
        let posted = Posted::default()
            .or("auth.kind", "basic")
            .or("auth.secret", "file:b");
        let now = TargetAuth::Bearer("file:a".to_owned());
        let patch = written(&posted, Some(&now));
        assert_eq!(patch["auth"], json!({"bearer": null, "basic": "file:b"}));
        let none = written(&Posted::default(), Some(&now));
        assert_eq!(none["auth"], Value::Null);
    }
}

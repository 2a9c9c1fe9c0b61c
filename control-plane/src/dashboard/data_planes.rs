//! Data planes: those that carry the tenants' events from outside and between planes.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use serde_json::json;

use super::form::{Form, Posted};
use super::parts::Pager;
use super::planes::{self, Narrowed, Row};
use super::render::{Answer, Frame, Nav, page, page_with, see_other};
use super::visitor::Visitor;
use crate::control::Control;
use crate::permissions::Operation;

#[derive(Template)]
#[template(path = "data_planes.html")]
struct DataPlanes {
    frame: Frame,
    /// For the operator's people: the planes with their state.
    rows: Vec<Row>,
    /// For everybody else: the names that may be chosen.
    names: Vec<(String, String)>,
    pager: Pager,
    operator: bool,
    may_add: bool,
}

/// `GET /data-planes`
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    Query(narrowed): Query<Narrowed>,
) -> Answer {
    visitor.principal.may(Operation::PlaneRead)?;
    let caller = visitor.principal.clone();
    let (mut rows, mut names, mut next) = (Vec::new(), Vec::new(), None);
    if caller.operator {
        let listed = control
            .list_planes(&caller, &planes::asked("data", &narrowed))
            .await?;
        next = listed.next_cursor;
        rows = planes::rows(&control, &caller, listed.items).await?;
    } else {
        names = control.store.named_data_planes().await?;
    }
    let pager = Pager::new("/data-planes", &[], Some(&narrowed.cursor), next.as_deref());
    let may_add = visitor.can(Operation::DataPlaneWrite);
    let frame = Frame::new(&control, visitor, Nav::DataPlanes, "Data planes")
        .await?
        .told(
            narrowed.told.as_deref(),
            &[("retired", "The plane was taken out of service.")],
        );
    page(&DataPlanes {
        frame,
        rows,
        names,
        pager,
        operator: caller.operator,
        may_add,
    })
}

#[derive(Template)]
#[template(path = "data_plane_new.html")]
struct NewDataPlane {
    frame: Frame,
    form: Form,
}

/// `GET /data-planes/new`
pub(super) async fn ask_new(State(control): State<Arc<Control>>, visitor: Visitor) -> Answer {
    visitor.principal.may(Operation::DataPlaneWrite)?;
    show_new(&control, visitor, Form::default()).await
}

/// `POST /data-planes/new`
pub(super) async fn create(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    posted: Posted,
) -> Answer {
    let body = json!({ "name": posted.get("name"), "kind": "data" });
    match control.create_plane(&visitor.principal, body).await {
        Ok(plane) => Ok(see_other(&format!("/planes/{}?told=created", plane.id))),
        Err(problem) if problem.errors.is_empty() => Err(problem),
        Err(problem) => show_new(&control, visitor, Form::refused(posted, problem)).await,
    }
}

async fn show_new(control: &Arc<Control>, visitor: Visitor, form: Form) -> Answer {
    let status = form.status();
    let frame = Frame::new(control, visitor, Nav::DataPlanes, "Add data plane")
        .await?
        .below("Data planes", "/data-planes");
    page_with(status, &NewDataPlane { frame, form })
}

//! A plane is renamed, given another data plane, or retired.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use serde_json::json;
use zen_proto::ids::PlaneId;

use super::above;
use crate::control::Control;
use crate::dashboard::form::{Form, Posted};
use crate::dashboard::planes::data_plane_choices;
use crate::dashboard::render::{Answer, Frame, Nav, page_with, see_other};
use crate::dashboard::visitor::Visitor;
use crate::manage::PlaneView;
use crate::permissions::Operation;
use crate::precondition::Expected;
use crate::problem::Problem;
use crate::rest::PathId;

#[derive(Template)]
#[template(path = "plane_change.html")]
struct Change {
    frame: Frame,
    plane: PlaneView,
    form: Form,
    data_planes: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "plane_retire.html")]
struct Retire {
    frame: Frame,
    plane: PlaneView,
    form: Form,
}

/// `GET /planes/{id}/change`
pub(in crate::dashboard) async fn show_change(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    visitor.principal.may(Operation::PlaneWrite)?;
    let plane = control.get_plane(&visitor.principal, id).await?;
    let data_plane = plane.data_plane_id.clone().unwrap_or_default();
    let version = plane.version.to_string();
    let form = Form::new(&[
        ("name", &plane.name),
        ("data_plane_id", &data_plane),
        ("version", &version),
    ]);
    change_page(&control, visitor, plane, form).await
}

/// `POST /planes/{id}/change`
pub(in crate::dashboard) async fn change(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
    posted: Posted,
) -> Answer {
    let mut patch = json!({ "name": posted.get("name") });
    if posted.has("data_plane_id") {
        patch["data_plane_id"] = json!(posted.some("data_plane_id"));
    }
    let expected = posted.expected();
    let changed = control.change_plane(&visitor.principal, id, patch, &expected);
    match changed.await {
        Ok(_changed) => Ok(see_other(&format!("/planes/{id}?told=changed"))),
        Err(problem) if !problem.status.is_client_error() => Err(problem),
        Err(problem) => {
            let plane = control.get_plane(&visitor.principal, id).await?;
            // Sent again, the form is meant for what is there now: who reads it has seen it.
            let posted = posted.with("version", plane.version.to_string());
            change_page(&control, visitor, plane, Form::refused(posted, problem)).await
        }
    }
}

async fn change_page(
    control: &Arc<Control>,
    visitor: Visitor,
    plane: PlaneView,
    form: Form,
) -> Answer {
    let mut data_planes = Vec::new();
    if plane.kind == "edge" {
        data_planes = data_plane_choices(control, false).await?;
    }
    let frame = frame(control, visitor, &plane, "Change").await?;
    let status = form.status();
    let page = Change {
        frame,
        plane,
        form,
        data_planes,
    };
    page_with(status, &page)
}

/// `GET /planes/{id}/retire`
pub(in crate::dashboard) async fn show_retire(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    visitor.principal.may(Operation::PlaneRetire)?;
    let plane = control.get_plane(&visitor.principal, id).await?;
    retire_page(&control, visitor, plane, Form::default()).await
}

/// `POST /planes/{id}/retire`: for good, so its name is asked for.
pub(in crate::dashboard) async fn retire(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
    posted: Posted,
) -> Answer {
    let plane = control.get_plane(&visitor.principal, id).await?;
    if posted.get("name") != plane.name {
        let wrong = Problem::field("name", "this is not the plane's name");
        return retire_page(&control, visitor, plane, Form::refused(posted, wrong)).await;
    }
    let (_, list) = above(plane.kind);
    match control
        .retire_plane(&visitor.principal, id, &Expected::Any)
        .await
    {
        Ok(()) => Ok(see_other(&format!("{list}?told=retired"))),
        Err(problem) if !problem.status.is_client_error() => Err(problem),
        Err(problem) => retire_page(&control, visitor, plane, Form::refused(posted, problem)).await,
    }
}

async fn retire_page(
    control: &Arc<Control>,
    visitor: Visitor,
    plane: PlaneView,
    form: Form,
) -> Answer {
    let frame = frame(control, visitor, &plane, "Retire").await?;
    let status = form.status();
    page_with(status, &Retire { frame, plane, form })
}

async fn frame(
    control: &Arc<Control>,
    visitor: Visitor,
    plane: &PlaneView,
    title: &str,
) -> Result<Frame, Problem> {
    let nav = match plane.kind {
        "data" => Nav::DataPlanes,
        _ => Nav::Planes,
    };
    let (list, path) = above(plane.kind);
    let frame = Frame::new(control, visitor, nav, title).await?;
    Ok(frame
        .below(list, path)
        .below(plane.name.clone(), format!("/planes/{}", plane.id)))
}

//! Data planes, as the operator's people look after them.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::{Tab, tabs};
use crate::control::Control;
use crate::dashboard::Shared;
use crate::dashboard::asked::Question;
use crate::dashboard::listing::ROWS;
use crate::dashboard::parts::{Pager, Pill};
use crate::dashboard::render::{Answer, Frame, Nav, page};
use crate::dashboard::status;
use crate::dashboard::visitor::Visitor;
use crate::manage::{PlaneView, PlanesAsked};
use crate::permissions::Operation;

const PATH: &str = "/settings/data-planes";

/// Their paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route("/settings/data-planes", get(list))
}

#[derive(Template)]
#[template(path = "settings_data_planes.html")]
struct Page {
    frame: Frame,
    tabs: Vec<Tab>,
    rows: Vec<Row>,
    pager: Pager,
}

struct Row {
    id: String,
    name: String,
    pill: Pill,
    detail: String,
    retired: bool,
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let caller = &visitor.principal;
    caller.may(Operation::DataPlaneWrite)?;
    let cursor = asked.some("cursor");
    let wanted = PlanesAsked {
        kind: Some("data".to_owned()),
        limit: Some(ROWS),
        cursor: cursor.map(str::to_owned),
        ..PlanesAsked::default()
    };
    let listed = control.list_planes(caller, &wanted).await?;
    let pager = Pager::new(PATH, &[], cursor, listed.next_cursor.as_deref());
    page(&Page {
        tabs: tabs(&visitor, PATH),
        rows: listed.items.into_iter().map(row).collect(),
        frame: Frame::new(&control, visitor, Nav::Settings, "Data planes")
            .await?
            .below("Settings", "/settings"),
        pager,
    })
}

fn row(plane: PlaneView) -> Row {
    Row {
        pill: status::pill(plane.status),
        retired: plane.status == "retired",
        id: plane.id,
        name: plane.name,
        detail: plane.status_detail,
    }
}

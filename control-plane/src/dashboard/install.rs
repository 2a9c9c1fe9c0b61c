//! The install command: a page, and the same as a dialog on the plane's page. Showing a command
//! issues a bundle, and its key is shown this once: so it is asked for by POST, and where an earlier
//! command is still good, only after saying that it dies.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;
use serde_json::json;
use zen_proto::ids::PlaneId;

use super::form::{Form, Posted};
use super::moment::{Moment, When};
use super::plane::above;
use super::render::{Answer, Frame, Nav, page_with};
use super::visitor::Visitor;
use crate::control::Control;
use crate::manage::PlaneView;
use crate::permissions::Operation;
use crate::problem::Problem;
use crate::rest::PathId;

/// How long a command may be good for: seconds, and in words.
const TTLS: [(&str, &str); 5] = [
    ("", "as configured"),
    ("300", "5 minutes"),
    ("3600", "1 hour"),
    ("14400", "4 hours"),
    ("86400", "24 hours"),
];

/// The page: asks, or shows the command. What is in it is secret: no `Debug`.
#[derive(Template)]
#[template(path = "plane_install.html")]
struct Install {
    frame: Frame,
    plane: PlaneView,
    form: Form,
    /// The command with its end, this once.
    command: Option<Command>,
    /// An earlier command that is still good.
    open: Option<Open>,
    ttls: [(&'static str, &'static str); 5],
}

struct Command {
    text: String,
    expires: When,
    /// Only the holder of the age recipient's key can open it.
    own_key: bool,
}

struct Open {
    issued: When,
    expires: When,
}

/// `GET /planes/{id}/install`
pub(super) async fn ask(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    visitor.principal.may(Operation::BundleIssue)?;
    let plane = control.get_plane(&visitor.principal, id).await?;
    show(&control, visitor, plane, Form::default(), None).await
}

/// `POST /planes/{id}/install`: issues a bundle and shows its command; asks first if an earlier
/// command would die of it.
pub(super) async fn issue(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
    posted: Posted,
) -> Answer {
    visitor.principal.may(Operation::BundleIssue)?;
    let plane = control.get_plane(&visitor.principal, id).await?;
    let now = control.stage.clock.unix_ms();
    let open = control.store.open_bundle(id, now).await?;
    if open.is_some() && !posted.has("confirmed") {
        return show(&control, visitor, plane, Form::default(), None).await;
    }
    let mut body = json!({ "recipient": posted.some("recipient") });
    if let Some(ttl) = posted.some("ttl_seconds") {
        body["ttl_seconds"] = ttl
            .parse::<u64>()
            .map_or_else(|_| json!(ttl), |seconds| json!(seconds));
    }
    match control.issue_bundle(&visitor.principal, id, body).await {
        Ok(issued) => {
            let expires = Moment::parse(&issued.expires_at).unwrap_or(Moment(now));
            let command = Command {
                text: issued.install_command,
                expires: expires.countdown(Moment(now)),
                own_key: issued.identity.is_none(),
            };
            show(&control, visitor, plane, Form::default(), Some(command)).await
        }
        Err(problem) if problem.errors.is_empty() => Err(problem),
        Err(problem) => {
            let form = Form::refused(posted, problem);
            show(&control, visitor, plane, form, None).await
        }
    }
}

async fn show(
    control: &Arc<Control>,
    visitor: Visitor,
    plane: PlaneView,
    form: Form,
    command: Option<Command>,
) -> Answer {
    if plane.status == "retired" {
        return Err(Problem::retired(format!("{} was retired", plane.name)));
    }
    let now = Moment(control.stage.clock.unix_ms());
    let id: PlaneId = plane
        .id
        .parse()
        .map_err(|_none| Problem::no_such("plane", &plane.id))?;
    let open = control.store.open_bundle(id, now.0).await?;
    let open = open.map(|bundle| Open {
        issued: Moment(bundle.issued_at).at(now),
        expires: Moment(bundle.expires_at).ago(now),
    });
    let nav = match plane.kind {
        "data" => Nav::DataPlanes,
        _ => Nav::Planes,
    };
    let (list, path) = above(plane.kind);
    let frame = Frame::new(control, visitor, nav, "Install command")
        .await?
        .below(list, path)
        .below(plane.name.clone(), format!("/planes/{}", plane.id));
    let status = match form.problem {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    page_with(
        status,
        &Install {
            frame,
            plane,
            form,
            command,
            open,
            ttls: TTLS,
        },
    )
}

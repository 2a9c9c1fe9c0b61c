//! The install command: a page, and the same as a dialog on the plane's page. Showing a command
//! issues a bundle, and its key is shown this once: so it is asked for by POST, and where an earlier
//! command is still good, only after saying that it dies.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
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

/// The forms of an installation: what is posted, its name, what it is.
const WAYS: [Way; 3] = [
    Way {
        word: "kubernetes",
        name: "Kubernetes",
        about: "one paste, with kubectl and Helm",
    },
    Way {
        word: "edge_lite",
        name: "Edge Lite",
        about: "one paste, on a machine without Kubernetes",
    },
    Way {
        word: "gitops",
        name: "GitOps",
        about: "manifests and values to commit, without the identity",
    },
];

/// The page: asks, or shows what was issued. What is in it is secret: no `Debug`.
#[derive(Template)]
#[template(path = "plane_install.html")]
struct Install {
    frame: Frame,
    plane: PlaneView,
    /// A data plane.
    data: bool,
    form: Form,
    ways: Vec<Way>,
    /// What was issued, this once.
    handed: Option<Handed>,
    /// An earlier command that is still good.
    open: Option<Open>,
    ttls: [(&'static str, &'static str); 5],
    /// Where the agent dials.
    address: String,
}

#[derive(Clone, Copy)]
struct Way {
    word: &'static str,
    name: &'static str,
    about: &'static str,
}

struct Handed {
    command: String,
    /// To commit, with `values`, in the GitOps form.
    manifests: Option<String>,
    values: String,
    expires: When,
    /// Only the holder of the age recipient's key can open it.
    own_key: bool,
    /// There is a zen-lock, which needs identities of its operator's.
    lock: bool,
    edge_lite: bool,
    namespace: String,
    /// Where the chart comes from.
    repository: String,
    /// The form's fields as they were chosen, for the next one.
    chosen: Vec<(String, String)>,
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
    let form = Form {
        posted: chosen(Posted::default()),
        problem: None,
    };
    show(&control, visitor, plane, form, None).await
}

/// `POST /planes/{id}/install`: issues a bundle and shows its command; asks first if an earlier
/// command would die of it.
pub(super) async fn issue(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
    headers: HeaderMap,
    posted: Posted,
) -> Answer {
    visitor.principal.may(Operation::BundleIssue)?;
    let plane = control.get_plane(&visitor.principal, id).await?;
    let posted = chosen(posted);
    let now = control.stage.clock.unix_ms();
    let open = control.store.open_bundle(id, now).await?;
    if open.is_some() && !posted.has("confirmed") {
        let form = Form {
            posted,
            problem: None,
        };
        return show(&control, visitor, plane, form, None).await;
    }
    let repository = control.repository(&headers);
    let body = body(&posted, plane.kind);
    let issued = control
        .issue_bundle(&visitor.principal, id, body, &repository)
        .await;
    match issued {
        Ok(issued) => {
            let expires = Moment::parse(&issued.expires_at).unwrap_or(Moment(now));
            let handed = Handed {
                command: issued.install_command,
                manifests: issued.manifests,
                values: issued.values.unwrap_or_default(),
                expires: expires.countdown(Moment(now)),
                lock: has_lock(&posted, plane.kind, issued.identity.is_none()),
                own_key: issued.identity.is_none(),
                edge_lite: posted.get("form") == EDGE_LITE,
                namespace: posted.some("namespace").unwrap_or(NAMESPACE).to_owned(),
                repository,
                chosen: kept(&posted),
            };
            show(&control, visitor, plane, Form::default(), Some(handed)).await
        }
        Err(problem) if problem.errors.is_empty() => Err(problem),
        Err(problem) => {
            let form = Form::refused(posted, problem);
            show(&control, visitor, plane, form, None).await
        }
    }
}

const EDGE_LITE: &str = "edge_lite";
const NAMESPACE: &str = "zen-mesh";
/// What is chosen in the form, and kept for a command that is regenerated.
const FIELDS: [&str; 5] = ["form", "component", "namespace", "recipient", "ttl_seconds"];

/// What was chosen, or else what the form begins with.
fn chosen(posted: Posted) -> Posted {
    if posted.has("form") {
        return posted;
    }
    let begun = posted
        .with("form", "kubernetes")
        .with("component", "egress");
    match begun.has("namespace") {
        true => begun,
        false => begun.with("namespace", NAMESPACE),
    }
}

fn kept(posted: &Posted) -> Vec<(String, String)> {
    let all = FIELDS.iter().flat_map(|name| {
        let values = posted.all(name);
        values.map(|value| ((*name).to_owned(), value.to_owned()))
    });
    all.collect()
}

/// Whether what was chosen brings zen-lock: by itself, or for a bundle that only it opens.
fn has_lock(posted: &Posted, kind: &str, own_key: bool) -> bool {
    let cluster = posted.get("form") != EDGE_LITE;
    cluster && kind != "data" && (own_key || posted.ticked("component", "lock"))
}

/// The form as the API takes it. Fields that the chosen form does not have are left out.
fn body(posted: &Posted, kind: &str) -> Value {
    let mut body = json!({ "recipient": posted.some("recipient"), "form": posted.get("form") });
    if posted.get("form") != EDGE_LITE {
        body["namespace"] = json!(posted.some("namespace"));
        if kind != "data" {
            body["components"] = posted.all("component").collect();
        }
    }
    if let Some(ttl) = posted.some("ttl_seconds") {
        body["ttl_seconds"] = ttl
            .parse::<u64>()
            .map_or_else(|_| json!(ttl), |seconds| json!(seconds));
    }
    body
}

async fn show(
    control: &Arc<Control>,
    visitor: Visitor,
    plane: PlaneView,
    form: Form,
    handed: Option<Handed>,
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
    let data = plane.kind == "data";
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
            data,
            form,
            ways: WAYS
                .into_iter()
                .filter(|way| !(data && way.word == EDGE_LITE))
                .collect(),
            handed,
            open,
            ttls: TTLS,
            address: control.agents_advertise.clone(),
        },
    )
}

//! Edge planes: the list, and a new one.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::json;

use super::form::{Form, Posted};
use super::moment::{Moment, When};
use super::parts::{Pager, grouped, short_id};
use super::render::{Answer, Frame, Nav, page, page_with, see_other};
use super::status::{self, STATES, Told};
use super::visitor::Visitor;
use crate::control::Control;
use crate::manage::{PlaneView, PlanesAsked};
use crate::permissions::Operation;
use crate::problem::Problem;

/// Planes of one page.
const PAGE: u32 = 50;

/// How the list is narrowed, and where it goes on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Narrowed {
    pub(super) name: String,
    pub(super) status: String,
    /// `all` for data planes too; edge planes otherwise.
    pub(super) kind: String,
    pub(super) cursor: String,
    /// What was just done.
    pub(super) told: Option<String>,
}

impl Narrowed {
    /// Whether the list is not narrowed and at its beginning: empty means that there is none.
    fn is_open(&self) -> bool {
        !self.is_filtered() && self.cursor.is_empty()
    }

    fn is_filtered(&self) -> bool {
        !self.name.is_empty() || !self.status.is_empty() || self.shows_all()
    }

    fn shows_all(&self) -> bool {
        self.kind == "all"
    }
}

#[derive(Template)]
#[template(path = "planes.html")]
struct Planes {
    frame: Frame,
    narrowed: Narrowed,
    states: [(&'static str, &'static str); 6],
    rows: Vec<Row>,
    pager: Pager,
    may_add: bool,
}

/// A plane in the list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) short_id: String,
    pub(super) name: String,
    pub(super) told: Told,
    /// Which components it runs; for one that never enrolled, what is up with its bundle.
    pub(super) components: String,
    pub(super) bundle: Option<When>,
    pub(super) delivered: String,
    pub(super) waiting: String,
    pub(super) oldest: Option<When>,
    pub(super) revision: String,
}

impl Row {
    /// A plane in one line. `delivered` is what it delivered in the last whole minute, `bundle`
    /// when its open bundle expires (Unix milliseconds).
    pub(super) fn new(
        plane: PlaneView,
        now: Moment,
        delivered: Option<u64>,
        bundle: Option<u64>,
    ) -> Self {
        let told = status::told(&plane, now);
        let mut names: Vec<&str> = plane
            .components
            .iter()
            .map(|c| c.component.as_str())
            .collect();
        names.dedup();
        let known = !plane.components.is_empty();
        let waiting: u64 = plane.components.iter().map(|c| c.queue_depth).sum();
        let oldest = plane.components.iter();
        let oldest = oldest.filter_map(|c| Moment::parse(c.oldest_pending_at.as_deref()?));
        let revision = match (plane.applied_revision, plane.published_revision) {
            (0, 0) => "–".to_owned(),
            (0, published) => format!("none, {published} published"),
            (applied, published) if applied == published => format!("{applied} = published"),
            (applied, published) => format!("{applied}, {published} published"),
        };
        let dash = || "–".to_owned();
        Self {
            short_id: short_id(&plane.id),
            components: names.join(", "),
            bundle: bundle
                .filter(|_| plane.status == "never_enrolled")
                .map(|at| Moment(at).ago(now)),
            delivered: delivered.map_or_else(dash, grouped),
            waiting: if known { grouped(waiting) } else { dash() },
            oldest: oldest.min().filter(|_| waiting > 0).map(|at| at.ago(now)),
            revision,
            id: plane.id,
            name: plane.name,
            told,
        }
    }
}

/// `GET /planes`
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    Query(narrowed): Query<Narrowed>,
) -> Answer {
    let may_add = visitor.can(Operation::PlaneWrite);
    let caller = visitor.principal.clone();
    let asked = asked("edge", &narrowed);
    let listed = control.list_planes(&caller, &asked).await?;
    let rows = rows(&control, &caller, listed.items).await?;
    let filters = [
        ("name", narrowed.name.as_str()),
        ("status", narrowed.status.as_str()),
        ("kind", narrowed.kind.as_str()),
    ];
    let title = match narrowed.shows_all() {
        true => "All planes",
        false => "Edge planes",
    };
    let cursor = Some(narrowed.cursor.as_str());
    let pager = Pager::new("/planes", &filters, cursor, listed.next_cursor.as_deref());
    let frame = Frame::new(&control, visitor, Nav::Planes, title)
        .await?
        .told(
            narrowed.told.as_deref(),
            &[("retired", "The plane was taken out of service.")],
        );
    page(&Planes {
        frame,
        states: states(),
        rows,
        pager,
        may_add,
        narrowed,
    })
}

/// What is asked of the API's list.
pub(super) fn asked(kind: &str, narrowed: &Narrowed) -> PlanesAsked {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    PlanesAsked {
        name: given(narrowed.name.trim()),
        status: given(&narrowed.status),
        kind: Some(kind.to_owned()).filter(|_| !narrowed.shows_all()),
        limit: Some(PAGE),
        cursor: given(&narrowed.cursor),
        ..PlanesAsked::default()
    }
}

/// Planes as lines, with what only lists tell.
pub(super) async fn rows(
    control: &Arc<Control>,
    caller: &crate::principal::Principal,
    planes: Vec<PlaneView>,
) -> Result<Vec<Row>, Problem> {
    let scope = control.scope(caller);
    let now = control.stage.clock.unix_ms();
    let bundles: HashMap<String, u64> = control.store.open_bundles(scope, now).await?;
    let delivered: HashMap<String, u64> =
        control.store.delivered_in(scope, now / 60_000 - 1).await?;
    let row = |plane: PlaneView| {
        let (delivered, bundle) = (delivered.get(&plane.id), bundles.get(&plane.id));
        let delivered = delivered.copied();
        let delivered = delivered.or_else(|| plane.enrolled_at.as_ref().map(|_| 0));
        Row::new(plane, Moment(now), delivered, bundle.copied())
    };
    Ok(planes.into_iter().map(row).collect())
}

/// The states of the filter; the first is none of them.
fn states() -> [(&'static str, &'static str); 6] {
    let mut states = [("", "Any status"); 6];
    for (place, (word, pill)) in states.iter_mut().skip(1).zip(STATES) {
        *place = (word, pill.words);
    }
    states
}

#[derive(Template)]
#[template(path = "plane_new.html")]
struct NewPlane {
    frame: Frame,
    form: Form,
    data_planes: Vec<(String, String)>,
}

/// `GET /planes/new`
pub(super) async fn ask_new(State(control): State<Arc<Control>>, visitor: Visitor) -> Answer {
    visitor.principal.may(Operation::PlaneWrite)?;
    show_new(&control, visitor, Form::default()).await
}

/// `POST /planes/new`: makes the plane and shows it.
pub(super) async fn create(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    posted: Posted,
) -> Answer {
    let body = json!({
        "name": posted.get("name"),
        "kind": "edge",
        "data_plane_id": posted.some("data_plane_id"),
    });
    match control.create_plane(&visitor.principal, body).await {
        Ok(plane) => Ok(see_other(&format!("/planes/{}?told=created", plane.id))),
        Err(problem) if problem.errors.is_empty() => Err(problem),
        Err(problem) => show_new(&control, visitor, Form::refused(posted, problem)).await,
    }
}

async fn show_new(control: &Arc<Control>, visitor: Visitor, form: Form) -> Answer {
    let data_planes = data_plane_choices(control, true).await?;
    let status = form.status();
    let frame = Frame::new(control, visitor, Nav::Planes, "Add edge plane")
        .await?
        .below("Edge planes", "/planes");
    page_with(
        status,
        &NewPlane {
            frame,
            form,
            data_planes,
        },
    )
}

/// The data planes that an edge plane may name, with their names. For a new plane, the only one
/// there is needs no choice.
pub(super) async fn data_plane_choices(
    control: &Arc<Control>,
    new: bool,
) -> Result<Vec<(String, String)>, Problem> {
    let mut choices = control.store.named_data_planes().await?;
    if let ([(_, only)], true) = (choices.as_slice(), new) {
        return Ok(vec![(String::new(), only.clone())]);
    }
    let none = "None: events stay within the plane".to_owned();
    choices.insert(0, (String::new(), none));
    Ok(choices)
}

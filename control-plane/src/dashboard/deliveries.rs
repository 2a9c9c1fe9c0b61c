//! Deliveries and dead letters of a plane, asked of it at this moment; and one delivery with its
//! attempts.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;

use super::Shared;
use super::asked::Question;
use super::codes::{self, Family};
use super::endpoints::bytes;
use super::form::Posted;
use super::listing::{ROWS, planes};
use super::moment::Moment;
use super::parts::{Pager, Pill, Tone, grouped};
use super::refusal::Refusal;
use super::render::{Answer, Frame, Nav, page, page_with};
use super::visitor::Visitor;
use super::words::{Told, sentence};
use crate::control::Control;
use crate::manage::{
    AttemptView, DeadLettersAsked, DeliveriesAsked, DeliveryView, Listed, Names, PlaneChoice,
};
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Choice, NameOf};

const STATUSES: [(&str, &str); 3] = [
    ("pending", "Pending"),
    ("delivered", "Delivered"),
    ("dead_letter", "Dead letter"),
];
const TOLD: &[(&str, &str)] = &[(
    "replayed",
    "The dead letter is pending again; its attempts begin anew.",
)];

/// Its paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/deliveries", get(deliveries))
        .route("/deliveries/{id}", get(show))
        .route("/dead-letters", get(dead_letters))
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct ListPage {
    frame: Frame,
    path: &'static str,
    is_dead: bool,
    planes: Vec<PlaneChoice>,
    plane_id: String,
    status: String,
    flow_id: String,
    target_id: String,
    statuses: [(&'static str, &'static str); 3],
    flows: Vec<Choice>,
    targets: Vec<Choice>,
    /// Something beside the plane was chosen.
    narrowed: bool,
    /// The address's parameters, with their question mark.
    query: String,
    /// Why there is no list.
    refusal: Option<Refusal>,
    rows: Vec<Row>,
    pager: Pager,
    may_replay: bool,
}

/// A delivery as a page shows it.
struct Row {
    id: String,
    event_id: String,
    status: &'static str,
    pill: Pill,
    code: String,
    meaning: String,
    remedy: &'static str,
    flow_id: String,
    flow: String,
    target_id: String,
    target: String,
    endpoint_id: String,
    attempts: u32,
    accepted: Told,
    settled: Told,
    next: Told,
    body: String,
    replays: u32,
    replayed: Told,
}

async fn deliveries(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    list(&control, visitor, asked, false).await
}

async fn dead_letters(
    State(control): Shared,
    visitor: Visitor,
    Question(asked): Question,
) -> Answer {
    list(&control, visitor, asked, true).await
}

async fn list(control: &Arc<Control>, visitor: Visitor, asked: Posted, is_dead: bool) -> Answer {
    let caller = &visitor.principal;
    caller.may(Operation::DeliveryRead)?;
    let (path, nav, title) = if is_dead {
        ("/dead-letters", Nav::DeadLetters, "Dead letters")
    } else {
        ("/deliveries", Nav::Deliveries, "Deliveries")
    };
    let planes = planes(control, caller, "", asked.get("plane_id")).await?;
    let plane_id = chosen(&planes, asked.get("plane_id"));
    let frame = Frame::new(control, visitor.clone(), nav, title).await?;
    let (listed, refusal) = match ask(control, caller, &plane_id, &asked, is_dead).await {
        Ok(listed) => (listed, None),
        Err(problem) => (nothing(), Some(Refusal::of_plane(problem)?)),
    };
    let next_cursor = listed.next_cursor.clone();
    let rows = rows(control, caller, listed.items, frame.now).await?;
    let plane = plane_id.parse().ok();
    let flows = control.flow_choices(caller, plane).await?;
    let targets = control.target_choices(caller, plane, "").await?;
    let pairs = [
        ("plane_id", plane_id.as_str()),
        ("status", asked.get("status")),
        ("flow_id", asked.get("flow_id")),
        ("target_id", asked.get("target_id")),
    ];
    let pager = Pager::new(path, &pairs, asked.some("cursor"), next_cursor.as_deref());
    let query = Pager::new("", &pairs, Some("again"), None).first;
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let shown = ListPage {
        frame: frame.told(asked.some("done"), TOLD),
        path,
        is_dead,
        planes,
        status: asked.get("status").to_owned(),
        flow_id: asked.get("flow_id").to_owned(),
        target_id: asked.get("target_id").to_owned(),
        statuses: STATUSES,
        flows,
        targets,
        narrowed: pairs[1..].iter().any(|(_, value)| !value.is_empty()),
        query: query.unwrap_or_default(),
        refusal,
        rows,
        pager,
        may_replay: visitor.can(Operation::Replay),
        plane_id,
    };
    page_with(status.unwrap_or_default(), &shown)
}

fn nothing() -> Listed<DeliveryView> {
    Listed {
        items: Vec::new(),
        next_cursor: None,
    }
}

/// The plane that is asked: the one named, else the first edge plane that is connected, for most
/// deliveries are there, else any that is connected, else the first.
fn chosen(planes: &[PlaneChoice], named: &str) -> String {
    if !named.is_empty() {
        return named.to_owned();
    }
    let mut connected = planes.iter().filter(|plane| plane.connected);
    let edge = connected.clone().find(|plane| plane.choice.place == "edge");
    let first = edge.or_else(|| connected.next());
    first
        .or_else(|| planes.first())
        .map(|plane| plane.choice.id.clone())
        .unwrap_or_default()
}

async fn ask(
    control: &Control,
    caller: &Principal,
    plane_id: &str,
    asked: &Posted,
    is_dead: bool,
) -> Result<Listed<DeliveryView>, Problem> {
    if plane_id.is_empty() {
        return Ok(nothing());
    }
    let some = |name: &str| asked.some(name).map(str::to_owned);
    if is_dead {
        let question = DeadLettersAsked {
            plane_id: Some(plane_id.to_owned()),
            flow_id: some("flow_id"),
            target_id: some("target_id"),
            limit: Some(ROWS),
            cursor: some("cursor"),
        };
        return control.list_dead_letters(caller, question).await;
    }
    let question = DeliveriesAsked {
        plane_id: Some(plane_id.to_owned()),
        status: some("status"),
        flow_id: some("flow_id"),
        target_id: some("target_id"),
        limit: Some(ROWS),
        cursor: some("cursor"),
    };
    control.list_deliveries(caller, question).await
}

async fn rows(
    control: &Control,
    caller: &Principal,
    items: Vec<DeliveryView>,
    now: Moment,
) -> Result<Vec<Row>, Problem> {
    let ids = items.iter().map(|item| item.flow_id.as_str());
    let flows = control.names(caller, NameOf::Flows, ids).await?;
    let ids = items.iter().map(|item| item.target_id.as_str());
    let targets = control.names(caller, NameOf::Targets, ids).await?;
    let rows = items
        .into_iter()
        .map(|item| row(item, &flows, &targets, now));
    Ok(rows.collect())
}

fn row(item: DeliveryView, flows: &Names, targets: &Names, now: Moment) -> Row {
    let code = item.code.clone().unwrap_or_default();
    let known = codes::explained(Family::Delivery, &code);
    Row {
        pill: match item.status {
            "delivered" => Pill::new(Tone::Ok, "Delivered"),
            "dead_letter" => Pill::new(Tone::Bad, "Dead letter"),
            _ => Pill::new(Tone::Idle, "Pending"),
        },
        meaning: known.map_or_else(String::new, |known| sentence(known.meaning)),
        remedy: known.map_or("", |known| known.remedy),
        code,
        flow: flows.of(&item.flow_id).to_owned(),
        target: targets.of(&item.target_id).to_owned(),
        accepted: Told::at(item.accepted_at.as_deref(), now),
        settled: Told::at(item.settled_at.as_deref(), now),
        next: Told::ago(item.next_attempt_at.as_deref(), now),
        body: bytes(item.body_bytes),
        replays: item.replays,
        replayed: Told::at(item.replayed_at.as_deref(), now),
        id: item.id,
        event_id: item.event_id,
        status: item.status,
        flow_id: item.flow_id,
        target_id: item.target_id,
        endpoint_id: item.endpoint_id,
        attempts: item.attempts,
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct ShowPage {
    frame: Frame,
    row: Row,
    plane_id: String,
    plane: String,
    endpoint: String,
    attempts: Vec<AttemptRow>,
    /// Attempts that the history does not hold any more.
    missing: u32,
    may_replay: bool,
}

struct AttemptRow {
    number: u32,
    began: Told,
    took: String,
    answer: String,
    code: String,
    detail: String,
    remedy: String,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage {
    frame: Frame,
    refusal: Refusal,
    again: String,
    back: String,
}

async fn show(
    State(control): Shared,
    visitor: Visitor,
    Path(id): Path<String>,
    Question(asked): Question,
) -> Answer {
    let caller = &visitor.principal;
    let plane_id = asked.get("plane_id").to_owned();
    let item = match control.get_delivery(caller, &id, Some(&plane_id)).await {
        Ok(item) => item,
        Err(problem) => {
            let refusal = Refusal::of_delivery(problem)?;
            let frame = Frame::new(&control, visitor, Nav::Deliveries, id.clone()).await?;
            let back = Pager::new("/deliveries", &[("plane_id", &plane_id)], Some(""), None);
            let status = refusal.status;
            let page = RefusedPage {
                frame: frame.below("Deliveries", "/deliveries"),
                refusal,
                again: format!("/deliveries/{id}?plane_id={plane_id}"),
                back: back.first.unwrap_or_default(),
            };
            return page_with(status, &page);
        }
    };
    let endpoints = [item.endpoint_id.as_str()];
    let endpoints = control.names(caller, NameOf::Endpoints, endpoints).await?;
    let planes = [item.plane_id.as_str()];
    let planes = control.names(caller, NameOf::Planes, planes).await?;
    let frame = Frame::new(&control, visitor.clone(), Nav::Deliveries, id).await?;
    let attempts: Vec<_> = item.history.iter().map(|a| attempt(a, frame.now)).collect();
    let kept = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
    let (endpoint, plane) = (
        endpoints.of(&item.endpoint_id).to_owned(),
        planes.of(&item.plane_id).to_owned(),
    );
    let missing = item.attempts.saturating_sub(kept);
    let mut rows = rows(&control, caller, vec![item], frame.now).await?;
    let row = rows.pop().ok_or_else(|| Problem::not_found(""))?;
    page(&ShowPage {
        frame: frame.below("Deliveries", format!("/deliveries?plane_id={plane_id}")),
        row,
        plane_id,
        plane,
        endpoint,
        attempts,
        missing,
        may_replay: visitor.can(Operation::Replay),
    })
}

fn attempt(attempt: &AttemptView, now: Moment) -> AttemptRow {
    let code = attempt.code.clone().unwrap_or_default();
    let answer = attempt.status.map(|status| status.to_string());
    AttemptRow {
        number: attempt.number,
        began: Told::at(attempt.started_at.as_deref(), now),
        took: format!("{} ms", grouped(u64::from(attempt.duration_ms))),
        answer: answer.unwrap_or_else(|| "none".to_owned()),
        remedy: sentence(codes::remedy(&code)),
        code,
        detail: attempt.detail.clone().unwrap_or_default(),
    }
}

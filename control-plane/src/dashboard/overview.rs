//! The first page: how the planes are, what flows, what fails, what waits longest.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use tokio::time::Instant;

use super::chart::{Chart, Plot, Series};
use super::moment::{Moment, When};
use super::parts::{Pill, grouped};
use super::render::{Answer, Frame, Nav, page};
use super::status::STATES;
use super::visitor::Visitor;
use crate::control::Control;
use crate::manage::{FailingView, OverviewView, PlaneCountsView, PointView, SeriesView};
use crate::permissions::Operation;

/// Milliseconds after a minute's end until every plane has told what it counted in it.
const SETTLED: u64 = 20_000;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    cells: Vec<Cell>,
    chart: Chart,
    waiting: String,
    oldest: Option<Oldest>,
    failing: Vec<Failing>,
    dead_lettered: String,
    accepted: String,
    delivered: String,
    no_planes: bool,
    may_add: bool,
}

/// A target that is not well.
struct Failing {
    name: String,
    path: String,
    words: &'static str,
    detail: String,
    since: Option<When>,
    plane: String,
}

/// How many planes are in a state.
struct Cell {
    pill: Pill,
    count: String,
    path: String,
    /// What it means, a few words.
    meaning: &'static str,
}

/// The event that waits longest.
struct Oldest {
    at: When,
    plane: String,
    path: String,
    component: String,
}

/// `GET /`
pub(super) async fn show(State(control): State<Arc<Control>>, visitor: Visitor) -> Answer {
    let caller = &visitor.principal;
    caller.may(Operation::PlaneRead)?;
    let key = (caller.tenant, caller.operator);
    let glance = control
        .kept
        .overviews
        .get(key, Instant::now(), control.overview(caller));
    let glance = glance.await?;
    let may_add = visitor.can(Operation::PlaneWrite);
    let frame = Frame::new(&control, visitor, Nav::Overview, "Overview").await?;
    let now = frame.now;
    let total =
        |count: fn(&PointView) -> u64| grouped(glance.last_hour.points.iter().map(count).sum());
    page(&Overview {
        cells: cells(&glance.planes, key.1),
        chart: chart("throughput", &glance.last_hour, now),
        waiting: grouped(glance.waiting),
        oldest: oldest(&glance, now),
        failing: failing(&glance, now),
        dead_lettered: grouped(glance.dead_lettered_day),
        accepted: total(|point| point.accepted),
        delivered: total(|point| point.delivered),
        no_planes: is_none(&glance.planes),
        may_add,
        frame,
    })
}

fn is_none(counts: &PlaneCountsView) -> bool {
    *counts == PlaneCountsView::default()
}

/// A cell for each state that matters: retired planes are history.
fn cells(counts: &PlaneCountsView, operator: bool) -> Vec<Cell> {
    // The operator's data planes are counted too, and listed then.
    let kind = if operator { "&kind=all" } else { "" };
    let cell = |(word, pill): (&str, Pill)| {
        let (count, meaning) = match word {
            "connected" => (counts.connected, "all is well"),
            "degraded" => (counts.degraded, "connected, something is unwell"),
            "not_connected" => (counts.not_connected, "no session; they go on delivering"),
            "never_enrolled" => (counts.never_enrolled, "wait for their install command"),
            _ => return None,
        };
        Some(Cell {
            pill,
            count: grouped(count),
            path: format!("/planes?status={word}{kind}"),
            meaning,
        })
    };
    STATES.into_iter().filter_map(cell).collect()
}

fn oldest(glance: &OverviewView, now: Moment) -> Option<Oldest> {
    let oldest = glance.oldest.as_ref()?;
    Some(Oldest {
        at: Moment::parse(&oldest.at)?.ago(now),
        plane: oldest.plane_name.clone(),
        path: format!("/planes/{}", oldest.plane_id),
        component: format!("zen-{}", oldest.component),
    })
}

/// The targets that are not well, as many as one looks at.
fn failing(glance: &OverviewView, now: Moment) -> Vec<Failing> {
    let told = |failing: &FailingView| Failing {
        name: failing
            .target
            .name
            .clone()
            .unwrap_or_else(|| failing.target.target_id.clone()),
        path: format!("/targets/{}", failing.target.target_id),
        words: match failing.target.state {
            "paused" => "paused: it answered 410",
            "open" => "left alone for a while",
            "half_open" => "being tried again",
            _ => "fails",
        },
        detail: failing.target.detail.clone().unwrap_or_default(),
        since: failing
            .target
            .since
            .as_deref()
            .and_then(Moment::parse)
            .map(|at| at.ago(now)),
        plane: failing.plane_name.clone(),
    };
    glance.failing.iter().map(told).collect()
}

/// Events and deliveries per second over time. What is not told in full yet is left out: it would
/// look like a fall.
pub(super) fn chart(id: &'static str, counted: &SeriesView, now: Moment) -> Chart {
    let step_ms = counted.step_seconds * 1000;
    let whole = |point: &&PointView| {
        Moment::parse(&point.at).is_some_and(|at| at.0 + step_ms + SETTLED <= now.0)
    };
    let points: Vec<_> = counted.points.iter().filter(whole).collect();
    let rates = |count: fn(&PointView) -> u64| {
        let per_second = |point: &&PointView| count(point) as f64 / counted.step_seconds as f64;
        points.iter().map(|point| Some(per_second(point))).collect()
    };
    Plot {
        id,
        title: "Events accepted and delivered per second, last hour",
        from: Moment::parse(&counted.from).unwrap_or(now),
        step_ms,
        series: vec![
            Series {
                name: "Delivered",
                values: rates(|point| point.delivered),
            },
            Series {
                name: "Accepted",
                values: rates(|point| point.accepted),
            },
        ],
    }
    .draw()
}

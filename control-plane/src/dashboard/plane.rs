//! One plane: what it is like, how it was enrolled, what happened to it, what flows through it.

mod change;
mod enrolment;
mod keys;
mod refusals;
mod way;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;
use zen_identity::{chain_from_pem, not_after};
use zen_proto::ids::PlaneId;

pub(super) use self::change::{change, retire, show_change, show_retire};
use self::enrolment::{Step, Waiting};
use self::refusals::Refusal;
pub(super) use self::way::Probes;
use super::chart::Chart;
use super::moment::{Moment, When};
use super::parts::{Pill, Tone, grouped};
use super::render::{Answer, Frame, Nav, page};
use super::status::{self, Told};
use super::visitor::Visitor;
use crate::control::Control;
use crate::manage::{ComponentView, EventView, PlaneView, SeriesAsked};
use crate::permissions::Operation;
use crate::problem::Problem;
use crate::rest::PathId;

/// Entries of the log that are shown without unfolding it.
const RECENT: usize = 8;

/// An end this far away, in milliseconds, is told by its day alone.
const FAR: u64 = 3 * 24 * 60 * 60 * 1000;

#[derive(Deserialize)]
pub(super) struct Asked {
    told: Option<String>,
}

#[derive(Template)]
#[template(path = "plane.html")]
struct Page {
    frame: Frame,
    plane: PlaneView,
    told: Told,
    refusals: Vec<Refusal>,
    steps: Vec<Step>,
    /// An install command that is newer than the enrolment and still good.
    open_bundle: Option<When>,
    waiting: Waiting,
    way: way::Looked,
    chart: Chart,
    components: Vec<Component>,
    certificates: Vec<Certificate>,
    lock: Option<keys::Keys>,
    data_plane: Option<String>,
    recent: Vec<Entry>,
    earlier: Vec<Entry>,
    may: May,
}

/// What is offered.
struct May {
    change: bool,
    install: bool,
    retire: bool,
}

/// A component as it is shown.
struct Component {
    name: String,
    instance: String,
    version: String,
    pill: Pill,
    pending: Vec<String>,
    /// Peers that it does not reach.
    links: Vec<String>,
    revision: u64,
    waiting: String,
}

/// A certificate and its end.
struct Certificate {
    name: String,
    ends: When,
    left: When,
    tone: Pill,
}

/// An entry of the plane's log.
struct Entry {
    at: When,
    what: &'static str,
    times: u64,
    last: Option<When>,
    code: Option<String>,
    detail: String,
    from: Option<String>,
}

/// `GET /planes/{id}`
pub(super) async fn show(
    State(control): State<Arc<Control>>,
    visitor: Visitor,
    PathId(id): PathId<PlaneId>,
    Query(asked): Query<Asked>,
) -> Answer {
    let plane = control.get_plane(&visitor.principal, id).await?;
    let now = Moment(control.stage.clock.unix_ms());
    let told = status::told(&plane, now);
    let timeline = plane.timeline.clone().unwrap_or_default();
    let ca_ends = ca_ends(&control, id).await?;
    let open = control.store.open_bundle(id, now.0).await?;
    let enrolment = enrolment::steps(&plane, &timeline, ca_ends, now);
    let refusals = refusals::of(&timeline, now);
    let mut log: Vec<Entry> = timeline
        .iter()
        .rev()
        .map(|event| entry(event, now))
        .collect();
    let earlier = log.split_off(log.len().min(RECENT));
    let nav = if plane.kind == "edge" {
        Nav::Planes
    } else {
        Nav::DataPlanes
    };
    let (above, path) = above(plane.kind);
    let may = may(&visitor, &plane);
    let names = control
        .store
        .target_names(id, visitor.principal.tenant)
        .await?;
    let probes = &control.kept.probes;
    let way = probes.look(&control, &visitor.principal, &plane, &names, now);
    let hour = SeriesAsked::default();
    let counted = control.plane_series(&visitor.principal, id, &hour).await?;
    let data_plane = data_plane_name(&control, &plane).await?;
    let frame = Frame::new(&control, visitor, nav, plane.name.clone())
        .await?
        .below(above, path)
        .told(asked.told.as_deref(), &TOLD);
    page(&Page {
        frame,
        told,
        open_bundle: open
            .filter(|_| enrolment.redeemed)
            .map(|bundle| Moment(bundle.expires_at).ago(now)),
        waiting: enrolment::waiting(&plane, &timeline, &refusals),
        refusals,
        steps: enrolment.steps,
        way,
        chart: super::overview::chart("throughput", &counted, now),
        components: plane.components.iter().map(component).collect(),
        certificates: certificates(&plane, ca_ends, now),
        lock: plane.lock.as_ref().map(keys::of),
        data_plane,
        recent: log,
        earlier,
        may,
        plane,
    })
}

const TOLD: [(&str, &str); 2] = [
    (
        "created",
        "The plane is registered. Get its install command and run it where the plane shall live.",
    ),
    ("changed", "The change is saved."),
];

/// The list that a plane of the kind stands in.
pub(super) fn above(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "data" => ("Data planes", "/data-planes"),
        _ => ("Edge planes", "/planes"),
    }
}

fn may(visitor: &Visitor, plane: &PlaneView) -> May {
    let write = match plane.kind {
        "data" => Operation::DataPlaneWrite,
        _ => Operation::PlaneWrite,
    };
    let serves = plane.status != "retired";
    May {
        change: serves && visitor.can(write),
        install: serves && visitor.can(Operation::BundleIssue),
        retire: serves && visitor.can(write) && visitor.can(Operation::PlaneRetire),
    }
}

/// When the plane CA that was issued last ends.
async fn ca_ends(control: &Control, id: PlaneId) -> Result<Option<Moment>, Problem> {
    let Some(pem) = control.store.newest_chain(id).await? else {
        return Ok(None);
    };
    let chain = chain_from_pem(&pem).ok();
    let ends = chain.and_then(|chain| not_after(chain.first()?).ok());
    Ok(ends.map(|ends| Moment(zen_chassis::clock::to_unix_ms(ends))))
}

async fn data_plane_name(control: &Control, plane: &PlaneView) -> Result<Option<String>, Problem> {
    let Some(id) = plane
        .data_plane_id
        .as_deref()
        .and_then(|id| id.parse().ok())
    else {
        return Ok(None);
    };
    let found = control.store.any_plane(id).await?;
    Ok(found.map(|plane| plane.name))
}

fn component(said: &ComponentView) -> Component {
    let pill = if said.ready {
        Pill::new(Tone::Ok, "ready")
    } else {
        Pill::new(Tone::Warn, "not ready")
    };
    Component {
        name: format!("zen-{}", said.component),
        instance: said.instance.clone(),
        version: said.version.clone(),
        pill,
        pending: said.pending.clone(),
        links: said
            .links
            .iter()
            .map(|link| {
                format!(
                    "does not reach {} {}: {}",
                    link.to, link.address, link.detail
                )
            })
            .collect(),
        revision: said.applied_revision,
        waiting: grouped(said.queue_depth),
    }
}

/// The plane CA, and the leaf of each component that says when it ends.
fn certificates(plane: &PlaneView, ca: Option<Moment>, now: Moment) -> Vec<Certificate> {
    let leaf = |said: &ComponentView| {
        let ends = Moment::parse(said.certificate_not_after.as_deref()?)?;
        Some((format!("zen-{} {}", said.component, said.instance), ends))
    };
    let ca = ca.map(|ends| ("Plane CA".to_owned(), ends));
    let all = ca
        .into_iter()
        .chain(plane.components.iter().filter_map(leaf));
    all.map(|(name, ends)| Certificate {
        name,
        ends: if ends.0.saturating_sub(now.0) > FAR {
            ends.day()
        } else {
            ends.at(now)
        },
        left: ends.ago(now),
        tone: match ends > now {
            true => Pill::new(Tone::Ok, "valid"),
            false => Pill::new(Tone::Bad, "expired"),
        },
    })
    .collect()
}

fn entry(event: &EventView, now: Moment) -> Entry {
    let at = Moment::parse(&event.at).unwrap_or(now);
    let last = Moment::parse(&event.last_at).filter(|_| event.times > 1);
    Entry {
        at: at.at(now),
        what: words(event.kind),
        times: event.times,
        last: last.map(|at| at.at(now)),
        code: event.code.clone(),
        detail: event.detail.clone(),
        from: event.remote_address.clone(),
    }
}

/// What happened, in a person's words.
fn words(kind: &str) -> &'static str {
    match kind {
        "bundle_issued" => "Bundle issued",
        "bundle_redeemed" => "Bundle redeemed",
        "refused" => "Refused",
        "certificate_issued" => "Certificate issued",
        "certificate_renewed" => "Certificate renewed",
        "first_heartbeat" => "First heartbeat",
        "first_event" => "First event",
        "connected" => "Connected",
        "disconnected" => "Disconnected",
        "snapshot_rejected" => "Configuration rejected",
        "retired" => "Retired",
        _ => "Noted",
    }
}

impl Page {
    /// The log in two parts: what is shown at once, and what unfolds.
    fn log(&self) -> Vec<(usize, &[Entry])> {
        let parts = [self.recent.as_slice(), self.earlier.as_slice()];
        let parts = parts.into_iter().enumerate();
        parts.filter(|(_, entries)| !entries.is_empty()).collect()
    }
}

//! A plane as the API shows it: what is kept of it, together with what its session says.

use serde::Serialize;
use utoipa::ToSchema;
use zen_proto::component::Component;
use zen_proto::session::v1::{ComponentStatus, LinkHealth};

use super::lock_view::LockView;
use crate::control::Control;
use crate::lock;
use crate::manage::health::{self, UnwellView};
use crate::manage::shown_time;
use crate::plane::{self, Plane, Report, Status};
use crate::problem::Problem;
use crate::store::{Event, Scope, Total};

/// A plane as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlaneView {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) data_plane_id: Option<String>,
    pub(crate) status: &'static str,
    pub(crate) status_detail: String,
    pub(crate) created_at: String,
    pub(crate) enrolled_at: Option<String>,
    pub(crate) retired_at: Option<String>,
    pub(crate) last_heartbeat_at: Option<String>,
    pub(crate) agent_version: Option<String>,
    pub(crate) published_revision: u64,
    pub(crate) applied_revision: u64,
    pub(crate) ingest_url: Option<String>,
    pub(crate) components: Vec<ComponentView>,
    /// Targets that are not well, the worst first.
    pub(crate) targets: Vec<UnwellView>,
    /// What the plane's zen-lock says of its keys and secrets; none if it runs none.
    pub(crate) lock: Option<LockView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counters: Option<Vec<CountersView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeline: Option<Vec<EventView>>,
    pub(crate) alerts: Vec<EventView>,
    /// Counts the changes that people made; the `ETag`.
    pub(crate) version: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComponentView {
    pub(crate) component: String,
    pub(crate) instance: String,
    pub(crate) version: String,
    pub(crate) ready: bool,
    /// Why it is not ready.
    pub(crate) pending: Vec<String>,
    /// Peers that it does not reach.
    pub(crate) links: Vec<PlaneLinkView>,
    pub(crate) applied_revision: u64,
    pub(crate) advertised_address: Option<String>,
    pub(crate) queue_depth: u64,
    pub(crate) oldest_pending_at: Option<String>,
    pub(crate) certificate_not_after: Option<String>,
}

/// A peer that a component does not reach.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlaneLinkView {
    pub(crate) to: String,
    pub(crate) address: String,
    pub(crate) since: Option<String>,
    pub(crate) detail: String,
}

impl From<LinkHealth> for PlaneLinkView {
    fn from(said: LinkHealth) -> Self {
        Self {
            to: said.to,
            address: said.address,
            since: (said.since_ms > 0).then(|| shown_time(said.since_ms)),
            detail: said.detail,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountersView {
    pub(crate) flow_id: Option<String>,
    pub(crate) endpoint_id: Option<String>,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) dispatched: u64,
    pub(crate) delivered: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) duplicates: u64,
    pub(crate) expired: u64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    pub(crate) at: String,
    /// When the same happened last, and how often.
    pub(crate) last_at: String,
    pub(crate) times: u64,
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    pub(crate) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_fingerprint: Option<String>,
}

/// A plane with its status, as it stands at this moment.
pub(in crate::manage) struct Seen {
    pub(in crate::manage) plane: Plane,
    pub(in crate::manage) status: Status,
    status_detail: String,
    published_revision: u64,
    pub(in crate::manage) report: Report,
}

/// What is shown of a plane beside itself.
struct Beside {
    ingest_url: Option<String>,
    alerts: Vec<Event>,
    counters: Option<Vec<Total>>,
    timeline: Option<Vec<Event>>,
}

impl Control {
    /// One plane with its live state, timeline and counters.
    pub(super) async fn show_plane(&self, plane: Plane) -> Result<PlaneView, Problem> {
        let id = plane.id;
        let ingesters = self.store.addresses(id, Component::Ingester).await?;
        let beside = Beside {
            ingest_url: ingesters.into_values().next(),
            alerts: self.store.alerts(id).await?,
            counters: Some(self.store.totals(id).await?),
            timeline: Some(self.store.events(id).await?),
        };
        let published = self.store.published_revision(id).await?;
        Ok(view(self.judge(plane, published), beside))
    }

    /// Judges the status of planes of the scope that follow each other.
    pub(in crate::manage) async fn judged(
        &self,
        scope: Scope,
        planes: Vec<Plane>,
    ) -> Result<Vec<Seen>, Problem> {
        let Some((first, last)) = planes.first().zip(planes.last()) else {
            return Ok(Vec::new());
        };
        let range = (first.id, last.id);
        let published = self.store.published_revisions(scope, range).await?;
        let revision = |plane: &Plane| published.get(&plane.id).copied().unwrap_or(0);
        let judge = |plane: Plane| {
            let published = revision(&plane);
            self.judge(plane, published)
        };
        Ok(planes.into_iter().map(judge).collect())
    }

    /// Planes of the scope with their live state, sorted by id; without timeline and counters.
    pub(super) async fn show_planes(
        &self,
        scope: Scope,
        seen: Vec<Seen>,
    ) -> Result<Vec<PlaneView>, Problem> {
        let Some((first, last)) = seen.first().zip(seen.last()) else {
            return Ok(Vec::new());
        };
        let range = (first.plane.id, last.plane.id);
        let mut urls = self.store.ingest_urls_of_planes(scope, range).await?;
        let mut alerts = self.store.alerts_of_planes(scope, range).await?;
        let shown = seen.into_iter().map(|seen| {
            let beside = Beside {
                ingest_url: urls.remove(&seen.plane.id),
                alerts: alerts.remove(&seen.plane.id).unwrap_or_default(),
                counters: None,
                timeline: None,
            };
            view(seen, beside)
        });
        Ok(shown.collect())
    }

    fn judge(&self, plane: Plane, published_revision: u64) -> Seen {
        let live = self.live.look(plane.id);
        let heard = live
            .as_ref()
            .and_then(|(_, report)| report.last_heartbeat_at);
        let lost = zen_chassis::clock::millis(self.times.heartbeat_lost);
        let recent = heard.is_some_and(|at| self.stage.clock.unix_ms().saturating_sub(at) <= lost);
        let connected = recent && live.as_ref().is_some_and(|(open, _)| *open);
        let report = live.map(|(_, report)| report);
        let (status, status_detail) =
            plane::status(&plane, connected, report.as_ref(), published_revision);
        let report = report.unwrap_or_else(|| Report {
            last_heartbeat_at: plane.last_heartbeat_at,
            agent_version: plane.agent_version.clone().unwrap_or_default(),
            applied_revision: plane.applied_revision,
            ..Report::default()
        });
        Seen {
            plane,
            status,
            status_detail,
            published_revision,
            report,
        }
    }
}

fn view(seen: Seen, beside: Beside) -> PlaneView {
    let Seen {
        plane,
        status,
        status_detail,
        published_revision,
        report,
    } = seen;
    let targets = unwell(&report);
    let lock = lock::of(&report).map(LockView::from);
    let totals = beside.counters;
    let events = beside.timeline;
    PlaneView {
        id: plane.id.to_string(),
        tenant_id: plane.tenant.to_string(),
        name: plane.name,
        kind: plane.kind.as_str(),
        data_plane_id: plane.data_plane.map(|id| id.to_string()),
        status: status.as_str(),
        status_detail,
        created_at: shown_time(plane.created_at),
        enrolled_at: plane.enrolled_at.map(shown_time),
        retired_at: plane.retired_at.map(shown_time),
        last_heartbeat_at: report.last_heartbeat_at.map(shown_time),
        agent_version: Some(report.agent_version).filter(|version| !version.is_empty()),
        published_revision,
        applied_revision: report.applied_revision,
        ingest_url: beside.ingest_url,
        targets,
        lock,
        components: report.components.into_iter().map(component).collect(),
        counters: totals.map(|totals| totals.into_iter().map(totalled).collect()),
        alerts: beside.alerts.iter().map(happened).collect(),
        timeline: events.map(|events| events.iter().map(happened).collect()),
        version: plane.version,
    }
}

/// Targets of all egresses, each egress's worst first.
pub(in crate::manage) fn unwell(report: &Report) -> Vec<UnwellView> {
    let of_one = |said: &ComponentStatus| {
        let instance = said.instance.clone();
        let targets = said.targets.clone().into_iter();
        targets.map(move |health| health::unwell(&instance, health))
    };
    report.components.iter().flat_map(of_one).collect()
}

fn component(said: ComponentStatus) -> ComponentView {
    let time = |unix_ms: u64| (unix_ms > 0).then(|| shown_time(unix_ms));
    ComponentView {
        component: said.component,
        instance: said.instance,
        version: said.version,
        ready: said.ready,
        pending: said.pending,
        links: said.links.into_iter().map(PlaneLinkView::from).collect(),
        applied_revision: said.applied_revision,
        advertised_address: Some(said.advertised_address).filter(|address| !address.is_empty()),
        queue_depth: said.queue_depth,
        oldest_pending_at: time(said.oldest_pending_ms),
        certificate_not_after: time(said.certificate_not_after_ms),
    }
}

fn totalled(total: Total) -> CountersView {
    let counts = total.counts;
    CountersView {
        flow_id: Some(total.flow_id).filter(|id| !id.is_empty()),
        endpoint_id: Some(total.endpoint_id).filter(|id| !id.is_empty()),
        accepted: counts.accepted,
        refused: counts.refused,
        dispatched: counts.dispatched,
        delivered: counts.delivered,
        failed_attempts: counts.failed_attempts,
        dead_lettered: counts.dead_lettered,
        duplicates: counts.duplicates,
        expired: counts.expired,
    }
}

fn happened(event: &Event) -> EventView {
    EventView {
        at: shown_time(event.at),
        last_at: shown_time(event.last_at),
        times: event.times,
        kind: event.kind.as_str(),
        code: event.code.clone(),
        detail: event.detail.clone(),
        remote_address: event.remote_address.clone(),
        key_fingerprint: event.key_fingerprint.clone(),
    }
}

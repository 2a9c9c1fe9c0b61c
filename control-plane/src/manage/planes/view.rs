//! A plane as the API shows it: what is kept of it, together with what its session says.

use serde::Serialize;
use zen_proto::component::Component;
use zen_proto::session::v1::ComponentStatus;

use crate::control::Control;
use crate::manage::shown_time;
use crate::plane::{self, Plane, Report};
use crate::problem::Problem;
use crate::store::{Event, Total};

/// A plane as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct PlaneView {
    id: String,
    tenant_id: String,
    name: String,
    kind: &'static str,
    data_plane_id: Option<String>,
    status: &'static str,
    status_detail: String,
    created_at: String,
    enrolled_at: Option<String>,
    retired_at: Option<String>,
    last_heartbeat_at: Option<String>,
    agent_version: Option<String>,
    published_revision: u64,
    applied_revision: u64,
    ingest_url: Option<String>,
    components: Vec<ComponentView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counters: Option<Vec<CountersView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<EventView>>,
    alerts: Vec<EventView>,
}

#[derive(Debug, Serialize)]
struct ComponentView {
    component: String,
    instance: String,
    version: String,
    ready: bool,
    pending: Vec<String>,
    applied_revision: u64,
    advertised_address: Option<String>,
    queue_depth: u64,
    oldest_pending_at: Option<String>,
    certificate_not_after: Option<String>,
}

#[derive(Debug, Serialize)]
struct CountersView {
    flow_id: Option<String>,
    endpoint_id: Option<String>,
    accepted: u64,
    refused: u64,
    dispatched: u64,
    delivered: u64,
    failed_attempts: u64,
    dead_lettered: u64,
    duplicates: u64,
    expired: u64,
}

#[derive(Clone, Debug, Serialize)]
struct EventView {
    at: String,
    /// When the same happened last, and how often.
    last_at: String,
    times: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_fingerprint: Option<String>,
}

impl Control {
    /// The plane with its live state; with timeline and counters if it is shown whole.
    pub(super) async fn show_plane(&self, plane: Plane, whole: bool) -> Result<PlaneView, Problem> {
        let published_revision = self.store.published_revision(plane.id).await?;
        let ingesters = self.store.addresses(plane.id, Component::Ingester).await?;
        let alerts = self.store.alerts(plane.id).await?;
        let events = if whole {
            Some(self.store.events(plane.id).await?)
        } else {
            None
        };
        let counters = if whole {
            Some(self.store.totals(plane.id).await?)
        } else {
            None
        };
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
        Ok(PlaneView {
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
            ingest_url: ingesters.into_values().next(),
            components: report.components.into_iter().map(component).collect(),
            counters: counters.map(|totals| totals.into_iter().map(totalled).collect()),
            alerts: alerts.iter().map(happened).collect(),
            timeline: events.map(|events| events.iter().map(happened).collect()),
        })
    }
}

fn component(said: ComponentStatus) -> ComponentView {
    let time = |unix_ms: u64| (unix_ms > 0).then(|| shown_time(unix_ms));
    ComponentView {
        component: said.component,
        instance: said.instance,
        version: said.version,
        ready: said.ready,
        pending: said.pending,
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

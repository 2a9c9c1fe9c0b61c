//! Everything at a glance: how the planes are, what goes through them, and what waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Serialize;
use utoipa::ToSchema;
use zen_proto::ids::{PlaneId, TenantId};

use super::health::UnwellView;
use super::planes::Seen;
use super::series::{SeriesAsked, SeriesView};
use super::shown_time;
use crate::control::Control;
use crate::permissions::Operation;
use crate::plane::Status;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Named, Wanted};

/// Planes looked at, at the most.
const PLANES: u32 = 100_000;
/// Targets shown that are not well.
const FAILING: usize = 50;

/// Everything at a glance.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OverviewView {
    pub(crate) at: String,
    pub(crate) planes: PlaneCountsView,
    /// Events and deliveries that wait in the planes.
    pub(crate) waiting: u64,
    /// The event that waits longest.
    pub(crate) oldest: Option<OldestView>,
    /// Targets that are not well, the worst of each plane first; at most 50.
    pub(crate) failing: Vec<FailingView>,
    /// What came to pass in the last hour, by minute.
    pub(crate) last_hour: SeriesView,
    /// Deliveries given up in the last 24 hours.
    pub(crate) dead_lettered_day: u64,
}

/// How many planes are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PlaneCountsView {
    pub(crate) connected: u64,
    pub(crate) degraded: u64,
    pub(crate) not_connected: u64,
    pub(crate) never_enrolled: u64,
    pub(crate) retired: u64,
}

/// The event that waits longest, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct OldestView {
    pub(crate) at: String,
    pub(crate) plane_id: String,
    pub(crate) plane_name: String,
    pub(crate) component: String,
}

/// A target that is not well, and its plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FailingView {
    pub(crate) plane_id: String,
    pub(crate) plane_name: String,
    pub(crate) target: UnwellView,
}

impl Control {
    /// Everything at a glance.
    pub(crate) async fn overview(&self, caller: &Principal) -> Result<OverviewView, Problem> {
        caller.may(Operation::PlaneRead)?;
        let scope = self.scope(caller);
        let wanted = Wanted {
            limit: PLANES,
            after: String::new(),
            named: Named::default(),
        };
        let page = self.store.planes(scope, None, &wanted).await?;
        let seen = self.judged(scope, page.items).await?;
        let last_hour = self.tenant_series(caller, &SeriesAsked::default()).await?;
        let day = SeriesAsked {
            from: Some(shown_time(
                self.stage
                    .clock
                    .unix_ms()
                    .saturating_sub(24 * 60 * 60 * 1000),
            )),
            until: None,
            step: Some(3600),
        };
        let day = self.tenant_series(caller, &day).await?;
        Ok(OverviewView {
            at: shown_time(self.stage.clock.unix_ms()),
            planes: counted(&seen),
            waiting: waiting(&seen),
            oldest: oldest(&seen),
            failing: self.named(failing(&seen), caller.tenant).await?,
            last_hour,
            dead_lettered_day: day.points.iter().map(|point| point.dead_lettered).sum(),
        })
    }
}

impl Control {
    /// The targets with their names. Those of other tenants, which a data plane has too, are left
    /// out: they concern nobody here.
    async fn named(
        &self,
        failing: Vec<(PlaneId, FailingView)>,
        tenant: TenantId,
    ) -> Result<Vec<FailingView>, Problem> {
        let mut names = HashMap::new();
        let mut found = Vec::new();
        for (plane, mut one) in failing {
            if let Entry::Vacant(place) = names.entry(plane) {
                place.insert(self.store.target_names(plane, tenant).await?);
            }
            let name = names
                .get(&plane)
                .and_then(|of| of.get(&one.target.target_id));
            if let Some(name) = name {
                one.target.name = Some(name.clone());
                found.push(one);
            }
        }
        Ok(found)
    }
}

fn counted(seen: &[Seen]) -> PlaneCountsView {
    let mut counts = PlaneCountsView::default();
    for plane in seen {
        *match plane.status {
            Status::Connected => &mut counts.connected,
            Status::Degraded => &mut counts.degraded,
            Status::NotConnected => &mut counts.not_connected,
            Status::NeverEnrolled => &mut counts.never_enrolled,
            Status::Retired => &mut counts.retired,
        } += 1;
    }
    counts
}

/// What a plane said last still waits there if it is not connected now.
fn waiting(seen: &[Seen]) -> u64 {
    seen.iter()
        .filter(|seen| seen.status != Status::Retired)
        .flat_map(|seen| &seen.report.components)
        .map(|component| component.queue_depth)
        .sum()
}

/// Only what connected planes say counts: of others it is not known how their targets are.
fn failing(seen: &[Seen]) -> Vec<(PlaneId, FailingView)> {
    let connected = |seen: &&Seen| matches!(seen.status, Status::Connected | Status::Degraded);
    let of_plane = |seen: &Seen| {
        let unwell = super::planes::unwell(&seen.report);
        let (plane_id, plane_name) = (seen.plane.id.to_string(), seen.plane.name.clone());
        let id = seen.plane.id;
        unwell.into_iter().map(move |target| {
            let one = FailingView {
                plane_id: plane_id.clone(),
                plane_name: plane_name.clone(),
                target,
            };
            (id, one)
        })
    };
    let all = seen.iter().filter(connected).flat_map(of_plane);
    all.take(FAILING).collect()
}

fn oldest(seen: &[Seen]) -> Option<OldestView> {
    let in_service = seen.iter().filter(|seen| seen.status != Status::Retired);
    let waiting = in_service.flat_map(|seen| {
        let components = seen.report.components.iter();
        components
            .filter(|component| component.oldest_pending_ms > 0)
            .map(move |component| (component.oldest_pending_ms, seen, component))
    });
    let (at, seen, component) = waiting.min_by_key(|(at, ..)| *at)?;
    Some(OldestView {
        at: shown_time(at),
        plane_id: seen.plane.id.to_string(),
        plane_name: seen.plane.name.clone(),
        component: component.component.clone(),
    })
}

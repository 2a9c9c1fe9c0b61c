//! `/v1/overview` and what was counted over time.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::PlaneId;

use super::extract::{Caller, PathId, Query};
use super::{Answer, Shared, shown};
use crate::control::Control;
use crate::manage::{OverviewView, SeriesAsked, SeriesView};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(get_overview))
        .routes(routes!(get_counters))
        .routes(routes!(get_plane_counters))
}

/// Show everything at a glance
///
/// Planes by state, what came to pass in the last hour, what waits and what waits longest.
#[utoipa::path(get, path = "/overview", tag = "overview",
    responses((status = 200, description = "The overview.", body = OverviewView)))]
async fn get_overview(State(control): Shared, Caller(caller): Caller) -> Answer {
    shown(control.overview(&caller).await?)
}

/// Show counters over time
///
/// What all planes have counted of the tenant's events, kept by minute for 30 days.
#[utoipa::path(get, path = "/counters", tag = "overview", params(SeriesAsked),
    responses((status = 200, description = "The series.", body = SeriesView)))]
async fn get_counters(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<SeriesAsked>,
) -> Answer {
    shown(control.tenant_series(&caller, &asked).await?)
}

/// Show a plane's counters over time
///
/// Kept by minute for 30 days. Of a data plane, all tenants' events together.
#[utoipa::path(get, path = "/planes/{id}/counters", tag = "planes", params(SeriesAsked),
    responses((status = 200, description = "The series.", body = SeriesView)))]
async fn get_plane_counters(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
    Query(asked): Query<SeriesAsked>,
) -> Answer {
    shown(control.plane_series(&caller, id, &asked).await?)
}

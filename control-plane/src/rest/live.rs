//! What is asked of a live plane while the caller waits: `/v1/deliveries/{id}`, `/v1/replays`, test
//! calls, test events and probes.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::{DeliveryId, EndpointId, PlaneId, TargetId};

use super::extract::{Body, Caller, PathId, Query};
use super::{Answer, Shared, shown};
use crate::control::Control;
use crate::manage::{
    DeliveryAsked, DeliveryView, ProbeView, ReplayBody, ReplayView, TestCallView, TestEventView,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(get_delivery))
        .routes(routes!(start_replay))
        .routes(routes!(test_target))
        .routes(routes!(test_endpoint))
        .routes(routes!(probe_plane))
}

/// Show a delivery
///
/// With its whole history, from the plane's own ledger.
#[utoipa::path(get, path = "/deliveries/{id}", tag = "deliveries",
    params(DeliveryAsked),
    responses((status = 200, description = "The delivery.", body = DeliveryView)))]
async fn get_delivery(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<DeliveryId>,
    Query(asked): Query<DeliveryAsked>,
) -> Answer {
    let plane_id = asked.plane_id.as_deref();
    shown(
        control
            .get_delivery(&caller, &id.to_string(), plane_id)
            .await?,
    )
}

/// Replay dead letters
///
/// Those of the ids, or all that the filter selects, oldest first, at the given rate. Their
/// attempts begin anew and their history stays. A dry run only counts.
#[utoipa::path(post, path = "/replays", tag = "deliveries", request_body = ReplayBody,
    responses((status = 200, description = "What was replayed.", body = ReplayView)))]
async fn start_replay(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    shown(control.start_replay(&caller, body).await?)
}

/// Test a target
///
/// The target's plane calls it once, by the way of a delivery, marked `x-zen-test: 1`. Nothing is
/// kept.
#[utoipa::path(post, path = "/targets/{id}/test", tag = "targets",
    responses((status = 200, description = "What came of it.", body = TestCallView)))]
async fn test_target(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<TargetId>,
) -> Answer {
    shown(control.test_target(&caller, id).await?)
}

/// Test an endpoint
///
/// The endpoint's plane makes a sample event, signs it with the endpoint's own secret, and takes
/// it in as a webhook: it goes to the endpoint's flows.
#[utoipa::path(post, path = "/endpoints/{id}/test", tag = "endpoints",
    responses((status = 200, description = "What the ingester made of it.", body = TestEventView)))]
async fn test_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<EndpointId>,
) -> Answer {
    shown(control.test_endpoint(&caller, id).await?)
}

/// Probe a plane
///
/// How long each way takes and what is wrong with it: to the agent, from component to component,
/// and to each target.
#[utoipa::path(post, path = "/planes/{id}/probe", tag = "planes",
    responses((status = 200, description = "Every way.", body = ProbeView)))]
async fn probe_plane(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    shown(control.probe_plane(&caller, id).await?)
}

//! `/v1/flows`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::FlowId;

use super::extract::{Body, Caller, PathId, Query};
use super::precondition::{IfMatch, IfNoneMatch};
use super::{Answer, Shared, Versioned, done, made, shown, tagged, unchanged};
use crate::control::Control;
use crate::flow::FlowBody;
use crate::manage::{FlowView, FlowsAsked, Listed};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_flows, create_flow))
        .routes(routes!(get_flow, change_flow, remove_flow))
}

impl Versioned for FlowView {
    fn version(&self) -> u64 {
        self.version
    }
}

/// List flows
///
/// The tenant's flows, oldest first.
#[utoipa::path(get, path = "/flows", tag = "flows", params(FlowsAsked),
    responses((status = 200, description = "One page.", body = Listed<FlowView>)))]
async fn list_flows(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<FlowsAsked>,
) -> Answer {
    shown(control.list_flows(&caller, &asked).await?)
}

/// Make a flow
///
/// From an endpoint to a target. If they live in two planes, one data plane must join these.
#[utoipa::path(post, path = "/flows", tag = "flows", request_body = FlowBody,
    responses((status = 201, description = "The flow.", body = FlowView)))]
async fn create_flow(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    let flow = control.create_flow(&caller, body).await?;
    made(&format!("/v1/flows/{}", flow.id), flow)
}

/// Show a flow
#[utoipa::path(get, path = "/flows/{id}", tag = "flows",
    params(("If-None-Match" = Option<String>, Header, description = "`ETag` of what you have.")),
    responses(
        (status = 200, description = "The flow.", body = FlowView),
        (status = 304, description = "You have this version."),
    ))]
async fn get_flow(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<FlowId>,
    known: IfNoneMatch,
) -> Answer {
    let flow = control.get_flow(&caller, id).await?;
    if known.has(flow.version) {
        return unchanged(&flow);
    }
    tagged(flow)
}

/// Change a flow
///
/// Everything but its two ends: make another flow for other ends.
#[utoipa::path(patch, path = "/flows/{id}", tag = "flows", request_body = FlowBody,
    responses((status = 200, description = "The flow as it is now.", body = FlowView)))]
async fn change_flow(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<FlowId>,
    IfMatch(expected): IfMatch,
    Body(patch): Body,
) -> Answer {
    tagged(control.change_flow(&caller, id, patch, &expected).await?)
}

/// Remove a flow
///
/// Nothing new goes through it from then on.
#[utoipa::path(delete, path = "/flows/{id}", tag = "flows",
    responses((status = 204, description = "It is gone.")))]
async fn remove_flow(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<FlowId>,
    IfMatch(expected): IfMatch,
) -> Answer {
    control.remove_flow(&caller, id, &expected).await?;
    done()
}

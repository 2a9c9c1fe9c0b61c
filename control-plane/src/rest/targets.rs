//! `/v1/targets`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::TargetId;

use super::extract::{Body, Caller, PathId, Query};
use super::precondition::IfMatch;
use super::{Answer, Shared, Versioned, done, made, shown, tagged};
use crate::control::Control;
use crate::manage::{Listed, TargetView, TargetsAsked};
use crate::target::TargetBody;

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_targets, create_target))
        .routes(routes!(get_target, change_target, remove_target))
}

impl Versioned for TargetView {
    fn version(&self) -> u64 {
        self.version
    }
}

/// List targets
///
/// The tenant's targets, oldest first.
#[utoipa::path(get, path = "/targets", tag = "targets", params(TargetsAsked),
    responses((status = 200, description = "One page.", body = Listed<TargetView>)))]
async fn list_targets(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<TargetsAsked>,
) -> Answer {
    shown(control.list_targets(&caller, &asked).await?)
}

/// Make a target
///
/// Where events go, as seen from its plane. Secrets are only named here.
#[utoipa::path(post, path = "/targets", tag = "targets", request_body = TargetBody,
    responses((status = 201, description = "The target.", body = TargetView)))]
async fn create_target(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    let target = control.create_target(&caller, body).await?;
    made(&format!("/v1/targets/{}", target.id), target)
}

/// Show a target
#[utoipa::path(get, path = "/targets/{id}", tag = "targets",
    responses((status = 200, description = "The target.", body = TargetView)))]
async fn get_target(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<TargetId>,
) -> Answer {
    tagged(control.get_target(&caller, id).await?)
}

/// Change a target
///
/// Everything but its plane, which stays.
#[utoipa::path(patch, path = "/targets/{id}", tag = "targets", request_body = TargetBody,
    responses((status = 200, description = "The target as it is now.", body = TargetView)))]
async fn change_target(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<TargetId>,
    IfMatch(expected): IfMatch,
    Body(patch): Body,
) -> Answer {
    tagged(control.change_target(&caller, id, patch, &expected).await?)
}

/// Remove a target
///
/// One that an enabled flow uses stays.
#[utoipa::path(delete, path = "/targets/{id}", tag = "targets",
    responses((status = 204, description = "It is gone.")))]
async fn remove_target(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<TargetId>,
    IfMatch(expected): IfMatch,
) -> Answer {
    control.remove_target(&caller, id, &expected).await?;
    done()
}

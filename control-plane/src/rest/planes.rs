//! `/v1/planes`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::PlaneId;

use super::extract::{Body, Caller, PathId, Query};
use super::precondition::IfMatch;
use super::{Answer, Shared, Versioned, done, made, shown, tagged};
use crate::control::Control;
use crate::manage::{Listed, PlaneBody, PlaneView, PlanesAsked};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_planes, create_plane))
        .routes(routes!(get_plane, change_plane, retire_plane))
}

impl Versioned for PlaneView {
    fn version(&self) -> u64 {
        self.version
    }
}

/// List planes
///
/// The tenant's planes with their live status, oldest first, retired ones too; for operators the
/// data planes as well. Timeline and counters are left out here.
#[utoipa::path(get, path = "/planes", tag = "planes", params(PlanesAsked),
    responses((status = 200, description = "One page.", body = Listed<PlaneView>)))]
async fn list_planes(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<PlanesAsked>,
) -> Answer {
    shown(control.list_planes(&caller, &asked).await?)
}

/// Register a plane
///
/// It is never enrolled until an agent redeems a bundle of it. Data planes are registered by
/// operators only.
#[utoipa::path(post, path = "/planes", tag = "planes", request_body = PlaneBody,
    responses((status = 201, description = "The plane.", body = PlaneView)))]
async fn create_plane(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    let plane = control.create_plane(&caller, body).await?;
    made(&format!("/v1/planes/{}", plane.id), plane)
}

/// Show a plane
///
/// Whole: live status, components, timeline, alerts, and what it has counted.
#[utoipa::path(get, path = "/planes/{id}", tag = "planes",
    responses((status = 200, description = "The plane.", body = PlaneView)))]
async fn get_plane(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    tagged(control.get_plane(&caller, id).await?)
}

/// Change a plane
///
/// Renames it, or gives it another data plane while no enabled flow uses the present one.
#[utoipa::path(patch, path = "/planes/{id}", tag = "planes", request_body = PlaneBody,
    responses((status = 200, description = "The plane as it is now.", body = PlaneView)))]
async fn change_plane(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
    IfMatch(expected): IfMatch,
    Body(patch): Body,
) -> Answer {
    tagged(control.change_plane(&caller, id, patch, &expected).await?)
}

/// Retire a plane
///
/// For good: its certificates and bundles are worth nothing any more. Retiring it again changes
/// nothing. A data plane that edge planes use stays in service.
#[utoipa::path(delete, path = "/planes/{id}", tag = "planes",
    responses((status = 204, description = "It is retired. On its cluster the agent removes its own Secrets \
        and stops; `helm uninstall zen-mesh -n zen-mesh` removes the rest.")))]
async fn retire_plane(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
    IfMatch(expected): IfMatch,
) -> Answer {
    control.retire_plane(&caller, id, &expected).await?;
    done()
}

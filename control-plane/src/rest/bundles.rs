//! `/v1/planes/{id}/bundles`.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::PlaneId;

use super::extract::{Body, Caller, PathId};
use super::{Answer, Shared, created};
use crate::control::Control;
use crate::manage::{BundleBody, BundleView};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new().routes(routes!(issue_bundle))
}

/// Issue a bundle
///
/// A single-use enrolment bundle for the plane, and what installs an agent with it: a command for a
/// cluster, a command for a machine without one, or manifests to commit.
/// Earlier bundles of the plane that were not redeemed are superseded at once. The bundle and its
/// identity are shown this once.
#[utoipa::path(post, path = "/planes/{id}/bundles", tag = "planes", request_body = BundleBody,
    responses((status = 201, description = "The bundle.", body = BundleView)))]
async fn issue_bundle(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer {
    let repository = control.repository(&headers);
    let issued = control.issue_bundle(&caller, id, body, &repository);
    created(issued.await?)
}

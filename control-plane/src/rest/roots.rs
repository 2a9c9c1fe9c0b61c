//! `/v1/roots`: the rotation of the root, for the operator's people; and a plane CA's.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::PlaneId;

use super::extract::{Body, Caller, PathId, Query};
use super::{Answer, Shared, created, done, shown};
use crate::control::Control;
use crate::manage::{RootId, RootRemoveAsked, RootSignBody, RootView, RootsView};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_roots, begin_root))
        .routes(routes!(sign_root))
        .routes(routes!(remove_root))
        .routes(routes!(rotate_plane_ca))
}

/// List roots
///
/// All that are trusted, oldest first, with the planes that each one's next step waits for; for the
/// operator's people.
#[utoipa::path(get, path = "/roots", tag = "planes",
    responses((status = 200, description = "The roots.", body = RootsView)))]
async fn list_roots(State(control): Shared, Caller(caller): Caller) -> Answer {
    shown(control.list_roots(&caller).await?)
}

/// Begin a rotation
///
/// Makes a root and announces it to every plane. It signs nothing before it is told to.
#[utoipa::path(post, path = "/roots", tag = "planes",
    responses((status = 201, description = "The announced root.", body = RootView)))]
async fn begin_root(State(control): Shared, Caller(caller): Caller) -> Answer {
    created(control.begin_root(&caller).await?)
}

/// Let a root sign
///
/// Refused while a plane has not acknowledged it. From then on every plane gets a new CA by it.
#[utoipa::path(post, path = "/roots/{id}/sign", tag = "planes", request_body = RootSignBody,
    responses((status = 200, description = "The root, which signs now.", body = RootView)))]
async fn sign_root(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<RootId>,
    Body(body): Body,
) -> Answer {
    shown(control.sign_root(&caller, id, body).await?)
}

/// Retire a root
///
/// It is trusted no more, and its key is gone. Refused while certificates of a plane lead to it. An
/// announced root is given up.
#[utoipa::path(delete, path = "/roots/{id}", tag = "planes", params(RootRemoveAsked),
    responses((status = 204, description = "It is trusted no more.")))]
async fn remove_root(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<RootId>,
    Query(asked): Query<RootRemoveAsked>,
) -> Answer {
    control.remove_root(&caller, id, &asked).await?;
    done()
}

/// Rotate a plane's CA
///
/// The plane gets a new CA for a new key, its components new certificates. Nothing is interrupted.
#[utoipa::path(post, path = "/planes/{id}/rotate-ca", tag = "planes",
    responses((status = 204, description = "The plane has a new CA.")))]
async fn rotate_plane_ca(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    control.rotate_plane_ca(&caller, id).await?;
    done()
}

//! `/v1/api-keys`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::KeyId;

use super::extract::{Body, Caller, PathId, Query};
use super::precondition::IfMatch;
use super::{Answer, Shared, created, done, shown};
use crate::control::Control;
use crate::manage::{ApiKeyBody, ApiKeyView, Listed, NewApiKeyView, PageAsked};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_api_keys, create_api_key))
        .routes(routes!(revoke_api_key))
}

/// List API keys
///
/// The tenant's keys, oldest first, without the keys themselves.
#[utoipa::path(get, path = "/api-keys", tag = "people", params(PageAsked),
    responses((status = 200, description = "One page.", body = Listed<ApiKeyView>)))]
async fn list_api_keys(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<PageAsked>,
) -> Answer {
    shown(control.list_api_keys(&caller, &asked).await?)
}

/// Make an API key
///
/// It can do nothing that the caller cannot. The key itself is shown this once.
#[utoipa::path(post, path = "/api-keys", tag = "people", request_body = ApiKeyBody,
    responses((status = 201, description = "The key.", body = NewApiKeyView)))]
async fn create_api_key(
    State(control): Shared,
    Caller(caller): Caller,
    Body(body): Body,
) -> Answer {
    created(control.create_api_key(&caller, body).await?)
}

/// Revoke an API key
///
/// From then on it is worth nothing.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "people",
    responses((status = 204, description = "It is revoked.")))]
async fn revoke_api_key(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<KeyId>,
    IfMatch(expected): IfMatch,
) -> Answer {
    control.revoke_api_key(&caller, id, &expected).await?;
    done()
}

//! `/v1/secrets`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::SecretId;

use super::extract::{Body, Caller, PathId, Query};
use super::precondition::IfMatch;
use super::{Answer, Shared, Versioned, done, made, shown, tagged};
use crate::control::Control;
use crate::manage::{Listed, SecretRemovalAsked, SecretView, SecretsAsked};
use crate::secret::SecretBody;

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_secrets, create_secret))
        .routes(routes!(get_secret, change_secret, remove_secret))
}

impl Versioned for SecretView {
    fn version(&self) -> u64 {
        self.version
    }
}

/// List secrets
///
/// The tenant's sealed secrets, oldest first, without the sealed texts; for operators those of data
/// planes as well.
#[utoipa::path(get, path = "/secrets", tag = "secrets", params(SecretsAsked),
    responses((status = 200, description = "One page.", body = Listed<SecretView>)))]
async fn list_secrets(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<SecretsAsked>,
) -> Answer {
    shown(control.list_secrets(&caller, &asked).await?)
}

/// Store a sealed secret
///
/// What `zen seal` wrote, and nothing else: a text that is not sealed is refused, and neither kept
/// nor logged. Only the plane's zen-lock can open it.
#[utoipa::path(post, path = "/secrets", tag = "secrets", request_body = SecretBody,
    responses((status = 201, description = "The secret.", body = SecretView)))]
async fn create_secret(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    let secret = control.create_secret(&caller, body).await?;
    made(&format!("/v1/secrets/{}", secret.id), secret)
}

/// Show a secret
///
/// With its sealed text.
#[utoipa::path(get, path = "/secrets/{id}", tag = "secrets",
    responses((status = 200, description = "The secret.", body = SecretView)))]
async fn get_secret(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<SecretId>,
) -> Answer {
    tagged(control.get_secret(&caller, id).await?)
}

/// Store a secret anew
///
/// A newly sealed text together with its recipients, or another note. Name and plane are sealed in
/// and stay.
#[utoipa::path(patch, path = "/secrets/{id}", tag = "secrets", request_body = SecretBody,
    responses((status = 200, description = "The secret as it is now.", body = SecretView)))]
async fn change_secret(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<SecretId>,
    IfMatch(expected): IfMatch,
    Body(patch): Body,
) -> Answer {
    tagged(control.change_secret(&caller, id, patch, &expected).await?)
}

/// Remove a secret
///
/// One that an endpoint or target names stays, unless `force` is said. What was open in the plane is
/// dropped there.
#[utoipa::path(delete, path = "/secrets/{id}", tag = "secrets", params(SecretRemovalAsked),
    responses((status = 204, description = "It is gone, its sealed text with it.")))]
async fn remove_secret(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<SecretId>,
    IfMatch(expected): IfMatch,
    Query(asked): Query<SecretRemovalAsked>,
) -> Answer {
    let forced = asked.force.unwrap_or(false);
    control
        .remove_secret(&caller, id, forced, &expected)
        .await?;
    done()
}

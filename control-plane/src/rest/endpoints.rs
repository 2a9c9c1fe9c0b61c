//! `/v1/endpoints`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::EndpointId;

use super::extract::{Body, Caller, PathId, Query};
use super::precondition::IfMatch;
use super::{Answer, Shared, Versioned, done, made, shown, tagged};
use crate::control::Control;
use crate::endpoint::EndpointBody;
use crate::manage::{EndpointView, EndpointsAsked, Listed};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_endpoints, create_endpoint))
        .routes(routes!(get_endpoint, change_endpoint, remove_endpoint))
}

impl Versioned for EndpointView {
    fn version(&self) -> u64 {
        self.version
    }
}

/// List endpoints
///
/// The tenant's endpoints, oldest first.
#[utoipa::path(get, path = "/endpoints", tag = "endpoints", params(EndpointsAsked),
    responses((status = 200, description = "One page.", body = Listed<EndpointView>)))]
async fn list_endpoints(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<EndpointsAsked>,
) -> Answer {
    shown(control.list_endpoints(&caller, &asked).await?)
}

/// Make an endpoint
///
/// Its URL is known once an ingester of the plane has said where it is reached.
#[utoipa::path(post, path = "/endpoints", tag = "endpoints", request_body = EndpointBody,
    responses((status = 201, description = "The endpoint.", body = EndpointView)))]
async fn create_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    Body(body): Body,
) -> Answer {
    let endpoint = control.create_endpoint(&caller, body).await?;
    made(&format!("/v1/endpoints/{}", endpoint.id), endpoint)
}

/// Show an endpoint
#[utoipa::path(get, path = "/endpoints/{id}", tag = "endpoints",
    responses((status = 200, description = "The endpoint.", body = EndpointView)))]
async fn get_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<EndpointId>,
) -> Answer {
    tagged(control.get_endpoint(&caller, id).await?)
}

/// Change an endpoint
///
/// Everything but its plane, which stays.
#[utoipa::path(patch, path = "/endpoints/{id}", tag = "endpoints", request_body = EndpointBody,
    responses((status = 200, description = "The endpoint as it is now.", body = EndpointView)))]
async fn change_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<EndpointId>,
    IfMatch(expected): IfMatch,
    Body(patch): Body,
) -> Answer {
    tagged(
        control
            .change_endpoint(&caller, id, patch, &expected)
            .await?,
    )
}

/// Remove an endpoint
///
/// One that an enabled flow uses stays. Its ingesters answer 410 from then on.
#[utoipa::path(delete, path = "/endpoints/{id}", tag = "endpoints",
    responses((status = 204, description = "It is gone.")))]
async fn remove_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<EndpointId>,
    IfMatch(expected): IfMatch,
) -> Answer {
    control.remove_endpoint(&caller, id, &expected).await?;
    done()
}

//! `/v1/tenant`, the caller's own, and `/v1/tenants`, all of them for the operator's people.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Caller, Query};
use super::precondition::IfMatch;
use super::{Answer, Shared, Versioned, created, shown, tagged};
use crate::control::Control;
use crate::manage::{Listed, NewTenantView, PageAsked, TenantBody, TenantSettingsBody, TenantView};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(get_tenant, change_tenant))
        .routes(routes!(list_tenants, create_tenant))
}

impl Versioned for TenantView {
    fn version(&self) -> u64 {
        self.version
    }
}

/// Show the tenant
#[utoipa::path(get, path = "/tenant", tag = "people",
    responses((status = 200, description = "The caller's tenant.", body = TenantView)))]
async fn get_tenant(State(control): Shared, Caller(caller): Caller) -> Answer {
    tagged(control.get_tenant(&caller).await?)
}

/// Change the tenant
///
/// Its name, and whether everybody needs a second step to sign in.
#[utoipa::path(patch, path = "/tenant", tag = "people", request_body = TenantSettingsBody,
    responses((status = 200, description = "The tenant as it is now.", body = TenantView)))]
async fn change_tenant(
    State(control): Shared,
    Caller(caller): Caller,
    IfMatch(expected): IfMatch,
    Body(patch): Body,
) -> Answer {
    tagged(control.change_tenant(&caller, patch, &expected).await?)
}

/// List tenants
///
/// All of them, oldest first; for the operator's people.
#[utoipa::path(get, path = "/tenants", tag = "people", params(PageAsked),
    responses((status = 200, description = "One page.", body = Listed<TenantView>)))]
async fn list_tenants(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<PageAsked>,
) -> Answer {
    shown(control.list_tenants(&caller, &asked).await?)
}

/// Make a tenant
///
/// With an owner, who comes in by the link of the answer; for the operator's people.
#[utoipa::path(post, path = "/tenants", tag = "people", request_body = TenantBody,
    responses((status = 201, description = "The tenant and its owner's link.",
        body = NewTenantView)))]
async fn create_tenant(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    created(control.create_tenant(&caller, body).await?)
}

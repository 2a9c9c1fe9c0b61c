//! `/v1/audit`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Caller, Query};
use super::{Answer, Shared, shown};
use crate::control::Control;
use crate::manage::{AuditAsked, AuditKept, CheckedView, EntryView, Listed};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_audit))
        .routes(routes!(verify_audit))
}

/// List the audit log
///
/// What was done in the tenant, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditAsked),
    responses((status = 200, description = "One page.", body = Listed<EntryView>)))]
async fn list_audit(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<AuditAsked>,
) -> Answer {
    shown(control.list_audit(&caller, &asked).await?)
}

/// Check the audit log
///
/// Walks the log from its first entry to its end, and tells the first one that was changed, removed
/// or moved. Given a place and hash that were kept from an earlier check, these must be in it.
#[utoipa::path(get, path = "/audit/verify", tag = "audit", params(AuditKept),
    responses((status = 200, description = "What was found.", body = CheckedView)))]
async fn verify_audit(
    State(control): Shared,
    Caller(caller): Caller,
    Query(kept): Query<AuditKept>,
) -> Answer {
    shown(control.verify_audit(&caller, &kept).await?)
}

//! `/v1/deliveries` and `/v1/dead-letters`: asked of the plane while the caller waits.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Caller, Query};
use super::{Answer, Shared, shown};
use crate::control::Control;
use crate::manage::{DeadLettersAsked, DeliveriesAsked, DeliveryView, Listed};

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_deliveries))
        .routes(routes!(list_dead_letters))
}

/// List deliveries
///
/// Newest first, from the plane's own ledger. Which plane follows from `plane_id`, `flow_id` or
/// `target_id`: one of them is required.
#[utoipa::path(get, path = "/deliveries", tag = "deliveries", params(DeliveriesAsked),
    responses((status = 200, description = "One page.", body = Listed<DeliveryView>)))]
async fn list_deliveries(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<DeliveriesAsked>,
) -> Answer {
    shown(control.list_deliveries(&caller, asked).await?)
}

/// List dead letters
///
/// Newest first, from the plane's own ledger. Which plane follows from `plane_id`, `flow_id` or
/// `target_id`: one of them is required.
#[utoipa::path(get, path = "/dead-letters", tag = "deliveries", params(DeadLettersAsked),
    responses((status = 200, description = "One page.", body = Listed<DeliveryView>)))]
async fn list_dead_letters(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<DeadLettersAsked>,
) -> Answer {
    shown(control.list_dead_letters(&caller, asked).await?)
}

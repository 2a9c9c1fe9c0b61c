//! The REST API: paths, and handlers that read a request, call one method of [`Control`], and show
//! what it answers. Every path below `/v1` wants an API key.

mod extract;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use self::extract::{Body, Caller, Filters, OfEndpoint, OfPlane, PathId, Plain};
use crate::control::Control;
use crate::manage::{DeadLettersAsked, DeliveriesAsked};
use crate::problem::Problem;
use zen_proto::ids::{EndpointId, FlowId, PlaneId, TargetId};

pub(crate) use server::serve;

/// Largest body of a request.
const BODY: usize = 1024 * 1024;
/// Time for one request, its body included; longer than a plane may take to answer.
const REQUEST: Duration = Duration::from_secs(90);

type Shared = State<Arc<Control>>;
type Answer = Result<Response, Problem>;

/// All paths.
pub(crate) fn router(control: Arc<Control>) -> Router {
    let v1 = Router::new()
        .route("/planes", get(list_planes).post(create_plane))
        .route(
            "/planes/{id}",
            get(get_plane).patch(change_plane).delete(retire_plane),
        )
        .route("/planes/{id}/bundles", axum::routing::post(issue_bundle))
        .route("/endpoints", get(list_endpoints).post(create_endpoint))
        .route(
            "/endpoints/{id}",
            get(get_endpoint)
                .patch(change_endpoint)
                .delete(remove_endpoint),
        )
        .route("/targets", get(list_targets).post(create_target))
        .route(
            "/targets/{id}",
            get(get_target).patch(change_target).delete(remove_target),
        )
        .route("/flows", get(list_flows).post(create_flow))
        .route(
            "/flows/{id}",
            get(get_flow).patch(change_flow).delete(remove_flow),
        )
        .route("/deliveries", get(list_deliveries))
        .route("/dead-letters", get(list_dead_letters));
    Router::new()
        .nest("/v1", v1)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&control), frame))
        .with_state(control)
}

/// Around every request: its time is bounded and counted, its answer is nobody's to keep.
async fn frame(State(control): Shared, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let answered = tokio::time::timeout(REQUEST, next.run(request)).await;
    let mut response = answered
        .unwrap_or_else(|_elapsed| Problem::too_slow("not done within 90 s").into_response());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    control
        .metrics
        .request(response.status(), began.elapsed().as_secs_f64());
    response
}

async fn no_such_path() -> Problem {
    Problem::not_found("there is no such path")
}

async fn no_such_method() -> Problem {
    Problem::method("the path does not have this method")
}

fn shown(view: impl Serialize) -> Answer {
    Ok(axum::Json(view).into_response())
}

fn created(view: impl Serialize) -> Answer {
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn create_plane(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    created(control.create_plane(&caller, body).await?)
}

async fn list_planes(
    State(control): Shared,
    Caller(caller): Caller,
    Filters {
        wanted,
        only: Plain {},
        ..
    }: Filters<Plain, PlaneId>,
) -> Answer {
    shown(control.list_planes(&caller, &wanted).await?)
}

async fn get_plane(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    shown(control.get_plane(&caller, id).await?)
}

async fn change_plane(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
    Body(patch): Body,
) -> Answer {
    shown(control.change_plane(&caller, id, patch).await?)
}

async fn retire_plane(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
) -> Answer {
    control.retire_plane(&caller, id).await?;
    done()
}

async fn issue_bundle(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<PlaneId>,
    Body(body): Body,
) -> Answer {
    created(control.issue_bundle(&caller, id, body).await?)
}

async fn create_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    Body(body): Body,
) -> Answer {
    created(control.create_endpoint(&caller, body).await?)
}

async fn list_endpoints(
    State(control): Shared,
    Caller(caller): Caller,
    Filters {
        wanted,
        only: OfPlane { plane_id },
        ..
    }: Filters<OfPlane, EndpointId>,
) -> Answer {
    shown(control.list_endpoints(&caller, plane_id, &wanted).await?)
}

async fn get_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<EndpointId>,
) -> Answer {
    shown(control.get_endpoint(&caller, id).await?)
}

async fn change_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<EndpointId>,
    Body(patch): Body,
) -> Answer {
    shown(control.change_endpoint(&caller, id, patch).await?)
}

async fn remove_endpoint(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<EndpointId>,
) -> Answer {
    control.remove_endpoint(&caller, id).await?;
    done()
}

async fn create_target(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    created(control.create_target(&caller, body).await?)
}

async fn list_targets(
    State(control): Shared,
    Caller(caller): Caller,
    Filters {
        wanted,
        only: OfPlane { plane_id },
        ..
    }: Filters<OfPlane, TargetId>,
) -> Answer {
    shown(control.list_targets(&caller, plane_id, &wanted).await?)
}

async fn get_target(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<TargetId>,
) -> Answer {
    shown(control.get_target(&caller, id).await?)
}

async fn change_target(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<TargetId>,
    Body(patch): Body,
) -> Answer {
    shown(control.change_target(&caller, id, patch).await?)
}

async fn remove_target(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<TargetId>,
) -> Answer {
    control.remove_target(&caller, id).await?;
    done()
}

async fn create_flow(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    created(control.create_flow(&caller, body).await?)
}

async fn list_flows(
    State(control): Shared,
    Caller(caller): Caller,
    Filters {
        wanted,
        only: OfEndpoint { endpoint_id },
        ..
    }: Filters<OfEndpoint, FlowId>,
) -> Answer {
    shown(control.list_flows(&caller, endpoint_id, &wanted).await?)
}

async fn get_flow(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<FlowId>,
) -> Answer {
    shown(control.get_flow(&caller, id).await?)
}

async fn change_flow(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<FlowId>,
    Body(patch): Body,
) -> Answer {
    shown(control.change_flow(&caller, id, patch).await?)
}

async fn remove_flow(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<FlowId>,
) -> Answer {
    control.remove_flow(&caller, id).await?;
    done()
}

async fn list_deliveries(
    State(control): Shared,
    Caller(caller): Caller,
    extract::Query(asked): extract::Query<DeliveriesAsked>,
) -> Answer {
    shown(control.list_deliveries(&caller, asked).await?)
}

async fn list_dead_letters(
    State(control): Shared,
    Caller(caller): Caller,
    extract::Query(asked): extract::Query<DeadLettersAsked>,
) -> Answer {
    shown(control.list_dead_letters(&caller, asked).await?)
}

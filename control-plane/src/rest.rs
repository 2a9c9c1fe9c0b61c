//! The REST API: paths, and handlers that read a request, call one method of [`Control`], and show
//! what it answers. A path and its documentation are one thing ([`openapi`]): neither is there
//! without the other. Every path below `/v1` wants an API key unless it says otherwise.

mod api_keys;
mod audit;
mod bundles;
mod deliveries;
mod endpoints;
mod extract;
mod flows;
mod frame;
mod idempotency;
mod json;
mod live;
mod me;
mod openapi;
mod overview;
mod planes;
mod precondition;
mod query_rules;
mod roots;
mod secrets;
mod server;
mod targets;
mod tenants;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;

use crate::charts;
use crate::control::Control;
use crate::dashboard;
use crate::people::recognise;
use crate::problem::Problem;

pub(crate) use extract::PathId;
pub(crate) use openapi::document;
pub(crate) use server::serve;

/// Largest body of a request.
const BODY: usize = 1024 * 1024;

type Shared = State<Arc<Control>>;
type Answer = Result<Response, Problem>;

/// A view with a version: it makes the answer's `ETag`.
trait Versioned {
    /// Counts the changes that people made.
    fn version(&self) -> u64;
}

/// Every operation below `/v1`, with its documentation.
fn operations() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .merge(overview::routes())
        .merge(planes::routes())
        .merge(bundles::routes())
        .merge(endpoints::routes())
        .merge(targets::routes())
        .merge(secrets::routes())
        .merge(flows::routes())
        .merge(deliveries::routes())
        .merge(me::routes())
        .merge(users::routes())
        .merge(api_keys::routes())
        .merge(tenants::routes())
        .merge(roots::routes())
        .merge(audit::routes())
        .merge(live::routes())
        .merge(openapi::routes())
}

/// All paths.
pub(crate) fn router(control: Arc<Control>) -> Router {
    let document = Arc::new(document());
    let (v1, _) = operations().split_for_parts();
    let rules = Arc::new(query_rules::QueryRules::of(&document));
    let once = middleware::from_fn_with_state(Arc::clone(&control), idempotency::once);
    let framed = middleware::from_fn_with_state(Arc::clone(&control), frame::frame);
    let v1 = v1
        .route_layer(once)
        .route_layer(middleware::from_fn_with_state(rules, query_rules::check))
        .layer(axum::Extension(document))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(framed);
    // Every other path is the dashboard's, which also says what is not there.
    Router::new()
        .nest("/v1", v1)
        .with_state(Arc::clone(&control))
        .merge(dashboard::router(&control))
        .merge(charts::router())
        .layer(middleware::from_fn_with_state(control, recognise))
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

/// One thing that has versions.
fn tagged(view: impl Serialize + Versioned) -> Answer {
    let tag = precondition::tag(view.version());
    Ok(([(header::ETAG, tag)], axum::Json(view)).into_response())
}

/// The caller has this version already.
fn unchanged(view: &impl Versioned) -> Answer {
    let tag = precondition::tag(view.version());
    Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response())
}

/// A thing that was made, at `place`.
fn made(place: &str, view: impl Serialize + Versioned) -> Answer {
    let tag = precondition::tag(view.version());
    let mut response = created(view)?;
    response.headers_mut().insert(header::ETAG, tag);
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

fn created(view: impl Serialize) -> Answer {
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

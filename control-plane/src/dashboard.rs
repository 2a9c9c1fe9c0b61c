//! The dashboard: pages rendered here, over the same methods of [`Control`] as the REST API. A page
//! is a template below `templates/`, a handler that fills it, and nothing else; what is live in it is
//! marked there and kept so by [`live`]. Every page reads, and every form works, without JavaScript.

mod asked;
mod assets;
mod audit;
mod body;
mod chart;
mod codes;
mod data_planes;
mod deliveries;
mod endpoints;
mod error_page;
mod flows;
mod form;
mod guide;
mod health;
mod install;
mod kept;
mod listing;
mod live;
mod moment;
mod outcome;
mod overview;
mod parts;
mod plane;
mod planes;
mod refusal;
mod removal;
mod render;
mod replay;
mod secrets;
mod settings;
mod sign_in;
mod status;
mod targets;
mod visitor;
mod words;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::control::Control;
use crate::problem::Problem;

/// What the handlers of pages work with.
type Shared = State<Arc<Control>>;
pub(crate) use kept::Kept;

/// Largest form.
const BODY: usize = 256 * 1024;
/// Time for one page; longer than a plane may take to answer.
const PAGE: Duration = Duration::from_secs(90);
/// What a page may load and do: what is its own, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";

/// All paths of the dashboard, and for every other path a page that says that there is none.
pub(crate) fn router(control: &Arc<Control>) -> Router {
    let pages = pages()
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(control), dress))
        .with_state(Arc::clone(control));
    let live = live::router(Arc::clone(control), pages.clone());
    pages
        .merge(live)
        .merge(assets::router())
        .layer(middleware::map_response(protect))
}

/// The pages, by the part of the product that they show.
fn pages() -> Router<Arc<Control>> {
    Router::new()
        .route("/", get(overview::show))
        .merge(endpoints::router())
        .merge(targets::router())
        .merge(secrets::router())
        .merge(flows::router())
        .merge(deliveries::router())
        .merge(replay::router())
        .merge(audit::router())
        .merge(settings::router())
        .merge(guide::router())
        .merge(sign_in::routes())
        .route("/planes", get(planes::list))
        .route("/planes/new", get(planes::ask_new).post(planes::create))
        .route("/planes/{id}", get(plane::show))
        .route(
            "/planes/{id}/change",
            get(plane::show_change).post(plane::change),
        )
        .route(
            "/planes/{id}/retire",
            get(plane::show_retire).post(plane::retire),
        )
        .route(
            "/planes/{id}/install",
            get(install::ask).post(install::issue),
        )
        .route("/data-planes", get(data_planes::list))
        .route(
            "/data-planes/new",
            get(data_planes::ask_new).post(data_planes::create),
        )
}

/// Around every page: its time is bounded and counted, who looks is known once, and what went
/// wrong becomes a page.
async fn dress(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let asked = error_page::Asked::of(&request);
    let visitor = visitor::recognised(request.extensions());
    if let Ok(visitor) = &visitor
        && let Some(first) = visitor.must_go(request.uri().path())
    {
        return render::see_other(first);
    }
    let answered = tokio::time::timeout(PAGE, next.run(request)).await;
    let slow = |_elapsed| Problem::too_slow("the page was not done within 90 s").into_response();
    let response = match answered.unwrap_or_else(slow) {
        response if response.extensions().get::<Problem>().is_some() => {
            error_page::dressed(&control, visitor, &asked, response).await
        }
        response => response,
    };
    control
        .metrics
        .request(response.status(), began.elapsed().as_secs_f64());
    response
}

async fn no_such_page() -> Problem {
    Problem::not_found("")
}

async fn no_such_method() -> Problem {
    Problem::method("the page does not take that")
}

/// What browsers are told about every answer.
async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    say(header::CONTENT_SECURITY_POLICY, POLICY);
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::X_FRAME_OPTIONS, "DENY");
    say(header::REFERRER_POLICY, "same-origin");
    say(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    say(
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    );
    say(
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    );
    keep_nothing(headers);
    response
}

/// What is not an asset is nobody's to keep.
fn keep_nothing(headers: &mut HeaderMap) {
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

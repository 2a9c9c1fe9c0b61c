//! The Helm charts of this version, part of the binary, as a Helm repository: `/charts/index.yaml` and
//! the packages beside it. Public: there is nothing in them that is not in the source.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};

use crate::problem::Problem;

/// The version of the charts: the workspace's.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One file of the repository.
struct Served {
    file: &'static str,
    /// Hexadecimal SHA-256.
    digest: &'static str,
    bytes: &'static [u8],
}

// `SERVED`, written by the build script.
include!(concat!(env!("OUT_DIR"), "/charts.rs"));

/// The paths of the repository; nobody needs to be known for them.
pub(crate) fn router() -> Router {
    Router::new().route("/charts/{file}", get(serve))
}

async fn serve(Path(file): Path<String>, asked: HeaderMap) -> Response {
    let Some(served) = SERVED.iter().find(|served| served.file == file) else {
        return Problem::not_found("there is no such chart; /charts/index.yaml lists all")
            .into_response();
    };
    let etag = format!("\"{}\"", served.digest);
    // The version alone does not tell one build's package from another's: caches ask again.
    let kept = [
        (header::CACHE_CONTROL, "public, no-cache"),
        (header::ETAG, etag.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if has(&asked, &etag) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    let media_type = if file.ends_with(".tgz") {
        "application/gzip"
    } else {
        "application/yaml"
    };
    (kept, [(header::CONTENT_TYPE, media_type)], served.bytes).into_response()
}

/// Whether the caller keeps this very file.
fn has(asked: &HeaderMap, etag: &str) -> bool {
    let kept = asked.get_all(header::IF_NONE_MATCH).into_iter();
    kept.filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

#[cfg(test)]
#[path = "../build/pack.rs"]
mod pack;

#[cfg(test)]
mod tests;

//! Style, script and icon: part of the binary, served under paths that change with their content,
//! so that browsers keep them for good and never see an old one.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};

use crate::problem::Problem;

struct Asset {
    file: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    path: &'static str,
    hash: &'static str,
}

/// Where a page finds its assets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assets {
    pub(crate) css: &'static str,
    pub(crate) js: &'static str,
    pub(crate) icon: &'static str,
}

/// The paths of this build.
pub(crate) const ASSETS: Assets = Assets {
    css: CSS.path,
    js: JS.path,
    icon: ICON.path,
};

macro_rules! asset {
    ($name:ident, $file:literal, $media_type:literal) => {
        const $name: Asset = {
            const BYTES: &[u8] = include_bytes!(concat!("../../assets/", $file));
            const HASH: [u8; 16] = hex(fnv1a(BYTES));
            const PATH: [u8; 25 + $file.len()] = path::<{ 25 + $file.len() }>(&HASH, $file);
            Asset {
                file: $file,
                media_type: $media_type,
                bytes: BYTES,
                path: text(&PATH),
                hash: text(&HASH),
            }
        };
    };
}

asset!(CSS, "app.css", "text/css; charset=utf-8");
asset!(JS, "app.js", "text/javascript; charset=utf-8");
asset!(ICON, "icon.svg", "image/svg+xml");

const ALL: [&Asset; 3] = [&CSS, &JS, &ICON];

/// The paths of the assets; nobody needs to be known for them.
pub(super) fn router() -> Router {
    Router::new().route("/assets/{hash}/{file}", get(serve))
}

async fn serve(Path((hash, file)): Path<(String, String)>, asked: HeaderMap) -> Response {
    let known = |asset: &&&Asset| asset.file == file && asset.hash == hash;
    let Some(asset) = ALL.iter().find(known) else {
        return Problem::not_found("there is no such asset").into_response();
    };
    let etag = format!("\"{}\"", asset.hash);
    let kept = asked.get(header::IF_NONE_MATCH);
    if kept.is_some_and(|kept| kept.as_bytes() == etag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::ETAG, etag.as_str()),
    ];
    (headers, asset.bytes).into_response()
}

/// FNV-1a: tells one build's content from another's, and can be computed while compiling.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

const fn hex(value: u64) -> [u8; 16] {
    let digits = *b"0123456789abcdef";
    let mut text = [0; 16];
    let mut at = 0;
    while at < 16 {
        text[at] = digits[(value >> (60 - 4 * at)) as usize & 15];
        at += 1;
    }
    text
}

/// `/assets/{hash}/{file}`.
const fn path<const N: usize>(hash: &[u8; 16], file: &str) -> [u8; N] {
    let mut text = [b'/'; N];
    put(&mut text, 1, b"assets");
    put(&mut text, 8, hash);
    put(&mut text, 25, file.as_bytes());
    text
}

const fn put(text: &mut [u8], from: usize, part: &[u8]) {
    let mut at = 0;
    while at < part.len() {
        text[from + at] = part[at];
        at += 1;
    }
}

const fn text(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_content() {
        let expected = format!("/assets/{:016x}/app.css", fnv1a(CSS.bytes));
        assert_eq!(ASSETS.css, expected);
        assert_ne!(CSS.hash, JS.hash);
    }
}

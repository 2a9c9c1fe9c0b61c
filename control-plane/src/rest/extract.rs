//! What handlers take out of a request; whatever does not fit becomes a [`Problem`].

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json;
use crate::control::Control;
use crate::digest::sha256;
use crate::people::{PeerAddress, Recognised};
use crate::principal::Principal;
use crate::problem::Problem;
use crate::setup::KEY_PREFIX;

/// Length of an API key: its prefix and 43 characters of base64url.
const KEY: usize = KEY_PREFIX.len() + 43;

/// Whose API key came with the request.
pub(super) struct Caller(pub(super) Principal);

impl FromRequestParts<Arc<Control>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        // Found already, if the request may be repeated.
        if let Some(known) = parts.extensions.get::<Principal>() {
            return Ok(Self(known.clone()));
        }
        let Some(key) = bearer(&parts.headers) else {
            return session(parts);
        };
        let unknown = || Problem::unauthenticated("the API key is not known");
        if !key.starts_with(KEY_PREFIX) || key.len() != KEY {
            return Err(unknown());
        }
        // The key is 256 random bits: looking for its hash tells nobody anything about it.
        let now = control.stage.clock.unix_ms();
        let principal = control
            .store
            .principal(&sha256(key.as_bytes()), now)
            .await?;
        let principal = principal.ok_or_else(unknown)?;
        let peer = parts.extensions.get::<PeerAddress>();
        Ok(Self(Principal {
            address: peer.map(|peer| peer.0.to_canonical()),
            ..principal
        }))
    }
}

/// Who is signed in: pages' own scripts come without a key.
fn session(parts: &Parts) -> Result<Caller, Problem> {
    match parts.extensions.get::<Recognised>() {
        Some(Recognised::Nobody) | None => Err(Problem::unauthenticated(
            "send an API key as `Authorization: Bearer zen_…`",
        )),
        Some(recognised) => Ok(Caller(recognised.somebody()?.principal.clone())),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The id in the path. One of another kind names nothing here.
pub(crate) struct PathId<I>(pub(crate) I);

impl<I: FromStr<Err: Display> + Send> FromRequestParts<Arc<Control>> for PathId<I> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, control).await;
        let Path(text) = path.map_err(|error| Problem::not_found(error.body_text()))?;
        text.parse()
            .map(Self)
            .map_err(|error| Problem::not_found(format!("{error}")))
    }
}

/// A JSON body; an empty one is an empty object.
pub(super) struct Body(pub(super) Value);

impl FromRequest<Arc<Control>> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, control: &Arc<Control>) -> Result<Self, Problem> {
        let media_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let bytes = Bytes::from_request(request, control)
            .await
            .map_err(|error| unread(&error))?;
        if bytes.is_empty() {
            return Ok(Self(Value::Object(serde_json::Map::new())));
        }
        let json = media_type.as_ref().is_none_or(|value| {
            let text = value.to_str().unwrap_or_default();
            let bare = text.split(';').next().unwrap_or_default().trim();
            ["application/json", "application/merge-patch+json"]
                .iter()
                .any(|known| bare.eq_ignore_ascii_case(known))
        });
        if !json {
            return Err(Problem::media_type(
                "send JSON with content-type application/json",
            ));
        }
        json::parse(&bytes)
            .map(Self)
            .map_err(|error| Problem::json(error.to_string()))
    }
}

fn unread(error: &BytesRejection) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::too_large("at most 1 MiB");
    }
    Problem::json("the body could not be read")
}

/// Query parameters; one that is not known is refused.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Control>> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, control).await;
        query
            .map(|query| Self(query.0))
            .map_err(|error| Problem::query(error.body_text()))
    }
}

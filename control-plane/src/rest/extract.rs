//! What handlers take out of a request; whatever does not fit becomes a [`Problem`].

use std::collections::BTreeMap;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zen_proto::ids::{EndpointId, PlaneId};
use zen_proto::limits;

use crate::control::Control;
use crate::digest::sha256;
use crate::problem::Problem;
use crate::setup::KEY_PREFIX;
use crate::store::{Principal, Wanted};

/// Items of a page unless asked otherwise.
const PAGE: u32 = 50;
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
        let missing = "send an API key as `Authorization: Bearer zen_…`";
        let key = bearer(&parts.headers).ok_or_else(|| Problem::unauthenticated(missing))?;
        let unknown = || Problem::unauthenticated("the API key is not known");
        if !key.starts_with(KEY_PREFIX) || key.len() != KEY {
            return Err(unknown());
        }
        // The key is 256 random bits: looking for its hash tells nobody anything about it.
        let principal = control.store.principal(&sha256(key.as_bytes())).await?;
        principal.map(Self).ok_or_else(unknown)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The id in the path. One of another kind names nothing here.
pub(super) struct PathId<I>(pub(super) I);

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
        serde_json::from_slice(&bytes)
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

/// Which page of a list of things with ids of kind `I` is wanted, and which of them only.
pub(super) struct Filters<F, I> {
    pub(super) wanted: Wanted,
    pub(super) only: F,
    kind: PhantomData<I>,
}

/// How a list may be narrowed.
pub(super) trait Filter: Sized + Send {
    /// Takes its parameters out of the query.
    fn take(query: &mut BTreeMap<String, String>) -> Result<Self, Problem>;
}

/// Not at all.
pub(super) struct Plain {}

/// To one plane.
pub(super) struct OfPlane {
    pub(super) plane_id: Option<PlaneId>,
}

/// To one endpoint.
pub(super) struct OfEndpoint {
    pub(super) endpoint_id: Option<EndpointId>,
}

impl Filter for Plain {
    fn take(_query: &mut BTreeMap<String, String>) -> Result<Self, Problem> {
        Ok(Self {})
    }
}

impl Filter for OfPlane {
    fn take(query: &mut BTreeMap<String, String>) -> Result<Self, Problem> {
        Ok(Self {
            plane_id: take(query, "plane_id")?,
        })
    }
}

impl Filter for OfEndpoint {
    fn take(query: &mut BTreeMap<String, String>) -> Result<Self, Problem> {
        Ok(Self {
            endpoint_id: take(query, "endpoint_id")?,
        })
    }
}

impl<F: Filter, I: FromStr<Err: Display> + Display + Send> FromRequestParts<Arc<Control>>
    for Filters<F, I>
{
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        let Query(mut query) =
            Query::<BTreeMap<String, String>>::from_request_parts(parts, control).await?;
        let limit = take::<u32>(&mut query, "limit")?.unwrap_or(PAGE);
        if !(1..=limits::PAGE).contains(&limit) {
            return Err(Problem::query(format!("limit: 1 to {}", limits::PAGE)));
        }
        let after = take::<I>(&mut query, "cursor")?;
        let only = F::take(&mut query)?;
        if let Some(unknown) = query.keys().next() {
            return Err(Problem::query(format!(
                "{unknown}: there is no such parameter"
            )));
        }
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        Ok(Self {
            wanted: Wanted { limit, after },
            only,
            kind: PhantomData,
        })
    }
}

fn take<T: FromStr<Err: Display>>(
    query: &mut BTreeMap<String, String>,
    name: &str,
) -> Result<Option<T>, Problem> {
    let text = query.remove(name);
    let parsed = text.map(|text| text.parse::<T>()).transpose();
    parsed.map_err(|error| Problem::query(format!("{name}: {error}")))
}

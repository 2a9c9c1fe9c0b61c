//! `Idempotency-Key`: a `POST` that may be repeated. The first answer is given again for 24 hours;
//! a try that died in between is made again if it had no effect, and only then.

mod sealing;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use zen_chassis::clock::millis;

use self::sealing::AnswerKey;
use super::BODY;
use super::extract::Caller;
use super::frame::RequestId;
use crate::control::Control;
use crate::digest::sha256;
use crate::people::Recognised;
use crate::problem::Problem;
use crate::store::{Claim, Claimed, NewClaim};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const KEY_LENGTH: usize = 255;
/// How long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Time for a try; one that takes longer is given up.
const TRY: Duration = Duration::from_secs(85);
/// After this a try is taken for dead: longer than one may take.
const CLAIM: Duration = Duration::from_secs(120);
/// Largest answer that is kept; a larger one is given once.
const ANSWER: usize = 256 * 1024;
/// Headers that are given again.
const HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];

/// An answer as it is kept, before it is sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    headers: Vec<(String, String)>,
    body: String,
}

/// A request on its way, and how its answer is kept.
struct Try {
    claim: Claim,
    key: AnswerKey,
}

/// Lets a request with a key be carried out once.
pub(super) async fn once(
    State(control): State<Arc<Control>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(KEY) {
        return next.run(request).await;
    }
    if !request.headers().contains_key(header::AUTHORIZATION) {
        // The answer is kept under the key that the caller shows; a session's changes by the hour.
        return match request.extensions().get::<Recognised>() {
            Some(Recognised::Somebody(_)) => {
                Problem::header("idempotency-key: only with an API key").into_response()
            }
            _ => next.run(request).await,
        };
    }
    match carry_out(control, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn carry_out(
    control: Arc<Control>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let name = key_of(&parts.headers)?;
    let Caller(mut caller) = Caller::from_request_parts(&mut parts, &control).await?;
    let body = whole(body).await?;
    let operation = format!("{}\n{}\n{name}", caller.tenant, parts.uri.path());
    let claim = Claim {
        id: hex::encode(sha256(operation.as_bytes())),
        token: hex::encode(control.stage.random.bytes::<16>()),
    };
    let key = AnswerKey::new(credential(&parts), &name);
    let fingerprint = key.fingerprint(&told(&parts), &body);
    let now = control.stage.clock.unix_ms();
    let new = NewClaim {
        claim: &claim,
        tenant: caller.tenant,
        fingerprint: &fingerprint,
        now,
        until: now.saturating_add(millis(CLAIM)),
        expires: now.saturating_add(millis(REMEMBERED)),
    };
    let claimed = control.store.claim(&new).await?;
    if claimed != Claimed::Mine {
        let request = parts.extensions.get::<RequestId>();
        return known(claimed, &key, &claim.id, request);
    }
    caller.claim = Some(claim.clone());
    parts.extensions.insert(caller);
    let request = Request::from_parts(parts, Body::from(body));
    let mine = Try { claim, key };
    let (reply, answered) = oneshot::channel();
    // A caller that goes away leaves no request half done: the try goes on and its answer is kept.
    let tasks = control.stage.tasks.clone();
    tasks.spawn_side("request", async move {
        let response = mine.run(&control, request, next).await;
        // Nobody waits any more if the caller went away.
        let _taken = reply.send(response);
    });
    answered
        .await
        .unwrap_or_else(|_| Err(Problem::internal("the request was not carried out")))
}

/// The key, if there is exactly one and it is a plain one.
fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    let plain = |text: &&str| {
        (1..=KEY_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match (value.filter(plain), values.next()) {
        (Some(key), None) => Ok(key.to_owned()),
        _ => Err(Problem::header(
            "Idempotency-Key: send one of 1 to 255 visible ASCII characters",
        )),
    }
}

async fn whole(body: Body) -> Result<Bytes, Problem> {
    let read = Limited::new(body, BODY).collect().await;
    read.map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                Problem::too_large("at most 1 MiB")
            } else {
                Problem::json("the body could not be read")
            }
        })
}

/// What the caller shows to be let in: only who shows it again can read the answer again.
fn credential(parts: &Parts) -> &[u8] {
    let shown = parts.headers.get(header::AUTHORIZATION);
    shown.map_or(&[], HeaderValue::as_bytes)
}

/// What tells two requests of one path apart, beside their bodies.
fn told(parts: &Parts) -> Vec<u8> {
    let mut told = parts.uri.query().unwrap_or_default().as_bytes().to_vec();
    told.push(b'\n');
    if let Some(media_type) = parts.headers.get(header::CONTENT_TYPE) {
        told.extend_from_slice(media_type.as_bytes());
    }
    told
}

/// The answer to a request that was made before.
fn known(
    claimed: Claimed,
    key: &AnswerKey,
    id: &str,
    request: Option<&RequestId>,
) -> Result<Response, Problem> {
    match claimed {
        Claimed::Answered { status, sealed } => {
            let kept = key
                .open(id, sealed)
                .and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
            let status = u16::try_from(status).ok();
            kept.zip(status.and_then(|status| StatusCode::from_u16(status).ok()))
                .map(|(kept, status)| again(status, kept, request))
                .ok_or_else(|| Problem::answer_lost("look whether the thing is there"))
        }
        Claimed::UnderWay(wait) => Err(Problem::in_progress(
            "wait for the answer to the first request, or repeat this one later",
        )
        .after(wait.div_ceil(1000))),
        Claimed::AnswerLost => Err(Problem::answer_lost("look whether the thing is there")),
        Claimed::Other => Err(Problem::other_request(
            "take a new key for another request, and the same API key for the same one",
        )),
        Claimed::Full => Err(Problem::too_many_keys(
            "they are forgotten after 24 hours; send fewer requests with keys",
        )
        .after(60)),
        Claimed::Mine => Err(Problem::internal("a request was not carried out")),
    }
}

fn again(status: StatusCode, kept: Kept, request: Option<&RequestId>) -> Response {
    let mut response = (status, of_request(kept.body, status, request)).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in kept.headers {
        let read = HeaderName::try_from(name).ok();
        if let Some((name, value)) = read.zip(HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// A problem that is told again is told of this request.
fn of_request(body: String, status: StatusCode, request: Option<&RequestId>) -> String {
    let problem = serde_json::from_str::<serde_json::Value>(&body).ok();
    match (problem, request) {
        (Some(mut problem), Some(RequestId(id))) if status.is_client_error() => {
            problem["instance"] = Problem::instance_of(id).into();
            problem.to_string()
        }
        _ => body,
    }
}

impl Try {
    /// Carries the request out and keeps its answer, if that says anything about the request.
    async fn run(
        self,
        control: &Control,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let Ok(response) = tokio::time::timeout(TRY, next.run(request)).await else {
            self.release(control).await;
            return Err(Problem::too_slow("not done within 85 s"));
        };
        if !is_kept(response.status()) {
            self.release(control).await;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let whole = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let body = whole.map_err(|error| Problem::internal(error.to_string()))?;
        if let Some(sealed) = self.sealed(&parts.headers, &body) {
            let status = u64::from(parts.status.as_u16());
            let kept = control.store.answered(&self.claim, status, &sealed).await;
            if let Err(error) = kept {
                let error = zen_chassis::chain::Chain(&error);
                tracing::warn!(%error, "cannot keep the answer to a request that may be repeated");
            }
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// The answer as it is kept; none if it is too large, or no text.
    fn sealed(&self, headers: &HeaderMap, body: &Bytes) -> Option<Vec<u8>> {
        let text = |name: &HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.to_string(), value.to_owned()))
        };
        let kept = Kept {
            headers: HEADERS.iter().filter_map(text).collect(),
            body: String::from_utf8(body.to_vec()).ok()?,
        };
        let bytes = serde_json::to_vec(&kept).ok()?;
        let fits = bytes.len() <= ANSWER;
        fits.then(|| self.key.seal(&self.claim.id, bytes)).flatten()
    }

    async fn release(&self, control: &Control) {
        if let Err(error) = control.store.release(&self.claim).await {
            let error = zen_chassis::chain::Chain(&error);
            tracing::warn!(%error, "cannot release a request: it may be repeated in two minutes");
        }
    }
}

/// Whether an answer is about the request itself, and not about who asked or about a bad moment.
fn is_kept(status: StatusCode) -> bool {
    let of_the_moment = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !of_the_moment.contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_plain_text() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_static(value));
            }
            key_of(&headers).ok()
        };
        assert_eq!(read(&["a-1"]).as_deref(), Some("a-1"));
        for refused in [&["a", "b"][..], &[""], &["a b"], &["\t"]] {
            assert_eq!(read(refused), None, "{refused:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(KEY, HeaderValue::try_from("x".repeat(256)).unwrap());
        assert!(key_of(&headers).is_err());
    }

    #[test]
    fn an_answer_of_the_moment_is_not_kept() {
        for (status, kept) in [
            (201, true),
            (409, true),
            (422, true),
            (503, false),
            (401, false),
        ] {
            assert_eq!(
                is_kept(StatusCode::from_u16(status).unwrap()),
                kept,
                "{status}"
            );
        }
    }
}

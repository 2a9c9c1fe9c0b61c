//! Why a webhook was not accepted: a status, a stable code, one sentence; never what would have been right.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use zen_journal::AppendError;

use crate::store::NoRoom;
use crate::verify::Mismatch;

/// An answer other than 2xx.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// Stable, from a closed set: also the label of the metric.
    pub(crate) code: &'static str,
    /// One sentence for people.
    pub(crate) detail: Cow<'static, str>,
    /// Seconds after which a repeat may succeed.
    retry_after: Option<u16>,
    allow: Option<HeaderValue>,
    /// The rest of the body is not read: an HTTP/1.1 connection cannot go on.
    pub(crate) leaves_body: bool,
}

const SOON: u16 = 1;
const LATER: u16 = 10;

impl Refusal {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            allow: None,
            leaves_body: false,
        }
    }

    fn again_after(mut self, seconds: u16) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn leaving_body(mut self) -> Self {
        self.leaves_body = true;
        self
    }

    pub(super) fn unconfigured() -> Self {
        let detail = "this ingester has not received its configuration yet";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "NOT_CONFIGURED", detail).again_after(LATER)
    }

    pub(super) fn unknown() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ENDPOINT_UNKNOWN",
            "there is no such endpoint",
        )
    }

    pub(super) fn removed() -> Self {
        Self::new(
            StatusCode::GONE,
            "ENDPOINT_REMOVED",
            "this endpoint was removed",
        )
    }

    pub(super) fn misconfigured() -> Self {
        let detail = "this endpoint's configuration cannot be followed; its operator is told why";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ENDPOINT_MISCONFIGURED",
            detail,
        )
        .again_after(LATER)
    }

    pub(super) fn method(allow: HeaderValue) -> Self {
        let detail = "the method is not one of those in the header allow";
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail);
        Self {
            allow: Some(allow),
            ..refusal
        }
    }

    pub(super) fn source() -> Self {
        let detail = "this endpoint does not take webhooks from your address";
        Self::new(StatusCode::FORBIDDEN, "SOURCE_NOT_ALLOWED", detail)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than the {limit} bytes this endpoint takes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", detail).leaving_body()
    }

    pub(super) fn broken_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "BODY_UNREADABLE",
            "the body did not arrive whole",
        )
    }

    pub(super) fn slow_body(limit: Duration) -> Self {
        let detail = format!("the body did not arrive within {} s", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", detail).leaving_body()
    }

    pub(super) fn signature(mismatch: &Mismatch) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            mismatch.code(),
            mismatch.to_string(),
        )
    }

    pub(super) fn secret_unavailable() -> Self {
        let detail = "a secret of this endpoint cannot be read at the moment";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SECRET_UNAVAILABLE",
            detail,
        )
        .again_after(LATER)
    }

    pub(super) fn no_room(no_room: NoRoom) -> Self {
        let (code, seconds) = match no_room {
            NoRoom::Full => ("JOURNAL_FULL", LATER),
            NoRoom::Slow => ("JOURNAL_SLOW", SOON),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, no_room.to_string()).again_after(seconds)
    }

    pub(super) fn not_stored(error: &AppendError) -> Self {
        // A record that is too large stays so: every limit on bodies and headers lies below the journal's.
        let detail = error.to_string();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), detail).again_after(LATER)
    }

    pub(super) fn stopping() -> Self {
        let detail = "this ingester is stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "STOPPING", detail).again_after(SOON)
    }

    pub(super) fn timeout(limit: Duration) -> Self {
        let detail = format!("the request was not done within {} s", limit.as_secs());
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "REQUEST_TIMEOUT", detail).again_after(SOON)
    }

    /// The answer: `{"code":…,"detail":…}`.
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let body = serde_json::json!({ "code": self.code, "detail": self.detail }).to_string();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

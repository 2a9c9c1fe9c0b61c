//! Around every request: an id for it, bounded time, the count of it, and headers that every answer
//! has. Problems get the request's id here, so that a person can name the one that failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use tracing::Instrument;

use crate::control::Control;
use crate::problem::Problem;

/// Time for one request, its body included; longer than a plane may take to answer.
const REQUEST: Duration = Duration::from_secs(90);
/// The request's id, in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a caller may choose.
const CHOSEN_ID: usize = 64;

/// What the request is called, for who needs it before the frame does.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

/// Answers the request within its time.
pub(super) async fn frame(
    State(control): State<Arc<Control>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = chosen(request.headers().get(&REQUEST_ID))
        .unwrap_or_else(|| format!("req_{}", hex::encode(control.stage.random.bytes::<12>())));
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", id = %id);
    let answered = tokio::time::timeout(REQUEST, next.run(request))
        .instrument(span)
        .await;
    let answered = answered
        .unwrap_or_else(|_elapsed| Problem::too_slow("not done within 90 s").into_response());
    let mut response = named(answered, &id);
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    control
        .metrics
        .request(response.status(), began.elapsed().as_secs_f64());
    response
}

/// The id that the caller chose, if it is a plain one.
fn chosen(value: Option<&HeaderValue>) -> Option<String> {
    let text = value?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=CHOSEN_ID).contains(&text.len());
    (fits && text.bytes().all(plain)).then(|| text.to_owned())
}

/// A problem says which request it was.
fn named(mut response: Response, id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let (parts, _) = response.into_parts();
    let mut named = problem.of_request(id).into_response();
    // What others have added to the answer stays, such as the methods that are allowed.
    for (name, value) in &parts.headers {
        if !named.headers().contains_key(name) && name != header::CONTENT_LENGTH {
            named.headers_mut().append(name.clone(), value.clone());
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_choose_a_plain_id_only() {
        let read = |text: &'static str| chosen(Some(&HeaderValue::from_static(text)));
        assert_eq!(read("abc-1.2_X").as_deref(), Some("abc-1.2_X"));
        assert_eq!(read(""), None);
        assert_eq!(read("a b"), None);
        assert_eq!(read("<script>"), None);
        assert_eq!(
            read("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            None
        );
    }
}

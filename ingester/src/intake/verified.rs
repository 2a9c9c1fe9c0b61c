//! A webhook whose signature holds: it becomes an event, is known to be new, and is stored.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use prost::Message;
use tracing::Span;
use zen_chassis::trace_context;
use zen_proto::delivery::v1::{Event, Header};
use zen_proto::ids::EventId;

use super::Intake;
use super::accepted::Accepted;
use super::arrival::Arrival;
use super::refusal::Refusal;
use super::routed::Routed;
use crate::dedupe::{Claim, Claimed};
use crate::routing::Endpoint;

/// A webhook that its endpoint trusts.
pub(crate) struct Verified {
    arrival: Arrival<Bytes>,
    endpoint: Arc<Endpoint>,
    /// The source's own id, if it has one.
    source_key: Option<String>,
}

impl Verified {
    /// Judges the signature over the raw body.
    pub(super) fn new(routed: Routed<Bytes>, now_ms: u64) -> Result<Self, Refusal> {
        let Routed { arrival, endpoint } = routed;
        let now_seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
        let headers = arrival.headers();
        match endpoint
            .verifier
            .verify(headers, &arrival.body, now_seconds)
        {
            Ok(()) => {}
            Err(crate::verify::Mismatch::NoMatch) if endpoint.lacks_secret => {
                return Err(Refusal::secret_unavailable());
            }
            Err(mismatch) => return Err(Refusal::signature(&mismatch)),
        }
        let source_key = endpoint.verifier.source_key(headers, &arrival.body);
        Ok(Self {
            arrival,
            endpoint,
            source_key,
        })
    }

    /// Stores the event unless it was stored before; durable when this returns.
    pub(super) async fn accept(
        self,
        intake: &Intake,
        now_ms: u64,
        span: &Span,
    ) -> Result<Accepted, Refusal> {
        let claimed = match self.claim(intake, now_ms).await {
            Claimable::New(claimed) => claimed,
            Claimable::Repeat(event_id) => {
                return Ok(Accepted {
                    event_id,
                    repeated: true,
                });
            }
        };
        intake.store.check_room().map_err(Refusal::no_room)?;
        let event_id: EventId = intake.stage.id();
        let event = Bytes::from(self.into_event(event_id, now_ms, span).encode_to_vec());
        let store = intake.store.clone();
        // In a task of its own: a source that gives up must not leave its id unsettled while the event is written.
        let append = async move { store.append(event, event_id, now_ms, claimed).await };
        match intake.appends.spawn(append).await {
            Ok(Ok(())) => Ok(Accepted {
                event_id,
                repeated: false,
            }),
            Ok(Err(error)) => Err(Refusal::not_stored(&error)),
            // Only when the runtime ends under it.
            Err(_) => Err(Refusal::stopping()),
        }
    }

    async fn claim(&self, intake: &Intake, now_ms: u64) -> Claimable {
        let Some(source_key) = &self.source_key else {
            return Claimable::New(None);
        };
        loop {
            match intake
                .store
                .dedupe()
                .claim(&self.endpoint.id, source_key, now_ms)
            {
                Claim::First(claimed) => return Claimable::New(Some(claimed)),
                Claim::Repeat(event_id) => return Claimable::Repeat(event_id),
                Claim::Wait(told) => {
                    if let Ok(event_id) = told.await {
                        return Claimable::Repeat(event_id);
                    }
                }
            }
        }
    }

    fn into_event(self, event_id: EventId, now_ms: u64, span: &Span) -> Event {
        let Self {
            arrival,
            endpoint,
            source_key,
        } = self;
        Event {
            version: 1,
            event_id: event_id.to_string(),
            tenant_id: endpoint.tenant_id.clone(),
            endpoint_id: endpoint.id.clone(),
            accepted_at_ms: now_ms,
            method: arrival.method().as_str().to_owned(),
            path_and_query: arrival.below_endpoint(),
            headers: kept_headers(&arrival),
            traceparent: if span.is_none() {
                arrival.traceparent().to_owned()
            } else {
                trace_context::outgoing(span, arrival.traceparent())
            },
            source_key: source_key.unwrap_or_default(),
            source_address: arrival.source.to_canonical().to_string(),
            body: arrival.body,
        }
    }
}

enum Claimable {
    New(Option<Claimed>),
    Repeat(EventId),
}

/// Headers for the targets: all but those of the connection and those that let somebody in here.
fn kept_headers(arrival: &Arrival<Bytes>) -> Vec<Header> {
    let headers = arrival.headers();
    let named = headers
        .get(header::CONNECTION)
        .and_then(|value| value.to_str().ok());
    let named = named.unwrap_or_default();
    let of_connection = |name: &HeaderName| {
        named
            .split(',')
            .any(|one| one.trim().eq_ignore_ascii_case(name.as_str()))
    };
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_kept(name) || (!named.is_empty() && of_connection(name)) {
            continue;
        }
        let value = Bytes::copy_from_slice(value.as_bytes());
        kept.push(Header {
            name: name.as_str().to_owned(),
            value,
        });
    }
    kept
}

fn is_kept(name: &HeaderName) -> bool {
    let dropped = [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::AUTHORIZATION,
        header::COOKIE,
    ];
    let name_text = name.as_str();
    !dropped.contains(name)
        && name_text != "keep-alive"
        && name_text != "trailers"
        && !name_text.starts_with("proxy-")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::Request;

    use super::*;

    #[test]
    fn headers_of_the_connection_and_credentials_stay_here() {
        let request = Request::builder()
            .header("connection", "keep-alive, X-Hop")
            .header("x-hop", "1")
            .header("te", "trailers")
            .header("authorization", "secret")
            .header("proxy-authorization", "secret")
            .header("cookie", "secret")
            .header("x-github-event", "push")
            .header("x-twice", "1")
            .header("x-twice", "2")
            .body(Bytes::new())
            .unwrap();
        let kept = kept_headers(&Arrival::new(request, IpAddr::from([127, 0, 0, 1])));
        let kept: Vec<_> = kept
            .iter()
            .map(|h| (h.name.as_str(), h.value.as_ref()))
            .collect();
        let expected: [(&str, &[u8]); 3] = [
            ("x-github-event", b"push"),
            ("x-twice", b"1"),
            ("x-twice", b"2"),
        ];
        assert_eq!(kept, expected);
    }
}

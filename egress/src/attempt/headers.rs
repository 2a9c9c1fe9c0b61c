//! The headers of a request to a target: what the source sent, less what was meant for us alone,
//! and what this product adds. Pure.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use zen_proto::delivery::v1::Event;

/// Of one connection only (RFC 9110, 7.6.1), or made anew for this request.
const DROPPED: [HeaderName; 17] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    // Meant for our endpoint, not for the target.
    header::AUTHORIZATION,
    header::COOKIE,
    header::ACCEPT_ENCODING,
    // Set below.
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];
/// Whole families that are dropped.
const DROPPED_FAMILIES: [&str; 3] = ["x-zen-", "x-forwarded-", "proxy-"];
const DROPPED_BY_NAME: [&str; 3] = ["keep-alive", "forwarded", "x-real-ip"];
/// Replaced as a whole when we sign.
const SIGNATURE_FAMILIES: [&str; 2] = ["webhook-", "svix-"];

/// What this product adds to a request.
pub(crate) struct Added<'a> {
    pub(crate) delivery_id: &'a str,
    pub(crate) event_id: &'a str,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) traceparent: &'a str,
    /// Unix seconds and the value of `webhook-signature`, if the target has signing secrets.
    pub(crate) signature: Option<(u64, String)>,
    /// The value of `Authorization`, if the target wants one.
    pub(crate) authorization: Option<HeaderValue>,
}

/// All headers of a request but those that HTTP itself adds. Malformed ones of the source are
/// left out: they came through a server that took them, and no client can send them.
pub(crate) fn compose(event: &Event, added: Added<'_>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(event.headers.len() + 8);
    let of_connection = named_by_connection(event);
    for original in &event.headers {
        let Ok(name) = HeaderName::from_bytes(original.name.as_bytes()) else {
            continue;
        };
        let Ok(value) = HeaderValue::from_bytes(&original.value) else {
            continue;
        };
        if passes(&name, added.signature.is_some()) && !of_connection.contains(&name) {
            headers.append(name, value);
        }
    }
    let mut set = |name: &'static str, text: &str| {
        // Ids and traces of a foreign event may hold anything; what is no header value is left out.
        if let Ok(value) = HeaderValue::from_str(text)
            && !text.is_empty()
        {
            headers.insert(name, value);
        }
    };
    set("idempotency-key", added.delivery_id);
    set("x-zen-event-id", added.event_id);
    set("x-zen-attempt", &added.attempt.to_string());
    set("traceparent", added.traceparent);
    if let Some((timestamp, signature)) = &added.signature {
        set("webhook-id", added.delivery_id);
        set("webhook-timestamp", &timestamp.to_string());
        set("webhook-signature", signature);
    }
    if let Some(authorization) = added.authorization {
        headers.insert(header::AUTHORIZATION, authorization);
    }
    headers
}

fn passes(name: &HeaderName, signing: bool) -> bool {
    let text = name.as_str();
    let of = |families: &[&str]| families.iter().any(|family| text.starts_with(family));
    let ours = DROPPED.contains(name) || DROPPED_BY_NAME.contains(&text) || of(&DROPPED_FAMILIES);
    let replaced = signing && of(&SIGNATURE_FAMILIES);
    !ours && !replaced
}

/// The headers that `Connection` names as its own.
fn named_by_connection(event: &Event) -> Vec<HeaderName> {
    event
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .filter_map(|header| std::str::from_utf8(&header.value).ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use zen_proto::delivery::v1::Header;

    use super::*;

    fn compose_from(headers: &[(&str, &str)], signed: bool) -> HeaderMap {
        let headers = headers
            .iter()
            .map(|(name, value)| Header {
                name: (*name).to_owned(),
                value: value.as_bytes().to_vec().into(),
            })
            .collect();
        let event = Event {
            headers,
            ..Event::default()
        };
        compose(
            &event,
            Added {
                delivery_id: "dlv_1",
                event_id: "evt_1",
                attempt: 2,
                traceparent: "00-aa-bb-01",
                signature: signed.then(|| (7, "v1,x".to_owned())),
                authorization: None,
            },
        )
    }

    #[test]
    fn what_the_source_sent_passes_and_what_was_for_us_does_not() {
        let headers = compose_from(
            &[
                ("Content-Type", "application/json"),
                ("X-GitHub-Event", "push"),
                ("X-Hub-Signature-256", "sha256=abc"),
                ("user-agent", "GitHub-Hookshot"),
                ("Accept", "*/*"),
                ("accept", "text/plain"),
                ("Host", "hooks.example"),
                ("Content-Length", "7"),
                ("Authorization", "Bearer ours"),
                ("Cookie", "a=b"),
                ("Connection", "close, X-Hop"),
                ("X-Hop", "1"),
                ("Keep-Alive", "5"),
                ("Transfer-Encoding", "chunked"),
                ("X-Forwarded-For", "1.2.3.4"),
                ("X-Zen-Attempt", "99"),
                ("Idempotency-Key", "theirs"),
                ("traceparent", "theirs"),
                ("bad name", "x"),
            ],
            false,
        );
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept",
                "accept",
                "content-type",
                "idempotency-key",
                "traceparent",
                "user-agent",
                "x-github-event",
                "x-hub-signature-256",
                "x-zen-attempt",
                "x-zen-event-id",
            ]
        );
        assert_eq!(headers["idempotency-key"], "dlv_1");
        assert_eq!(headers["x-zen-attempt"], "2");
        assert_eq!(headers["traceparent"], "00-aa-bb-01");
    }

    #[test]
    fn our_signature_replaces_that_of_the_source_and_without_one_theirs_stays() {
        let theirs = [
            ("webhook-id", "msg_1"),
            ("webhook-signature", "v1,t"),
            ("svix-id", "s"),
        ];
        let unsigned = compose_from(&theirs, false);
        assert_eq!(unsigned["webhook-id"], "msg_1");
        assert_eq!(unsigned["svix-id"], "s");
        let signed = compose_from(&theirs, true);
        assert_eq!(signed["webhook-id"], "dlv_1");
        assert_eq!(signed["webhook-timestamp"], "7");
        assert_eq!(signed["webhook-signature"], "v1,x");
        assert!(!signed.contains_key("svix-id"));
        assert_eq!(signed.get_all("webhook-signature").iter().count(), 1);
    }
}

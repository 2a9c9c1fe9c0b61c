//! What is accepted and how it is kept; what is refused and why.

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zen_proto::snapshot::v1::Scheme;

use crate::harness::{Plane, SOON, endpoint_id};

#[tokio::test]
async fn an_accepted_webhook_is_in_the_journal_as_it_came() {
    let mut plane = Plane::new();
    let running = plane.start().await;
    let request = Request::post(running.url(&format!("/hooks/{}/a/b?c=d", endpoint_id(1))))
        .header("x-kind", "push")
        .header("authorization", "Bearer secret")
        .header("connection", "keep-alive");
    let answer = running.send(request, b"\x00raw\xff").await;
    let id = answer.event_id().to_owned();
    running.stop().await;

    let events = plane.stored().await;
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event.event_id, id);
    assert_eq!(event.endpoint_id, endpoint_id(1));
    assert_eq!(event.tenant_id, plane.snapshot.tenant_id);
    assert_eq!(event.method, "POST");
    assert_eq!(event.path_and_query, "/a/b?c=d");
    assert_eq!(event.body, &b"\x00raw\xff"[..]);
    assert_eq!(event.source_address, "127.0.0.1");
    assert!(
        event
            .headers
            .iter()
            .any(|h| h.name == "x-kind" && h.value == "push")
    );
    assert!(
        !event
            .headers
            .iter()
            .any(|h| h.name == "authorization" || h.name == "connection")
    );
    assert!(event.accepted_at_ms > 1_700_000_000_000);
}

#[tokio::test]
async fn each_refusal_has_its_status_and_code() {
    let mut plane = Plane::new();
    plane.endpoint(2, Scheme::None, &[]).removed = true;
    plane.endpoint(3, Scheme::None, &[]).methods = vec!["POST".to_owned(), "PUT".to_owned()];
    plane.endpoint(4, Scheme::None, &[]).allowed_sources = vec!["192.0.2.0/24".to_owned()];
    plane.endpoint(5, Scheme::None, &[]).max_body_bytes = 4;
    plane.endpoint(6, Scheme::Unspecified, &[]);
    let running = plane.start().await;

    let answer = running.post(&endpoint_id(77), &[], "").await;
    assert_eq!(answer.refusal(), (404, "ENDPOINT_UNKNOWN"));
    let answer = running.post("nonsense", &[], "").await;
    assert_eq!(answer.refusal(), (404, "ENDPOINT_UNKNOWN"));
    let answer = running.post(&endpoint_id(2), &[], "").await;
    assert_eq!(answer.refusal(), (410, "ENDPOINT_REMOVED"));
    let get = Request::get(running.url(&format!("/hooks/{}", endpoint_id(3))));
    let answer = running.send(get, b"").await;
    assert_eq!(answer.refusal(), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(answer.headers["allow"], "POST, PUT");
    let answer = running.post(&endpoint_id(4), &[], "").await;
    assert_eq!(answer.refusal(), (403, "SOURCE_NOT_ALLOWED"));
    let answer = running.post(&endpoint_id(5), &[], "12345").await;
    assert_eq!(answer.refusal(), (413, "BODY_TOO_LARGE"));
    let answer = running.post(&endpoint_id(6), &[], "").await;
    assert_eq!(answer.refusal(), (503, "ENDPOINT_MISCONFIGURED"));
    running.post(&endpoint_id(5), &[], "1234").await.event_id();
    let put = Request::put(running.url(&format!("/hooks/{}", endpoint_id(3))));
    running.send(put, b"").await.event_id();

    let health = running
        .send(Request::get(running.url("/healthz")), b"")
        .await;
    assert_eq!(health.status, 200);
    running.stop().await;
    assert_eq!(plane.stored().await.len(), 2);
}

#[tokio::test]
async fn without_a_configuration_it_says_come_back_later() {
    let plane = Plane::new();
    let running = plane.start_unconfigured().await;
    let answer = running.post(&endpoint_id(1), &[], "").await;
    assert_eq!(answer.refusal(), (503, "NOT_CONFIGURED"));
    assert!(answer.headers.contains_key("retry-after"));
    running.stop().await;
}

#[tokio::test]
async fn the_last_configuration_serves_without_an_agent() {
    let mut plane = Plane::new();
    plane.start().await.stop().await;
    let nobody = plane.folder.path().join("nobody.sock");
    plane.config.agent.address = zen_chassis::net::Address::Unix(nobody);
    let running = plane.start_unconfigured().await;
    running.post(&endpoint_id(1), &[], "").await.event_id();
    assert!(running.stage.ready.is_ready());
    running.stop().await;
}

/// Sends bytes as they are and reads what comes until the connection ends.
async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer));
    // A reset after the answer is an end too.
    let _end = read.await.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_is_bounded_whether_or_not_it_says_its_size() {
    let mut plane = Plane::new();
    plane.endpoint(2, Scheme::None, &[]).max_body_bytes = 10;
    let running = plane.start().await;
    let path = format!("/hooks/{}", endpoint_id(2));

    // Refused by what it says, before a byte of it came.
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 11\r\nexpect: 100-continue\r\n\r\n"
    );
    let answer = raw(running.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");

    let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    let large = format!("{head}6\r\nabcdef\r\n6\r\nghijkl\r\n0\r\n\r\n");
    let answer = raw(running.address, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let close = head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let small = format!("{close}6\r\nabcdef\r\n4\r\nghij\r\n0\r\n\r\n");
    let answer = raw(running.address, small.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    running.stop().await;
    assert_eq!(plane.stored().await[0].body, "abcdefghij");
}

#[tokio::test]
async fn a_block_of_headers_is_bounded_in_size_and_time() {
    let mut plane = Plane::new();
    plane.config.header_timeout = std::time::Duration::from_millis(300);
    let running = plane.start().await;
    let path = format!("/hooks/{}", endpoint_id(1));
    // As much as is ever read, and no end to it.
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nx-large: ");
    head.push_str(&"x".repeat(zen_proto::limits::HEADER_BLOCK - head.len()));
    let answer = raw(running.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    // Neither silence nor half a line holds a connection open.
    assert_eq!(raw(running.address, b"").await, "");
    assert_eq!(raw(running.address, b"P").await, "");
    raw(running.address, b"POST /hooks/x HTTP/1.1\r\nhost:").await;
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let mut plane = Plane::new();
    plane.config.request_timeout = std::time::Duration::from_secs(1);
    let running = plane.start().await;
    let path = format!("/hooks/{}", endpoint_id(1));
    let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf");
    let answer = raw(running.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("BODY_TOO_SLOW"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_shutdown_began() {
    let mut plane = Plane::new();
    let running = plane.start().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let path = format!("/hooks/{}", endpoint_id(1));
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    running.stage.shutdown.cancel();
    stream.write_all(b"late").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    running.stop().await;
    assert_eq!(plane.stored().await[0].body, "late");
}

#[tokio::test]
async fn the_trace_context_of_the_source_is_kept_with_the_event() {
    let mut plane = Plane::new();
    let running = plane.start().await;
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    running
        .post(&endpoint_id(1), &[("traceparent", context)], "")
        .await
        .event_id();
    running
        .post(&endpoint_id(1), &[("traceparent", "nonsense")], "")
        .await
        .event_id();
    running.stop().await;
    let contexts: Vec<_> = plane
        .stored()
        .await
        .into_iter()
        .map(|event| event.traceparent)
        .collect();
    assert_eq!(contexts, [context, ""]);
}

#[tokio::test]
async fn the_status_counts_what_came_and_names_the_address() {
    let mut plane = Plane::new();
    plane.endpoint(2, Scheme::Github, &["file:github"]);
    plane.secret("github", "secret");
    let running = plane.start().await;
    running.post(&endpoint_id(1), &[], "").await.event_id();
    running.post(&endpoint_id(1), &[], "").await.event_id();
    assert_eq!(
        running.post(&endpoint_id(2), &[], "").await.refusal(),
        (401, "missing_header")
    );
    let of = |n: u8| {
        let id = endpoint_id(n);
        move |c: &&zen_proto::session::v1::FlowCounters| c.endpoint_id == id
    };
    let report = plane.agent.report(|status| {
        let accepted = status.counters.iter().find(of(1)).map_or(0, |c| c.accepted);
        let refused = status.counters.iter().find(of(2)).map_or(0, |c| c.refused);
        (accepted, refused) == (2, 1)
    });
    let report = report.await;
    assert_eq!(report.component, "ingester");
    assert_eq!(
        report.advertised_address,
        format!("http://{}", running.address)
    );
    assert!(report.ready, "{report:?}");
    running.stop().await;
}

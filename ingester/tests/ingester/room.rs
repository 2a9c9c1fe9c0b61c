//! A full journal refuses, loses nothing, and takes again once events were handed on.

use bytesize::ByteSize;

use crate::egress::FakeEgress;
use crate::harness::{Plane, SOON, endpoint_id};

#[tokio::test]
async fn a_full_journal_is_503_and_empties_into_the_egress() {
    let mut plane = Plane::new();
    plane.flow(1, None);
    plane.config.journal.max_size = ByteSize::mib(1);
    plane.config.journal.segment_size = ByteSize::kib(64);
    let running = plane.start().await;
    let body = "x".repeat(60_000);
    let mut accepted = 0;
    let refused = loop {
        let answer = running.post(&endpoint_id(1), &[], &body).await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 100, "it never fills");
    };
    assert_eq!(refused.refusal(), (503, "JOURNAL_FULL"));
    assert!(refused.headers.contains_key("retry-after"));
    assert!(accepted >= 16, "{accepted} events filled it");

    let egress = FakeEgress::default();
    egress.start(&plane.egress_socket());
    assert_eq!(egress.has(accepted).await.len(), accepted);
    let again = async {
        while running.post(&endpoint_id(1), &[], &body).await.status != 202 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, again)
        .await
        .expect("it stays full");
    running.stop().await;
}

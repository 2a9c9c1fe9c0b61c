//! The store against a played API server: what is torn, raced for, cut off or out of reach.

use http::Method;
use zen_chassis::ready::Readiness;

use super::*;
use crate::kubernetes::herald::Herald;
use crate::kubernetes::parts::PART;
use crate::kubernetes::play::{Luck, Server};
use crate::kubernetes::settings::KubernetesConfig;

struct Term {
    store: SecretStore,
    over: CancellationToken,
    overtaken: CancellationToken,
}

fn term(server: &Server) -> Term {
    let ready = Readiness::default();
    let board = Board::new(ready.condition("kubernetes", ""), Herald::silent());
    let (over, overtaken) = (CancellationToken::new(), CancellationToken::new());
    let bundles = Bundles::new(&KubernetesConfig::default());
    Term {
        store: SecretStore::new(
            server.api(7),
            board,
            bundles,
            over.clone(),
            overtaken.clone(),
        ),
        over,
        overtaken,
    }
}

fn content(text: &[u8]) -> Content {
    Zeroizing::new(text.to_vec())
}

/// No two parts alike, so that a mixture would be seen.
fn large(parts: usize, seed: u8) -> Vec<u8> {
    let word = |at: usize| (at / 1024).to_be_bytes()[7] ^ seed;
    (0..parts * PART - 100).map(word).collect()
}

async fn snapshot_of(server: &Server) -> Option<Vec<u8>> {
    let read = term(server).store.read(Entry::Snapshot).await.unwrap();
    read.map(|content| content.to_vec())
}

#[tokio::test(start_paused = true)]
async fn entries_are_secrets_that_read_back_and_are_removed() {
    let server = Server::new();
    let store = term(&server).store;
    for entry in [Entry::Pending, Entry::Identity, Entry::Snapshot] {
        assert!(store.read(entry).await.unwrap().is_none());
        for text in [&b"one"[..], b"two", b""] {
            store.write(entry, content(text)).await.unwrap();
            assert_eq!(&**store.read(entry).await.unwrap().unwrap(), text);
            let again = term(&server).store.read(entry).await.unwrap();
            assert_eq!(&**again.unwrap(), text);
        }
    }
    assert_eq!(
        server.names(),
        [
            "secrets/zen-agent-identity",
            "secrets/zen-agent-pending",
            "secrets/zen-agent-snapshot-0"
        ]
    );
    for entry in [Entry::Pending, Entry::Identity, Entry::Snapshot] {
        store.remove(entry).await.unwrap();
        store.remove(entry).await.unwrap();
        assert!(store.read(entry).await.unwrap().is_none());
    }
    assert!(server.names().is_empty());
    assert!(store.write(Entry::Bundle, content(b"x")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_large_snapshot_is_split_and_a_smaller_one_leaves_no_part_behind() {
    let server = Server::new();
    let store = term(&server).store;
    for parts in [3, 1, 2] {
        let whole = large(parts, 1);
        store.write(Entry::Snapshot, content(&whole)).await.unwrap();
        assert_eq!(server.names().len(), parts);
        assert!(snapshot_of(&server).await.unwrap() == whole);
    }
    // What an earlier term left half done goes with the next large one.
    let whole = large(2, 2);
    let slots = server.names().len();
    let next = term(&server).store;
    next.write(Entry::Snapshot, content(&whole)).await.unwrap();
    assert!(server.names().len() <= slots.max(2));
    assert!(snapshot_of(&server).await.unwrap() == whole);
    let huge = vec![0; PART * usize::from(SLOTS) + 1];
    assert!(store.write(Entry::Snapshot, content(&huge)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_write_cut_off_between_parts_leaves_the_snapshot_before() {
    let before = large(2, 1);
    let after = large(3, 2);
    for cut in 0..3 {
        let server = Server::new();
        let Term { store, .. } = term(&server);
        store
            .write(Entry::Snapshot, content(&before))
            .await
            .unwrap();
        let mut written = 0;
        server.fate(move |method, _| {
            if method == Method::PATCH {
                written += 1;
            }
            if written > cut {
                Luck::Status(403)
            } else {
                Luck::Good
            }
        });
        let torn = store.write(Entry::Snapshot, content(&after)).await;
        assert!(torn.is_err(), "{cut}");
        server.fate(|_, _| Luck::Good);
        assert!(snapshot_of(&server).await.unwrap() == before, "{cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_missing_or_foreign_makes_the_snapshot_none() {
    let server = Server::new();
    let store = term(&server).store;
    store
        .write(Entry::Snapshot, content(&large(3, 1)))
        .await
        .unwrap();
    let good = server.object("secrets/zen-agent-snapshot-1").unwrap();
    server.remove("secrets/zen-agent-snapshot-1");
    assert_eq!(snapshot_of(&server).await, None);
    let other = term(&server).store;
    other
        .write(Entry::Snapshot, content(&large(3, 2)))
        .await
        .unwrap();
    assert!(snapshot_of(&server).await.is_some());
    server.edit("secrets/zen-agent-snapshot-1", |secret| {
        secret["data"] = good["data"].clone();
    });
    assert_eq!(snapshot_of(&server).await, None);
    server.edit("secrets/zen-agent-snapshot-0", |secret| {
        secret["metadata"]["annotations"] = serde_json::json!({});
    });
    assert_eq!(snapshot_of(&server).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_another_wrote_is_not_written_over_but_read_again() {
    let server = Server::new();
    let Term {
        store, overtaken, ..
    } = term(&server);
    store
        .write(Entry::Identity, content(b"mine"))
        .await
        .unwrap();
    // A label is no content.
    server.edit("secrets/zen-agent-identity", |secret| {
        secret["metadata"]["labels"]["team"] = "x".into();
    });
    store
        .write(Entry::Identity, content(b"mine, renewed"))
        .await
        .unwrap();
    // Taken away by hand: it is needed.
    server.remove("secrets/zen-agent-identity");
    store
        .write(Entry::Identity, content(b"mine, again"))
        .await
        .unwrap();
    assert!(!overtaken.is_cancelled());
    server.edit("secrets/zen-agent-identity", |secret| {
        secret["data"]["identity.json"] = "dGhlaXJz".into();
    });
    let refused = store.write(Entry::Identity, content(b"mine, late")).await;
    assert!(refused.is_err());
    assert!(overtaken.is_cancelled());
    let now = term(&server).store.read(Entry::Identity).await.unwrap();
    assert_eq!(&**now.unwrap(), b"theirs");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_known_for_ones_own() {
    let server = Server::new();
    let Term {
        store, overtaken, ..
    } = term(&server);
    store.write(Entry::Identity, content(b"one")).await.unwrap();
    let mut first = true;
    server.fate(move |method, _| match method == Method::PATCH {
        true if std::mem::take(&mut first) => Luck::LostAnswer,
        _ => Luck::Good,
    });
    store.write(Entry::Identity, content(b"two")).await.unwrap();
    store
        .write(Entry::Identity, content(b"three"))
        .await
        .unwrap();
    assert!(!overtaken.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn writes_take_effect_in_order_also_if_nobody_waits_for_them() {
    let server = Server::new();
    let store = term(&server).store;
    for text in [&b"one"[..], b"two", b"three"] {
        // The caller is gone before the first request is answered.
        let write = store.write(Entry::Identity, content(text));
        let _gone = tokio::time::timeout(Duration::from_millis(1), write).await;
    }
    let read = store.read(Entry::Identity).await.unwrap();
    assert_eq!(&**read.unwrap(), b"three");
    assert_eq!(
        server.requests(),
        [
            "PATCH secrets/zen-agent-identity",
            "PATCH secrets/zen-agent-identity",
            "PATCH secrets/zen-agent-identity",
            "GET secrets/zen-agent-identity"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_the_term() {
    let server = Server::new();
    let Term { store, over, .. } = term(&server);
    store.write(Entry::Identity, content(b"one")).await.unwrap();
    server.fate(|_, _| Luck::Silence);
    let write = store.write(Entry::Identity, content(b"two"));
    let end = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.cancel();
        store.settled().await;
    };
    let (written, ()) = tokio::join!(write, end);
    assert!(written.is_err());
    server.fate(|_, _| Luck::Good);
    server.requests();
    assert!(
        store
            .write(Entry::Identity, content(b"late"))
            .await
            .is_err()
    );
    assert!(store.remove(Entry::Identity).await.is_err());
    assert!(server.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_slow_or_throttles_is_asked_again_with_pauses() {
    let server = Server::new();
    let store = term(&server).store;
    let mut left = 4;
    server.fate(move |_, _| {
        left -= 1;
        match left {
            3 => Luck::Status(429),
            2 => Luck::Status(503),
            1 => Luck::Refused,
            _ => Luck::Good,
        }
    });
    store.write(Entry::Identity, content(b"one")).await.unwrap();
    assert_eq!(server.requests().len(), 4);
    server.fate(|_, _| Luck::Status(503));
    let begun = tokio::time::Instant::now();
    let error = store
        .write(Entry::Identity, content(b"two"))
        .await
        .unwrap_err();
    let text = zen_chassis::chain::Chain(&error).to_string();
    assert!(text.contains("KUBERNETES_API_UNREACHABLE"), "{text}");
    assert!(begun.elapsed() <= LIMIT);
    assert!(server.requests().len() < 20);
    server.fate(|_, _| Luck::Status(403));
    let error = store
        .write(Entry::Identity, content(b"two"))
        .await
        .unwrap_err();
    let text = zen_chassis::chain::Chain(&error).to_string();
    let expected = "KUBERNETES_API_FORBIDDEN: patch secrets zen-agent-identity: answered 403";
    assert!(text.contains(expected), "{text}");
    assert_eq!(server.requests().len(), 1, "what is forbidden stays so");
}

//! `zen secret` against a running control plane.
#![cfg(test)]

use serde_json::Value;
use zen_integration_tests::verbs::{told, zen};
use zen_integration_tests::world::Seat;
use zen_seal::{Identity, Realm, Scope, ScopedSecret, SecretValue};

const CANARY: &str = "canary-of-the-command-line";

fn seal(plane: &str, key: &Identity) -> String {
    let secret = ScopedSecret {
        scope: Scope {
            realm: Realm::Plane(plane.parse().unwrap()),
            namespace: None,
            name: "github".to_owned(),
        },
        service_accounts: Vec::new(),
        purposes: Vec::new(),
        created_at_ms: 1,
        version: "0".repeat(32),
        values: [(
            "value".to_owned(),
            SecretValue::from(CANARY.as_bytes().to_vec()),
        )]
        .into(),
    };
    secret.seal(&[key.recipient()], None, 1).unwrap()
}

/// Runs a verb that works, and reads what it printed as JSON.
async fn done(seat: &Seat, words: &[&str], input: &str) -> Value {
    let words = [words, &["-o", "json"]].concat();
    let run = zen(seat, &words, input).await.unwrap();
    assert!(run.status.success(), "{words:?}: {}", told(&run));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[tokio::test]
async fn the_verbs_of_secrets_store_replace_show_and_remove_and_send_nothing_unsealed() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("edge", "edge").await.unwrap();
    let key = Identity::generate();
    let recipient = key.recipient().to_string();
    let put = [
        "secret",
        "put",
        "github",
        "--plane",
        "edge",
        "--recipient",
        &recipient,
    ];
    let sealed = seal(&plane, &key);
    // From standard input, then from a file in its place.
    let stored = done(&seat, &put, &sealed).await;
    assert_eq!(stored["version"], 1, "{stored}");
    let newer = seal(&plane, &key);
    let file = seat.dir.path().join("github.age");
    std::fs::write(&file, &newer).unwrap();
    let file = file.display().to_string();
    let stored = done(&seat, &[&put[..], &["--note", "new", &file]].concat(), "").await;
    assert_eq!(
        (&stored["version"], &stored["note"]),
        (&2.into(), &"new".into())
    );
    let shown = done(&seat, &["secret", "show", "github", "--plane", "edge"], "").await;
    assert_eq!(shown["sealed"], Value::from(newer.clone()));
    let text = zen(&seat, &["secret", "show", "github", "--sealed"], "")
        .await
        .unwrap();
    assert_eq!(String::from_utf8(text.stdout).unwrap(), newer);
    let table = zen(&seat, &["secret", "list"], "").await.unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("github") && table.contains(&key.recipient().key_id()),
        "{table}"
    );
    // What is not sealed is refused before anything is sent, and is not repeated.
    for (input, code) in [
        (CANARY, "SECRET_NOT_AGE"),
        (&sealed[..99], "SECRET_TRUNCATED"),
    ] {
        let run = zen(&seat, &put, input).await.unwrap();
        assert!(!run.status.success());
        assert!(told(&run).contains(code), "{}", told(&run));
        assert!(!told(&run).contains(CANARY), "{}", told(&run));
    }
    let create = [
        "endpoint", "create", "in", "--plane", "edge", "--scheme", "github",
    ];
    let create = [&create[..], &["--secret", "lock:github"]].concat();
    done(&seat, &create, "").await;
    let run = zen(&seat, &["secret", "delete", "github"], "")
        .await
        .unwrap();
    assert!(told(&run).contains("IN_USE"), "{}", told(&run));
    done(&seat, &["secret", "delete", "github", "--force"], "").await;
    let left = done(&seat, &["secret", "list", "--plane", "edge"], "").await;
    assert_eq!(left, Value::Array(Vec::new()));
}

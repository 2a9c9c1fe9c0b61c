//! People, keys and the audit log from the command line.
#![cfg(test)]

use serde_json::Value;
use zen_integration_tests::verbs::{told, zen, zen_at};
use zen_integration_tests::world::Seat;

/// Runs a verb that must succeed and reads its JSON.
async fn done(seat: &Seat, words: &[&str]) -> Value {
    let words = [words, &["-o", "json"]].concat();
    let output = zen(seat, &words, "").await.unwrap();
    assert!(output.status.success(), "{words:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn people_are_invited_changed_and_let_in_again_from_the_command_line() {
    let seat = Seat::start(&[]).await.unwrap();
    let invited = zen(&seat, &["user", "invite", "anna@example.com"], "").await;
    let invited = invited.unwrap();
    assert!(invited.status.success(), "{}", told(&invited));
    let link = String::from_utf8(invited.stdout).unwrap();
    assert!(link.contains("/sign-in/link/"), "{link}");
    let user = done(&seat, &["user", "role", "ANNA@example.com", "editor"]).await;
    assert_eq!(
        (&user["role"], &user["name"]),
        (&"editor".into(), &"anna".into())
    );
    let again = zen(&seat, &["user", "sign-in-link", "anna@example.com"], "").await;
    let again = String::from_utf8(again.unwrap().stdout).unwrap();
    assert!(again.contains("/sign-in/link/") && again != link, "{again}");
    done(&seat, &["user", "disable", "anna@example.com"]).await;
    let users = done(&seat, &["user", "list"]).await;
    let mut users = users.as_array().unwrap().iter();
    let anna = users.find(|user| user["email"] == "anna@example.com");
    assert_eq!(anna.unwrap()["disabled"], true);
}

#[tokio::test]
async fn a_key_may_what_it_was_made_for_until_it_is_revoked() {
    let seat = Seat::start(&[]).await.unwrap();
    let file = seat.dir.path().join("key");
    let path = file.display().to_string();
    let words = [
        "api-key",
        "create",
        "watcher",
        "--scope",
        "plane.read",
        "--write-to",
        &path,
    ];
    done(&seat, &words).await;
    let server = format!("http://{}", seat.http.address);
    let planes = zen_at(&server, &file, &["plane", "list"], "")
        .await
        .unwrap();
    assert!(planes.status.success(), "{}", told(&planes));
    let refused = zen_at(&server, &file, &["plane", "create", "shop"], "").await;
    assert!(told(&refused.unwrap()).contains("FORBIDDEN"));
    done(&seat, &["api-key", "revoke", "watcher"]).await;
    let revoked = zen_at(&server, &file, &["plane", "list"], "")
        .await
        .unwrap();
    assert!(
        told(&revoked).contains("UNAUTHENTICATED"),
        "{}",
        told(&revoked)
    );
}

#[tokio::test]
async fn the_audit_log_holds_and_a_head_that_is_not_in_it_is_told() {
    let seat = Seat::start(&[]).await.unwrap();
    done(&seat, &["plane", "create", "shop"]).await;
    let entries = done(&seat, &["audit", "list", "--action", "plane.create"]).await;
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    let checked = done(&seat, &["audit", "verify"]).await;
    assert_eq!(checked["holds"], true, "{checked}");
    let (seq, hash) = (
        &checked["head"]["seq"],
        checked["head"]["hash"].as_str().unwrap(),
    );
    let kept = format!("{seq}:{hash}");
    done(&seat, &["plane", "create", "other"]).await;
    done(&seat, &["audit", "verify", "--kept", &kept]).await;
    let foreign = format!("{seq}:{}", "0".repeat(64));
    let output = zen(&seat, &["audit", "verify", "--kept", &foreign], "")
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("HASH_NOT_FOUND"),
        "{}",
        told(&output)
    );
}

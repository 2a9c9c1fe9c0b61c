//! The pages of secrets over HTTP, as a browser without JavaScript meets them.

use serde_json::json;
use zen_seal::Identity;

use super::browser::{Browser, Page};
use super::common::{Running, text};
use super::people::{invited, owner};
use super::secrets::{connected, lock, recipients, seal};

/// A note that would run if a page showed it as it stands.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&";

/// What stands in a page beside its frame.
fn main(page: &Page) -> &str {
    let begin = page.text.find("<main").unwrap_or(0);
    let end = page.text.find("</main>").unwrap_or(page.text.len());
    &page.text[begin..end]
}

#[track_caller]
fn has(page: &Page, wanted: &str) {
    assert!(
        main(page).contains(wanted),
        "{wanted:?} is missing: {}",
        main(page)
    );
}

#[track_caller]
fn lacks(page: &Page, unwanted: &str) {
    assert!(
        !main(page).contains(unwanted),
        "{unwanted:?}: {}",
        main(page)
    );
}

/// A secret and an endpoint that names it.
async fn stored(running: &Running, plane: &str, key: &Identity) -> String {
    let body = json!({
        "plane_id": plane, "name": "github", "sealed": seal(plane, "github", &[key]),
        "recipients": recipients(&[key]), "note": HOSTILE,
    });
    let id = text(&running.create("/v1/secrets", body).await, "id");
    let verification = json!({"scheme": "github", "secrets": ["lock:github"]});
    let body = json!({"plane_id": plane, "name": "pushes", "verification": verification});
    running.create("/v1/endpoints", body).await;
    id
}

#[tokio::test]
async fn secrets_are_shown_and_removed_by_forms_alone_and_a_note_is_shown_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut browser = owner(&running).await;
    let empty = browser.get("/secrets").await;
    has(&empty, "nobody but that plane can open it");
    has(&empty, "/secrets/seal");
    let plane = running.plane("edge", "edge").await;
    let key = Identity::generate();
    let id = stored(&running, &plane, &key).await;
    for path in ["/secrets".to_owned(), format!("/secrets/{id}")] {
        let page = browser.get(&path).await;
        for words in ["github", "pushes", "Not known", &key.recipient().key_id()] {
            has(&page, words);
        }
        has(&page, "&#60;img src=x");
        lacks(&page, "<img src=x onerror");
    }
    has(
        &browser.get(&format!("/secrets/{id}")).await,
        "BEGIN AGE ENCRYPTED FILE",
    );
    has(&browser.get("/secrets?name=x").await, "Nothing matches");
    let path = format!("/secrets/{id}/remove");
    has(&browser.get(&path).await, "pushes");
    let refused = browser.post(&path, &[]).await;
    assert_eq!(refused.status, 409);
    has(&refused, "Nothing was removed");
    let removed = browser.post(&path, &[("force", "yes")]).await;
    assert_eq!(removed.status, 303);
    has(
        &browser.get(removed.location()).await,
        "The secret was removed",
    );
    running.stop().await;
}

#[tokio::test]
async fn the_command_to_seal_has_the_planes_own_key_and_no_form_takes_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut browser = owner(&running).await;
    has(
        &browser.get("/secrets/seal").await,
        "There is no plane yet.",
    );
    let (plane, by, talk) = connected(&running, "edge").await;
    let form = format!("/secrets/seal?show=1&plane_id={plane}&name=github&purpose=target-auth");
    let page = browser.get(&form).await;
    has(&page, "--recipient age1…");
    has(&page, "zen-lock keygen");
    let key = Identity::generate();
    talk.heartbeat(&by, vec![lock(&talk, &[&key], &[])]).await;
    let told = |shown: &serde_json::Value| shown["lock"].is_object();
    running.wait(&format!("/v1/planes/{plane}"), told).await;
    let page = browser.get(&form).await;
    has(&page, &format!("--recipient {}", key.recipient()));
    has(&page, "--purpose target-auth");
    has(&page, "zen-lock pubkey");
    lacks(&page, "zen-lock keygen");
    lacks(&page, "<textarea");
    lacks(&page, "type=\"password\"");
    lacks(&page, "method=\"post\"");
    // What is no name does not become a part of a command.
    let page = browser
        .get(&form.replace("github", "%24%28reboot%29"))
        .await;
    lacks(&page, "zen seal --plane");
    has(&page, "a letter or digit at both ends");
    running.stop().await;
}

#[tokio::test]
async fn who_may_only_look_is_offered_no_change_of_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let _owner: Browser = owner(&running).await;
    let plane = running.plane("edge", "edge").await;
    let id = stored(&running, &plane, &Identity::generate()).await;
    let (mut viewer, _) = invited(&running, "viewer").await;
    for path in ["/secrets".to_owned(), format!("/secrets/{id}")] {
        let page = viewer.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        lacks(&page, "/secrets/seal");
        lacks(&page, "/remove\"");
    }
    for path in ["/secrets/seal".to_owned(), format!("/secrets/{id}/remove")] {
        assert_eq!(viewer.get(&path).await.status, 403, "{path}");
    }
    let forced = [("force", "yes")];
    let refused = viewer.post(&format!("/secrets/{id}/remove"), &forced).await;
    assert_eq!(refused.status, 403);
    running.get(&format!("/v1/secrets/{id}")).await;
    running.stop().await;
}

//! People: the first owner's link, passwords, sessions, second steps, and what keeps others out.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::browser::Browser;
use super::common::{Running, text};
use serde_json::{Value, json};

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery";

fn link(folder: &Path) -> String {
    let file = std::fs::read_to_string(folder.join("sign-in-link")).unwrap();
    let url = url::Url::parse(file.trim()).unwrap();
    url.path().to_owned()
}

/// The first owner, signed in: by the link the first time, by password then.
pub(crate) async fn owner(running: &Running) -> Browser {
    let mut browser = Browser::new(running.http);
    let status = if running.state_dir.join("sign-in-link").exists() {
        take(&mut browser, &link(&running.state_dir), EMAIL).await
    } else {
        sign_in(&mut browser, EMAIL, PASSWORD).await.status
    };
    assert_eq!(status, 303);
    browser
}

async fn take(browser: &mut Browser, link: &str, email: &str) -> u16 {
    let form = [
        ("email", email),
        ("name", "Somebody"),
        ("password", PASSWORD),
        ("password_again", PASSWORD),
    ];
    browser.post(link, &form).await.status
}

async fn sign_in(browser: &mut Browser, email: &str, password: &str) -> super::browser::Page {
    let form = [
        ("email", email),
        ("password", password),
        ("next", "/planes"),
    ];
    browser.post("/sign-in", &form).await
}

/// Somebody who was invited with this role, signed in.
pub(crate) async fn invited(running: &Running, role: &str) -> (Browser, String) {
    let email = format!("{role}@example.org");
    let body = json!({"email": email, "name": role, "role": role});
    let invited = running.create("/v1/users", body).await;
    let url = text(&invited["sign_in_link"], "url");
    let mut browser = Browser::new(running.http);
    let path = url::Url::parse(&url).unwrap().path().to_owned();
    assert_eq!(take(&mut browser, &path, "").await, 303);
    (browser, text(&invited["user"], "id"))
}

#[tokio::test]
async fn the_first_owner_comes_in_by_a_link_that_is_good_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let file = folder.path().join("sign-in-link");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let link = link(folder.path());
    let mut browser = Browser::new(running.http);
    // Looking at it, however often, does nothing.
    for _ in 0..2 {
        let shown = browser.get(&link).await;
        assert_eq!(shown.status, 200);
        assert!(shown.text.contains("name=\"password_again\""));
    }
    let short = [("email", EMAIL), ("name", "Ada"), ("password", "short")];
    let refused = browser.post(&link, &short).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("at least 12 characters") && refused.text.contains(EMAIL));
    assert!(!refused.text.contains("value=\"short\""));
    assert_eq!(take(&mut browser, &link, EMAIL).await, 303);
    let (status, me) = browser.call("GET", "/v1/me", Value::Null).await;
    assert_eq!((status, me["role"].as_str()), (200, Some("owner")));
    assert_eq!(
        (me["operator"].as_bool(), me["name"].as_str()),
        (Some(true), Some(EMAIL))
    );
    assert!(!file.exists());
    let mut other = Browser::new(running.http);
    assert_eq!(other.get(&link).await.status, 410);
    assert_eq!(take(&mut other, &link, "eve@example.org").await, 410);
    running.stop().await;
}

#[tokio::test]
async fn an_unused_first_link_is_good_after_a_restart_and_renewed_when_it_expired() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (before, clock) = (link(folder.path()), running.clock.clone());
    running.stop().await;
    let config = || super::common::config(folder.path());
    let running = Running::start_with(config(), clock.clone()).await;
    assert_eq!(link(folder.path()), before);
    running.stop().await;
    clock.advance(Duration::from_secs(24 * 3600 + 1));
    let running = Running::start_with(config(), clock).await;
    assert_ne!(link(folder.path()), before);
    assert_eq!(Browser::new(running.http).get(&before).await.status, 410);
    owner(&running).await;
    running.stop().await;
}

#[tokio::test]
async fn who_fails_to_sign_in_learns_nothing_about_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    owner(&running).await;
    let mut browser = Browser::new(running.http);
    let known = sign_in(&mut browser, EMAIL, "not the password").await;
    let unknown = sign_in(&mut browser, "ad@example.org", "not the password").await;
    assert_eq!((known.status, unknown.status), (403, 403));
    assert_eq!(
        known.text.replace(EMAIL, "…"),
        unknown.text.replace("ad@example.org", "…")
    );
    assert!(browser.cookies.is_empty() && !known.text.contains("not the password"));
    let entered = sign_in(&mut browser, "ADA@Example.org", PASSWORD).await;
    assert_eq!((entered.status, entered.location()), (303, "/planes"));
    let cookie = entered.headers["set-cookie"].to_str().unwrap();
    for part in ["zen-session=", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let failures = running.get("/v1/audit?action=session.refuse").await;
    assert_eq!(failures["items"][0]["detail"]["email"], EMAIL);
    assert_eq!(failures["items"][0]["actor"]["kind"], "system");
    running.stop().await;
}

#[tokio::test]
async fn another_site_can_make_nobody_do_anything() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut browser = owner(&running).await;
    let plane = json!({"name": "edge", "kind": "edge"});
    for site in [Some("cross-site"), Some("same-site"), None] {
        browser.site = site;
        let (status, problem) = browser.call("POST", "/v1/planes", plane.clone()).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (403, Some("CROSS_SITE")),
            "{site:?}"
        );
        assert_eq!(browser.post("/sign-out", &[]).await.status, 403);
        let mut fresh = Browser::new(running.http);
        fresh.site = site;
        assert_eq!(sign_in(&mut fresh, EMAIL, PASSWORD).await.status, 403);
        assert!(fresh.cookies.is_empty());
    }
    browser.site = Some("same-origin");
    assert_eq!(browser.call("POST", "/v1/planes", plane).await.0, 201);
    running.stop().await;
}

#[tokio::test]
async fn who_tries_too_often_waits() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    owner(&running).await;
    let mut browser = Browser::new(running.http);
    for _ in 0..10 {
        assert_eq!(sign_in(&mut browser, EMAIL, "wrong").await.status, 403);
    }
    let refused = sign_in(&mut browser, EMAIL, PASSWORD).await;
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=31).contains(&wait) && refused.text.contains("Too many tries"));
    // Another account is not concerned.
    assert_eq!(
        sign_in(&mut browser, "eve@example.org", "wrong")
            .await
            .status,
        403
    );
    running.clock.advance(Duration::from_secs(wait));
    assert_eq!(sign_in(&mut browser, EMAIL, PASSWORD).await.status, 303);
    running.stop().await;
}

#[tokio::test]
async fn a_session_changes_its_token_every_hour_and_ends_by_idleness_and_age() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut browser = owner(&running).await;
    let mut old = browser.clone();
    running.clock.advance(Duration::from_secs(3600));
    assert_eq!(browser.get("/").await.status, 200);
    assert_ne!(browser.cookies, old.cookies);
    // Requests that were under way with the old token go on; later it is worth nothing.
    assert_eq!(old.clone().get("/").await.status, 200);
    running.clock.advance(Duration::from_secs(60));
    assert_eq!(
        old.get("/planes").await.location(),
        "/sign-in?next=%2Fplanes"
    );
    let page = old.get("/sign-in?next=%2Fplanes").await;
    assert!(page.text.contains("Your session has ended"));
    assert!(old.cookies.is_empty());
    assert_eq!(browser.get("/").await.status, 200);
    running.clock.advance(Duration::from_secs(12 * 3600));
    assert_eq!(browser.get("/").await.status, 303);
    // Used all the time, it still ends after seven days.
    let mut browser = Browser::new(running.http);
    sign_in(&mut browser, EMAIL, PASSWORD).await;
    for _ in 0..15 {
        assert_eq!(browser.get("/").await.status, 200);
        running.clock.advance(Duration::from_secs(11 * 3600));
    }
    running.clock.advance(Duration::from_secs(3 * 3600));
    assert_eq!(browser.get("/").await.status, 303);
    running.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_and_end_by_sign_out_password_role_and_disabling() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut owner = owner(&running).await;
    let mut second = Browser::new(running.http);
    sign_in(&mut second, EMAIL, PASSWORD).await;
    let (_, sessions) = owner.call("GET", "/v1/me/sessions", Value::Null).await;
    let items = sessions["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let other = items.iter().find(|item| item["current"] == false).unwrap();
    assert_eq!(other["browser"], "test browser");
    let path = format!("/v1/me/sessions/{}", text(other, "id"));
    assert_eq!(owner.call("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(second.get("/").await.status, 303);
    sign_in(&mut second, EMAIL, PASSWORD).await;
    let wrong = json!({"present": "not my password", "new": "another fine password"});
    assert_eq!(owner.call("POST", "/v1/me/password", wrong).await.0, 422);
    let right = json!({"present": PASSWORD, "new": "another fine password"});
    assert_eq!(owner.call("POST", "/v1/me/password", right).await.0, 204);
    assert_eq!(second.get("/").await.status, 303);
    assert_eq!(owner.get("/").await.status, 200);
    assert_eq!(sign_in(&mut second, EMAIL, PASSWORD).await.status, 403);
    for change in [json!({"role": "viewer"}), json!({"disabled": true})] {
        let (mut person, id) = match change.get("role") {
            Some(_) => invited(&running, "editor").await,
            None => invited(&running, "admin").await,
        };
        assert_eq!(person.get("/").await.status, 200);
        let (status, _) = running
            .call("PATCH", &format!("/v1/users/{id}"), Some(change))
            .await;
        assert_eq!(status, 200);
        assert_eq!(person.get("/").await.status, 303);
    }
    let out = owner.post("/sign-out", &[]).await;
    assert_eq!((out.status, owner.cookies.len()), (303, 0));
    running.stop().await;
}

#[tokio::test]
async fn the_second_step_takes_a_code_once_and_recovery_codes_instead() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut owner = owner(&running).await;
    let (status, begun) = owner.call("POST", "/v1/me/totp", Value::Null).await;
    assert_eq!(status, 201);
    assert!(text(&begun, "qr_svg").starts_with("<svg"));
    let app = totp_rs::Builder::new()
        .with_secret(secret(&text(&begun, "secret")))
        .build()
        .unwrap();
    let code = |clock: &zen_chassis::Clock| app.generate(clock.unix_ms() / 1000).to_string();
    let confirm = |code: String| json!({"code": code});
    let path = "/v1/me/totp/confirmations";
    assert_eq!(
        owner
            .call("POST", path, confirm("000000".to_owned()))
            .await
            .0,
        422
    );
    let first = code(&running.clock);
    let (status, codes) = owner.call("POST", path, confirm(first.clone())).await;
    assert_eq!(status, 201, "{codes}");
    let recovery = codes["recovery_codes"][3].as_str().unwrap().to_owned();
    let mut browser = Browser::new(running.http);
    let entered = sign_in(&mut browser, EMAIL, PASSWORD).await;
    assert_eq!(entered.location(), "/sign-in/code");
    assert_eq!(
        browser.get("/").await.status,
        303,
        "half signed in is not signed in"
    );
    // The code that confirmed the app is used up.
    assert_eq!(
        browser
            .post("/sign-in/code", &[("code", &first)])
            .await
            .status,
        403
    );
    running.clock.advance(Duration::from_secs(30));
    let second = code(&running.clock);
    let entered = browser.post("/sign-in/code", &[("code", &second)]).await;
    assert_eq!(entered.location(), "/planes");
    assert_eq!(browser.get("/").await.status, 200);
    for expected in [303, 403] {
        let mut browser = Browser::new(running.http);
        sign_in(&mut browser, EMAIL, PASSWORD).await;
        let entered = browser.post("/sign-in/code", &[("code", &recovery)]).await;
        assert_eq!(entered.status, expected, "a recovery code is good once");
    }
    let database = std::fs::read(folder.path().join("control-plane.db")).unwrap_or_default();
    let plain = app.secret().as_bytes();
    assert!(!database.windows(plain.len()).any(|part| part == plain));
    running.stop().await;
}

fn secret(text: &str) -> totp_rs::Secret {
    totp_rs::Secret::try_from_base32(text.replace(' ', "")).unwrap()
}

#[tokio::test]
async fn guessing_codes_ends_the_second_step() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut owner = owner(&running).await;
    let (_, begun) = owner.call("POST", "/v1/me/totp", Value::Null).await;
    let app = totp_rs::Builder::new()
        .with_secret(secret(&text(&begun, "secret")))
        .build()
        .unwrap();
    let code = app.generate(running.clock.unix_ms() / 1000).to_string();
    let body = json!({"code": code});
    assert_eq!(
        owner
            .call("POST", "/v1/me/totp/confirmations", body)
            .await
            .0,
        201
    );
    let mut browser = Browser::new(running.http);
    sign_in(&mut browser, EMAIL, PASSWORD).await;
    for _ in 0..5 {
        let refused = browser.post("/sign-in/code", &[("code", "abc")]).await;
        assert!(refused.text.contains("not the code of this moment"));
    }
    running.clock.advance(Duration::from_secs(60));
    let good = app.generate(running.clock.unix_ms() / 1000).to_string();
    let over = browser.post("/sign-in/code", &[("code", &good)]).await;
    assert!(over.text.contains("SIGN_IN_STEP_OVER"), "{}", over.text);
    running.stop().await;
}

#[tokio::test]
async fn a_tenant_that_asks_for_a_second_step_lets_people_only_set_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (mut person, _) = invited(&running, "admin").await;
    let body = json!({"totp_required": true});
    let (status, _) = running.call("PATCH", "/v1/tenant", Some(body)).await;
    assert_eq!(status, 200);
    assert_eq!(person.get("/planes").await.location(), "/settings/account");
    assert_eq!(person.call("GET", "/v1/planes", Value::Null).await.0, 403);
    let (_, begun) = person.call("POST", "/v1/me/totp", Value::Null).await;
    let app = totp_rs::Builder::new()
        .with_secret(secret(&text(&begun, "secret")))
        .build()
        .unwrap();
    let code = app.generate(running.clock.unix_ms() / 1000).to_string();
    let body = json!({"code": code});
    assert_eq!(
        person
            .call("POST", "/v1/me/totp/confirmations", body)
            .await
            .0,
        201
    );
    assert_eq!(person.call("GET", "/v1/planes", Value::Null).await.0, 200);
    running.stop().await;
}

#[tokio::test]
async fn the_last_owner_stays_and_nobody_makes_a_key_stronger_than_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut owner = owner(&running).await;
    let (_, me) = owner.call("GET", "/v1/me", Value::Null).await;
    let own = format!("/v1/users/{}", text(&me, "id"));
    // Invited and never seen here: not somebody who could take over.
    let other = json!({"email": "new@example.org", "name": "New", "role": "owner"});
    running.create("/v1/users", other).await;
    for (method, body) in [
        ("PATCH", json!({"role": "admin"})),
        ("PATCH", json!({"disabled": true})),
        ("DELETE", Value::Null),
    ] {
        let (status, problem) = owner.call(method, &own, body).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (409, Some("LAST_OWNER"))
        );
    }
    let make = async |key: &str, body: Value| {
        running
            .call_as(Some(key), "POST", "/v1/api-keys", Some(body))
            .await
    };
    let scopes = json!(["key.write", "plane.read"]);
    let body = json!({"name": "narrow", "role": "admin", "scopes": scopes});
    let (status, narrow) = make(&running.key, body).await;
    assert_eq!(status, 201);
    let narrow = text(&narrow, "key");
    for (body, expected) in [
        (
            json!({"name": "x", "role": "owner", "scopes": ["plane.read"]}),
            403,
        ),
        (json!({"name": "x", "role": "admin"}), 403),
        (
            json!({"name": "x", "role": "admin", "scopes": ["plane.write"]}),
            403,
        ),
        (
            json!({"name": "x", "role": "viewer", "scopes": ["plane.read"], "operator": true}),
            403,
        ),
        (
            json!({"name": "x", "role": "viewer", "scopes": ["plane.read"]}),
            201,
        ),
    ] {
        assert_eq!(make(&narrow, body.clone()).await.0, expected, "{body}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_key_shows_its_last_use_and_ends_when_it_expires_or_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let at = running.clock.unix_ms() + 60 * 60 * 1000;
    let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(at / 1000).unwrap()).unwrap();
    let format = time::format_description::well_known::Rfc3339;
    let expires_at = at.format(&format).unwrap();
    let ends = json!({"name": "ends", "role": "viewer", "expires_at": expires_at});
    let ends = running.create("/v1/api-keys", ends).await;
    let stays = json!({"name": "stays", "role": "viewer"});
    let stays = running.create("/v1/api-keys", stays).await;
    let look = async |key: &Value| {
        let key = text(key, "key");
        running
            .call_as(Some(&key), "GET", "/v1/planes", None)
            .await
            .0
    };
    assert_eq!((look(&ends).await, look(&stays).await), (200, 200));
    let keys = running.get("/v1/api-keys").await;
    let listed = keys["items"].as_array().unwrap();
    assert!(listed.iter().all(|key| key.get("key").is_none()));
    assert!(
        listed.iter().all(|key| key["last_used_at"].is_string()),
        "{keys}"
    );
    running.clock.advance(Duration::from_secs(3600));
    assert_eq!((look(&ends).await, look(&stays).await), (401, 200));
    let path = format!("/v1/api-keys/{}", text(&stays, "id"));
    assert_eq!(running.call("DELETE", &path, None).await.0, 204);
    assert_eq!(look(&stays).await, 401);
    running.stop().await;
}

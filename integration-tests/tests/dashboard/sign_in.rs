//! Who comes in and who does not: the link once, the password, the second factor, too many
//! attempts, a session that ends.

use std::time::Duration;

use anyhow::Context;
use fantoccini::key::Key;
use serde_json::json;
use totp_rs::{Builder, Secret};
use zen_chassis::Clock;
use zen_integration_tests::browser;
use zen_integration_tests::world::Seat;

use crate::set::Set;
use crate::visit::{EMAIL, MINUTE, PASSWORD, Visit, owner};

/// What is told to whoever tries too often.
const GUESSING: &str = "protects the account from guessing";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_time_link_works_once_and_the_password_after_it() {
    if !browser::available().unwrap() {
        return;
    }
    let seat = Seat::start(&[]).await.unwrap();
    let state = seat.dir.path().join("cp");
    let link = std::fs::read_to_string(state.join("sign-in-link")).unwrap();
    let visit = Visit::start("link", seat.http.address, &state).await;
    visit.take_the_link().await;
    assert!(!state.join("sign-in-link").exists(), "the link lies about");
    let browser = &visit.browser;
    browser.click("Sign out").await.unwrap();
    browser.open(link.trim()).await.unwrap();
    browser.sees("used").await.unwrap();
    visit.open("/planes").await;
    browser.arrives("/sign-in").await.unwrap();
    visit.enter(EMAIL, PASSWORD).await;
    // Where the visitor wanted to go.
    browser.arrives("/planes").await.unwrap();
    browser.content(&["status of 4"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_are_refused_and_soon_not_even_tried() {
    let Some((_seat, visit)) = owner("wrong-password").await else {
        return;
    };
    let browser = &visit.browser;
    browser.click("Sign out").await.unwrap();
    for email in [EMAIL, "nobody@example.org"] {
        visit.sign_in(email, "not the password").await;
        browser.sees("There is no account with this").await.unwrap();
        assert_eq!(browser.path().await.unwrap(), "/sign-in");
    }
    browser.accessible().await.unwrap();
    let mut refused = false;
    for _attempt in 0..30 {
        visit.sign_in(EMAIL, "not the password").await;
        refused = browser.text().await.unwrap().contains(GUESSING);
        if refused {
            break;
        }
    }
    assert!(refused, "thirty wrong passwords were all tried");
    browser.accessible().await.unwrap();
    browser.picture("sign-in-too-many").await.unwrap();
    // Not even the right one is looked at now.
    visit.sign_in(EMAIL, PASSWORD).await;
    browser.sees(GUESSING).await.unwrap();
    browser.content(&["status of 4"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_is_asked_for_and_a_code_works_once() {
    let Some((_seat, visit)) = owner("second-factor").await else {
        return;
    };
    let browser = &visit.browser;
    visit.open("/settings/account").await;
    browser.click("Set up").await.unwrap();
    let secret = browser.until("the secret is shown", MINUTE, || async {
        secret_in(&browser.text().await?).context("no secret")
    });
    let app = Builder::new()
        .with_secret(Secret::try_from_base32(secret.await.unwrap()).unwrap())
        .build()
        .unwrap();
    // The present code, or that of the step after it: both are taken while clocks may differ.
    let code = |later: u64| {
        let now = Clock::system().unix_ms() / 1000;
        app.generate(now + later * 30).to_string()
    };
    let spent = code(0);
    browser.fill("Code", &spent).await.unwrap();
    browser.click("Confirm").await.unwrap();
    browser.sees("recovery codes").await.unwrap();
    let recovery = recovery_in(&browser.text().await.unwrap());
    assert_eq!(recovery.len(), 10, "{recovery:?}");
    browser.accessible().await.unwrap();
    browser.picture("sign-in-recovery-codes").await.unwrap();

    for (code, taken) in [
        ("000000".to_owned(), false),
        (spent, false),
        (code(1), true),
        (recovery[0].clone(), true),
        (recovery[0].clone(), false),
    ] {
        if browser.offers("Sign out").await.unwrap() {
            browser.click("Sign out").await.unwrap();
        }
        visit.sign_in(EMAIL, PASSWORD).await;
        browser.arrives("/sign-in/code").await.unwrap();
        browser.accessible().await.unwrap();
        browser.fill("Code", &code).await.unwrap();
        browser.press(Key::Enter).await.unwrap();
        if taken {
            browser.arrives("/").await.unwrap();
        } else {
            browser.sees("not the code of this moment").await.unwrap();
        }
    }
    browser.content(&["status of 4"]).await.unwrap();
}

/// The base32 secret in a page's text: 32 letters and digits in groups of four.
fn secret_in(text: &str) -> Option<String> {
    let shaped =
        |word: &&str| word.len() == 4 && word.chars().all(|c| matches!(c, 'A'..='Z' | '2'..='7'));
    let words: Vec<_> = text.split_whitespace().collect();
    let found = words.windows(8).find(|eight| eight.iter().all(shaped))?;
    Some(found.concat())
}

/// The recovery codes in a page's text: four groups of four behind hyphens.
fn recovery_in(text: &str) -> Vec<String> {
    let shaped = |word: &&str| {
        let groups: Vec<_> = word.split('-').collect();
        groups.len() == 4 && groups.iter().all(|group| group.len() == 4)
    };
    text.split_whitespace()
        .filter(shaped)
        .map(ToOwned::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ended_leads_to_the_sign_in_and_back() {
    if !browser::available().unwrap() {
        return;
    }
    let set = Set::start("ended").await;
    let (visit, browser) = (&set.visit, &set.visit.browser);
    visit.open("/planes").await;
    // Nobody touched it for longer than half a day.
    set.clock.advance(Duration::from_secs(12 * 60 * 60 + 60));
    visit.open("/targets").await;
    browser.arrives("/sign-in").await.unwrap();
    browser.sees("session has ended").await.unwrap();
    browser.accessible().await.unwrap();
    visit.enter(EMAIL, PASSWORD).await;
    browser.arrives("/targets").await.unwrap();
    browser.content(&[]).await.unwrap();
    set.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_do_not_run() {
    let Some((seat, visit)) = owner("hostile").await else {
        return;
    };
    let browser = &visit.browser;
    let images = "return document.querySelectorAll('img[src=x]').length";
    let name = "<img src=x onerror=\"document.title='run'\">";
    let plane = json!({ "name": name, "kind": "edge" });
    let plane = seat.api.post("/v1/planes", &plane).await.unwrap();
    let plane = plane["id"].as_str().unwrap();
    let target = json!({ "plane_id": plane, "name": name, "url": "http://192.0.2.1/" });
    let target = seat.api.post("/v1/targets", &target).await.unwrap();
    let endpoint = json!({ "plane_id": plane, "name": name,
        "verification": { "scheme": "none" } });
    let endpoint = seat.api.post("/v1/endpoints", &endpoint).await.unwrap();
    let flow = json!({ "name": name, "endpoint_id": endpoint["id"], "target_id": target["id"] });
    let flow = seat.api.post("/v1/flows", &flow).await.unwrap();
    let id = |value: &serde_json::Value| value["id"].as_str().unwrap().to_owned();
    for path in [
        "/planes".to_owned(),
        format!("/planes/{plane}"),
        format!("/planes/{plane}/install"),
        "/targets".to_owned(),
        format!("/targets/{}", id(&target)),
        "/endpoints".to_owned(),
        format!("/endpoints/{}", id(&endpoint)),
        "/flows".to_owned(),
        format!("/flows/{}", id(&flow)),
    ] {
        visit.open(&path).await;
        browser.sees("<img src=x").await.unwrap();
        assert_eq!(browser.ask(images, json!([])).await.unwrap(), 0, "{path}");
    }
    visit.open("/audit").await;
    assert_eq!(browser.ask(images, json!([])).await.unwrap(), 0);
    browser.content(&[]).await.unwrap();
}

//! The way to a connected plane without a mouse: every stop is seen, dialogs give the focus back.

use fantoccini::key::Key;
use zen_integration_tests::browser::Browser;

use crate::journey::has_status;
use crate::visit::owner;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_can_be_added_and_its_command_shown_by_keyboard_alone() {
    let Some((_seat, visit)) = owner("keyboard").await else {
        return;
    };
    let browser = &visit.browser;
    visit.open("/").await;
    follow(browser, "Skip to").await;
    follow(browser, "Add").await;
    browser.arrives("/planes/new").await.unwrap();
    browser.tab_to("Name").await.unwrap();
    browser.write("warehouse").await.unwrap();
    follow(browser, "Create").await;
    has_status(browser, "Never enrolled").await.unwrap();

    follow(browser, "Get install command").await;
    browser.sees("Where the plane runs").await.unwrap();
    browser.focused("Kubernetes").await.unwrap();
    browser.tab_to("Ingester").await.unwrap();
    follow(browser, "Show the command").await;
    browser.sees("BEGIN AGE ENCRYPTED FILE").await.unwrap();
    follow(browser, "Copy command").await;
    browser.sees("Copied").await.unwrap();
    follow(browser, "Regenerate").await;
    browser.sees("the old bundle dies").await.unwrap();
    browser.press(Key::Escape).await.unwrap();
    browser.focused("Regenerate").await.unwrap();
    browser.press(Key::Escape).await.unwrap();
    browser.sees_no("BEGIN AGE ENCRYPTED FILE").await.unwrap();
    browser.focused("Get install command").await.unwrap();
    browser.content(&[]).await.unwrap();
}

/// Goes on with Tab to what reads so, and presses Enter.
async fn follow(browser: &Browser, words: &str) {
    browser.tab_to(words).await.unwrap();
    browser.press(Key::Enter).await.unwrap();
}

//! Without scripts every page reads and every form works; pages only do not move by themselves.

use anyhow::Context;
use zen_integration_tests::browser;
use zen_integration_tests::world::Seat;

use crate::journey::{has_status, says};
use crate::paste::Shell;
use crate::visit::{EMAIL, MINUTE, PASSWORD, Visit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_is_added_and_connected_without_scripts() {
    if !browser::available().unwrap() {
        return;
    }
    let seat = Seat::start(&[]).await.unwrap();
    let state = seat.dir.path().join("cp");
    let visit = Visit::without_scripts("no-scripts", seat.http.address, &state).await;
    visit.take_the_link().await;
    let browser = &visit.browser;
    browser.click("Edge planes").await.unwrap();
    browser.click("Add edge plane").await.unwrap();
    browser.fill("Name", "warehouse").await.unwrap();
    browser.click("Create").await.unwrap();
    has_status(browser, "Never enrolled").await.unwrap();
    let page = browser.path().await.unwrap();
    browser.click("Get install command").await.unwrap();
    browser.arrives(&format!("{page}/install")).await.unwrap();
    browser.click("Edge Lite").await.unwrap();
    browser.click("Show the command").await.unwrap();
    browser.sees("BEGIN AGE ENCRYPTED FILE").await.unwrap();
    let pre = "return document.querySelector('pre').textContent";
    let command = browser.ask(pre, serde_json::json!([])).await.unwrap();
    let mut shell = Shell::new(&seat.dir.path().join("shell"));
    shell.paste(command.as_str().unwrap());
    visit.open(&page).await;
    browser
        .until("the reloaded page shows Connected", MINUTE, || async {
            browser.reload().await?;
            says(browser, "Connected")
                .await
                .with_context(|| shell.log())
        })
        .await
        .unwrap();
    browser.click("Sign out").await.unwrap();
    visit.sign_in(EMAIL, PASSWORD).await;
    browser.arrives("/").await.unwrap();
    browser.content(&[]).await.unwrap();
}

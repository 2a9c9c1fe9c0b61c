//! The one command: it prints where the dashboard is and the link to sign in with, and behind the
//! link everything it runs is connected.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use zen_integration_tests::browser;
use zen_integration_tests::tools::binary;

use crate::journey::has_status;
use crate::visit::Visit;

/// Certificates, keys and a database are made at the first start.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_that_zen_up_prints_leads_to_connected_planes() {
    if !browser::available().unwrap() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let (_up, link) = up(dir.path()).await;
    let address = link.split('/').nth(2).unwrap().parse().unwrap();
    let visit = Visit::start("up", address, dir.path()).await;
    let browser = &visit.browser;
    browser.open(&link).await.unwrap();
    visit.introduce().await;
    browser.arrives("/").await.unwrap();
    visit.open("/planes").await;
    has_status(browser, "Connected").await.unwrap();
    browser.content(&[]).await.unwrap();
}

/// Starts `zen up` and reads on until it prints the link.
async fn up(state_dir: &Path) -> (Child, String) {
    let mut command = Command::new(binary("zen").unwrap());
    command.arg("up").arg("--state-dir").arg(state_dir);
    for flag in ["--http", "--ingest", "--edge-ingest", "--admin"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    let mut up = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    let mut printed = Vec::new();
    let link = tokio::time::timeout(LONG, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let word = line
                .split_whitespace()
                .find(|word| word.contains("/sign-in/"));
            if let Some(link) = word {
                return link.to_owned();
            }
            printed.push(line);
        }
        panic!("zen up ended");
    })
    .await
    .unwrap_or_else(|_| panic!("no link printed: {}", printed.join("\n")));
    // The pipe stays open while the product runs.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (up, link)
}

//! The browser's checks can fail: each finds the fault of a page that has it.
#![cfg(test)]

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use fantoccini::key::Key;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use zen_integration_tests::browser::{self, Browser, DARK, Look, NARROW, WIDE};

const GOOD: &str = "<!doctype html><html lang=en><title>Good</title>
<link rel=icon href='data:,'><style>body { color-scheme: light dark }</style>
<main><h1>Good</h1><p id=state>plain</p>
<form action=/sent><label>Name <input name=name></label> <button>Send it</button></form>
<button id=open>Open</button><dialog id=d aria-labelledby=t><h2 id=t>Sure?</h2>
<button id=no>No</button></dialog></main>
<script src=/script></script>";
const SCRIPT: &str = "
document.getElementById('state').textContent =
  matchMedia('(prefers-color-scheme: dark)').matches ? 'scripted in the dark' : 'scripted';
const dialog = document.getElementById('d');
document.getElementById('open').addEventListener('click', () => dialog.showModal());";
const BAD: &str = "<!doctype html><html lang=en><title>Bad</title><link rel=icon href='data:,'>
<main><h1>Bad</h1><img src='data:,'><p style='width: 3000px'>wide</p>
<button style='outline: none'>unseen</button></main><script>console.log('inline')</script>";

async fn pages() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let serve = service_fn(|request| async move { answer(&request) });
                // A browser leaves when it likes.
                let _ended = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), serve)
                    .await;
            });
        }
    });
    (address, tasks)
}

fn answer(request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (kind, body) = match request.uri().path() {
        "/bad" => ("text/html", BAD),
        "/script" => ("text/javascript", SCRIPT),
        _ => ("text/html", GOOD),
    };
    let policy = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:";
    Ok(Response::builder()
        .header("content-type", kind)
        .header("content-security-policy", policy)
        .body(Full::from(body))
        .unwrap())
}

#[tokio::test]
async fn a_browser_finds_what_is_wrong_with_a_page() {
    if !browser::available().unwrap() {
        return;
    }
    let (address, _tasks) = pages().await;
    let browser = Browser::start("faults").await.unwrap();
    browser.look(Look::ALL[0]).await.unwrap();
    browser
        .open(&format!("http://{address}/bad"))
        .await
        .unwrap();
    let complaint = browser.content(&[]).await.unwrap_err().to_string();
    assert!(complaint.contains("Content Security Policy"), "{complaint}");
    let finding = browser.accessible().await.unwrap_err().to_string();
    assert!(finding.contains("image-alt"), "{finding}");
    let wide = browser.fits().await.unwrap_err().to_string();
    assert!(wide.contains("3000px"), "{wide}");
    let unseen = browser.tab_to("unseen").await.unwrap_err().to_string();
    assert!(unseen.contains("cannot be seen"), "{unseen}");
}

#[tokio::test]
async fn a_browser_finds_nothing_wrong_with_a_good_page() {
    if !browser::available().unwrap() {
        return;
    }
    let (address, _tasks) = pages().await;
    let browser = Browser::start("good").await.unwrap();
    for look in Look::ALL {
        browser.look(look).await.unwrap();
        browser.open(&format!("http://{address}/")).await.unwrap();
        let dark = look.scheme == DARK;
        let text = if dark { "in the dark" } else { "scripted" };
        browser.sees(text).await.unwrap();
        browser.accessible().await.unwrap();
        browser.fits().await.unwrap();
        let width = browser
            .ask("return innerWidth", serde_json::json!([]))
            .await
            .unwrap();
        assert_eq!(width, look.width, "{WIDE} or {NARROW}");
    }
    browser.tab_to("name").await.unwrap();
    browser.write("Ana").await.unwrap();
    browser.tab_to("open").await.unwrap();
    browser.press(Key::Enter).await.unwrap();
    browser.focused("no").await.unwrap();
    browser.press(Key::Escape).await.unwrap();
    browser.focused("open").await.unwrap();
    assert_eq!(browser.holds("Name").await.unwrap(), "Ana");
    browser.fill("Name", "Bo").await.unwrap();
    browser.click("Send it").await.unwrap();
    browser.arrives("/sent").await.unwrap();
    browser.content(&[]).await.unwrap();
}

#[tokio::test]
async fn a_browser_without_scripts_runs_none() {
    if !browser::available().unwrap() {
        return;
    }
    let (address, _tasks) = pages().await;
    let browser = Browser::without_scripts("no-scripts").await.unwrap();
    browser.open(&format!("http://{address}/")).await.unwrap();
    browser.sees("plain").await.unwrap();
    browser.click("Send it").await.unwrap();
    browser.arrives("/sent").await.unwrap();
    browser.sees("plain").await.unwrap();
}

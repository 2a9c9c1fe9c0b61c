//! A real browser: Chromium and its WebDriver server as processes that the test owns, with a
//! profile of their own, gone with the value. What a person does stands in [`page`](self) as
//! methods: open, click what is written on the page, fill in by label, read, wait for a text.
//! A step that fails leaves a picture of the page in `target/screenshots`.

mod axe;
mod complaints;
mod driver;
mod keyboard;
mod look;
mod page;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub use look::{DARK, LIGHT, Look, NARROW, WIDE};

use crate::eventually::eventually;
use crate::ports::{self, Port};
use crate::tools;

/// Time for a page to come to a state.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time for the processes to start, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// How Chromium is started: no window, nothing from outside, nothing kept.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--lang=en-GB",
    "--window-size=1300,900",
];

/// A running browser with one page.
pub struct Browser {
    client: Client,
    /// The test's name: its pictures are called so.
    name: &'static str,
    chromium: Option<Pid>,
    _driver: Child,
    _port: Port,
    _profile: TempDir,
}

/// Whether this machine has the browser, its driver and the accessibility checker.
///
/// # Errors
/// Under `CI=true`, when something is missing.
pub fn available() -> anyhow::Result<bool> {
    Ok(tools::have("chromium", "chromium")?
        && tools::have("chromedriver", "chromium-driver")?
        && tools::have_file("axe-core", &axe::file()?)?)
}

impl Browser {
    /// Starts a browser; `name` is the test's.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(name: &'static str) -> anyhow::Result<Self> {
        Self::with(name, json!({})).await
    }

    /// Starts a browser that runs no script of any page.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn without_scripts(name: &'static str) -> anyhow::Result<Self> {
        let blocked = json!({ "profile.managed_default_content_settings.javascript": 2 });
        Self::with(name, blocked).await
    }

    async fn with(name: &'static str, preferences: Value) -> anyhow::Result<Self> {
        let profile = tempfile::Builder::new().prefix("zen-browser").tempdir()?;
        let port = ports::reserve()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", port.address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start chromedriver")?;
        let base = format!("http://{}", port.address);
        let folder = profile.path().display().to_string();
        let client = eventually("a browser starts", START, || {
            session(&base, &folder, &preferences)
        })
        .await?;
        let chromium = client
            .capabilities()
            .and_then(|all| all.get("goog:processID"))
            .and_then(Value::as_i64)
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Ok(Self {
            client,
            name,
            chromium,
            _driver: driver,
            _port: port,
            _profile: profile,
        })
    }
}

/// Killed without ceremony: the driver by its handle, the browser here.
impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(chromium) = self.chromium {
            // It may have ended by itself.
            let _ended = kill_process(chromium, Signal::KILL);
        }
    }
}

async fn session(base: &str, profile: &str, preferences: &Value) -> anyhow::Result<Client> {
    let mut arguments: Vec<_> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    arguments.push(format!("--user-data-dir={profile}"));
    let wanted = json!({
        "goog:loggingPrefs": { "browser": "ALL" },
        "goog:chromeOptions": { "args": arguments, "prefs": preferences },
        // What a page asks is part of the test, so it is answered by the test.
        "unhandledPromptBehavior": "ignore",
    });
    let Value::Object(wanted) = wanted else {
        anyhow::bail!("no capabilities");
    };
    let client = ClientBuilder::new(HttpConnector::new())
        .capabilities(wanted)
        .connect(base)
        .await?;
    Ok(client)
}

/// `target/screenshots`, made when it is missing.
fn pictures() -> anyhow::Result<PathBuf> {
    let folder = tools::target()?.join("screenshots");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

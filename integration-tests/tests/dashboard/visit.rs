//! A browser at a control plane's dashboard, with an owner who signs in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zen_integration_tests::browser::{self, Browser};
use zen_integration_tests::world::Seat;

/// Who takes the one-time link.
pub(crate) const EMAIL: &str = "ana@example.org";
/// As she calls herself.
pub(crate) const NAME: &str = "Ana Owner";
/// Her password.
pub(crate) const PASSWORD: &str = "seven quiet lanterns";
/// What an agent may take to come or go, as people are told.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A browser at a dashboard.
pub(crate) struct Visit {
    pub(crate) browser: Browser,
    base: String,
    link: PathBuf,
}

impl Visit {
    /// A browser at this control plane; nobody is signed in. `name` is the test's.
    pub(crate) async fn start(name: &'static str, http: SocketAddr, state_dir: &Path) -> Self {
        Self {
            browser: Browser::start(name).await.unwrap(),
            base: format!("http://{http}"),
            link: state_dir.join("sign-in-link"),
        }
    }

    /// The same with a browser that runs no scripts.
    pub(crate) async fn without_scripts(
        name: &'static str,
        http: SocketAddr,
        state_dir: &Path,
    ) -> Self {
        Self {
            browser: Browser::without_scripts(name).await.unwrap(),
            base: format!("http://{http}"),
            link: state_dir.join("sign-in-link"),
        }
    }

    /// Opens a page by its path.
    pub(crate) async fn open(&self, path: &str) {
        self.browser
            .open(&format!("{}{path}", self.base))
            .await
            .unwrap();
    }

    /// Takes the one-time link of the first start and becomes the owner.
    pub(crate) async fn take_the_link(&self) {
        let link = std::fs::read_to_string(&self.link).unwrap();
        self.browser.open(link.trim()).await.unwrap();
        self.introduce().await;
        self.browser.arrives("/").await.unwrap();
    }

    /// Fills in what the page behind the link asks, and goes on.
    pub(crate) async fn introduce(&self) {
        let browser = &self.browser;
        browser.fill("E-mail", EMAIL).await.unwrap();
        browser.fill("Name", NAME).await.unwrap();
        browser.fill("Password", PASSWORD).await.unwrap();
        let again = "The same password again";
        browser.fill(again, PASSWORD).await.unwrap();
        browser.click("Set password and sign in").await.unwrap();
    }

    /// Signs in with a password.
    pub(crate) async fn sign_in(&self, email: &str, password: &str) {
        self.open("/sign-in").await;
        self.enter(email, password).await;
    }

    /// Fills in the sign-in page and sends it.
    pub(crate) async fn enter(&self, email: &str, password: &str) {
        let browser = &self.browser;
        browser.fill("E-mail", email).await.unwrap();
        browser.fill("Password", password).await.unwrap();
        browser.click_within("main", "Sign in").await.unwrap();
    }
}

/// A control plane and its signed-in owner; none where the browser is missing.
pub(crate) async fn owner(name: &'static str) -> Option<(Seat, Visit)> {
    if !browser::available().unwrap() {
        return None;
    }
    let seat = Seat::start(&[]).await.unwrap();
    let visit = Visit::start(name, seat.http.address, &seat.dir.path().join("cp")).await;
    visit.take_the_link().await;
    Some((seat, visit))
}

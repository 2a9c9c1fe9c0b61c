//! People: who they are, how they come in, and what keeps others out. `sign_in` is the way in,
//! `signed_in` what a session amounts to, `account` what people do with their own account; the
//! other files hold the rules, one each. What people may do is decided in `permissions`.

mod account;
mod cookie;
pub(crate) mod email;
mod first_owner;
mod frame;
mod landing;
mod link;
pub(crate) mod oidc;
mod oidc_sign_in;
mod password;
mod same_origin;
pub(crate) mod session;
mod sign_in;
mod signed_in;
pub(crate) mod token;
mod totp;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use url::Url;
use zen_chassis::{Random, Stage};
use zen_seal::Identity;

use self::cookie::Cookies;
use self::oidc::Oidc;
use self::password::Passwords;
use crate::config::Config;
use crate::control::Control;
use crate::digest::sha256;
use crate::limiter::{Limiter, Rate, network};

pub(crate) use account::{OwnSessionView, TotpBegun};
pub(crate) use cookie::Jar;
pub(crate) use frame::{PeerAddress, own_page, recognise};
pub(crate) use landing::landing;
pub(crate) use link::{LinkForm, LinkView, email_taken};
pub(crate) use password::Password;
pub(crate) use sign_in::{Entered, Unentered, Visit};
pub(crate) use signed_in::{Recognised, SignedIn};

/// Tries to sign in to one account, from wherever.
const ACCOUNT: Rate = Rate {
    burst: 10.0,
    per_second: 1.0 / 30.0,
};
/// Tries to sign in from one address, to whatever account; an office may stand behind it.
const ADDRESS: Rate = Rate {
    burst: 60.0,
    per_second: 1.0 / 3.0,
};
/// Pause between two clearings of what is over.
const CLEARING: Duration = Duration::from_secs(10 * 60);

/// What signing in needs.
pub(crate) struct People {
    passwords: Passwords,
    pub(crate) cookies: Cookies,
    /// Where people reach the control plane.
    pub(crate) base: Url,
    /// The same, if the operator said so.
    pub(crate) public: Option<Url>,
    oidc: Option<Oidc>,
    /// Seals the secrets of authenticator apps at rest.
    vault: Identity,
    by_account: Limiter<[u8; 32]>,
    by_address: Limiter<Option<IpAddr>>,
    /// Where the first owner's sign-in link is written.
    link_file: PathBuf,
}

impl People {
    /// Puts the parts together. `reachable` is where people reach the listener unless the operator
    /// says otherwise.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub(crate) fn new(
        config: &Config,
        reachable: &str,
        vault: Identity,
        random: &Random,
    ) -> anyhow::Result<Self> {
        let public = config.http.url.as_deref().map(Url::parse).transpose()?;
        let base = match &public {
            Some(url) => url.clone(),
            None => Url::parse(reachable).context("http.listen")?,
        };
        let oidc = config.oidc.clone().map(|oidc| Oidc::new(oidc, &base));
        Ok(Self {
            passwords: Passwords::new(&random.bytes())?,
            cookies: Cookies {
                secure: base.scheme() == "https",
            },
            base,
            public,
            oidc: oidc.transpose()?,
            vault,
            by_account: Limiter::new(ACCOUNT),
            by_address: Limiter::new(ADDRESS),
            link_file: link_file(&config.state_dir),
        })
    }

    /// Lets an account and an address try to sign in.
    ///
    /// # Errors
    /// The time until they may.
    fn admit(&self, account: &str, from: Option<IpAddr>, now: u64) -> Result<(), Duration> {
        self.by_address.admit(&from.map(network), now)?;
        self.by_account.admit(&account_key(account), now)
    }

    /// The account was signed in to: its tries start anew.
    fn forgive(&self, account: &str) {
        self.by_account.forgive(&account_key(account));
    }
}

/// Accounts are remembered by hash, so that long names cost no memory.
fn account_key(account: &str) -> [u8; 32] {
    sha256(email::folded(account).as_bytes())
}

fn link_file(state_dir: &Path) -> PathBuf {
    state_dir.join("sign-in-link")
}

/// Forgets sessions, links and steps that are over, time and again.
///
/// # Errors
/// None: what could not be forgotten is, the next time.
pub(crate) async fn clear(control: Arc<Control>) -> anyhow::Result<()> {
    let Stage {
        clock, shutdown, ..
    } = control.stage.clone();
    loop {
        let now = clock.unix_ms();
        let (idle, oldest) = (
            now.saturating_sub(session::IDLE),
            now.saturating_sub(session::LIFE),
        );
        if let Err(error) = control.store.forget_sessions(idle, oldest, now).await {
            let error = zen_chassis::chain::Chain(&error);
            tracing::warn!(%error, "cannot forget sessions that are over");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(CLEARING) => {}
        }
    }
}

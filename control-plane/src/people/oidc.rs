//! Signing in at an OpenID provider: authorization code with PKCE, state and nonce. The browser goes
//! out with [`Oidc::depart`] and comes back through [`Oidc::arrive`], which says who it is.

mod claims;
mod journey;
mod provider;
mod settings;
mod web;

use std::sync::Arc;

use serde::Deserialize;
use url::Url;
use zen_chassis::{Random, files};
use zeroize::Zeroizing;

use self::claims::Expected;
use self::journey::Journey;
use self::provider::Provider;
use self::web::{Web, WebError};

pub(crate) use self::claims::{Person, TokenFault};
pub(crate) use self::journey::LIFE_SECONDS;
pub use self::settings::OidcSettings;

/// Where the provider sends browsers back to.
pub(crate) const CALLBACK: &str = "/sign-in/oidc/callback";
/// Largest file with the client's secret.
const SECRET: usize = 4 * 1024;

/// Why a sign-in at the provider came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// The provider could not be asked.
    #[error("the OpenID provider cannot be asked")]
    Unreachable(#[from] WebError),
    /// What the provider says about itself is not what was configured.
    #[error("the OpenID provider describes itself wrongly: {0}")]
    Misconfigured(String),
    /// The provider refused, or the person did.
    #[error("the OpenID provider refused: {0}")]
    Refused(String),
    /// The browser that came back is not the one that went out.
    #[error("the sign-in was not begun in this browser")]
    Strange,
    /// The browser was away for too long.
    #[error("the sign-in took too long")]
    TooLate,
    /// The ID token does not hold.
    #[error("the ID token of the OpenID provider does not hold")]
    Token(#[from] TokenFault),
}

impl OidcError {
    /// Stable name of what happened, for people and the audit log.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "OIDC_UNREACHABLE",
            Self::Misconfigured(_) => "OIDC_MISCONFIGURED",
            Self::Refused(_) => "OIDC_REFUSED",
            Self::Strange => "OIDC_OTHER_BROWSER",
            Self::TooLate => "OIDC_TOO_LATE",
            Self::Token(TokenFault::Unverified) => "OIDC_EMAIL_UNVERIFIED",
            Self::Token(_) => "OIDC_TOKEN_INVALID",
        }
    }

    /// What it means, for the person at the browser.
    pub(crate) const fn meaning(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "The sign-in provider could not be asked.",
            Self::Misconfigured(_) => "The sign-in provider is not the one that was set up.",
            Self::Refused(_) => "The sign-in provider did not let you in, or you cancelled.",
            Self::Strange => "This sign-in was begun in another browser, or long ago.",
            Self::TooLate => "The sign-in took longer than ten minutes.",
            Self::Token(TokenFault::Unverified) => {
                "The sign-in provider has not verified your e-mail address."
            }
            Self::Token(_) => "What the sign-in provider said about you could not be accepted.",
        }
    }

    /// What the person at the browser is to do.
    pub(crate) const fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "Try again in a minute. If it stays so, tell your administrator: the control plane \
                 cannot reach the provider (its log says why)."
            }
            Self::Misconfigured(_) => {
                "Tell your administrator: the setting oidc.issuer and the provider do not agree."
            }
            Self::Refused(_) => "Sign in again and allow the access that the provider asks about.",
            Self::Strange | Self::TooLate => {
                "Begin again from the sign-in page, in the same browser, within ten minutes."
            }
            Self::Token(TokenFault::Unverified) => {
                "Let the provider confirm your e-mail address first, then sign in again."
            }
            Self::Token(_) => {
                "Sign in again. If it stays so, tell your administrator: the provider's token was \
                 not acceptable (the control plane's log says why)."
            }
        }
    }
}

/// A browser on its way to the provider.
pub(crate) struct Departure {
    /// Where it is sent.
    pub(crate) url: Url,
    /// What it carries as a cookie and brings back.
    pub(crate) cookie: Zeroizing<String>,
}

/// A person who came back.
pub(crate) struct Arrival {
    pub(crate) person: Person,
    /// The page they wanted.
    pub(crate) next: String,
}

/// What the provider put into the address when it sent the browser back.
#[derive(Default, Deserialize)]
pub(crate) struct Returned {
    pub(crate) state: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) iss: Option<String>,
}

/// The configured provider.
pub(crate) struct Oidc {
    settings: OidcSettings,
    secret: Zeroizing<String>,
    redirect: Url,
    provider: Provider,
    web: Arc<Web>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Oidc {
    /// Reads the client's secret and the certificates to trust. `base` is where people reach the
    /// control plane.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub(crate) fn new(settings: OidcSettings, base: &Url) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let file = &settings.client_secret_file;
        let bytes = files::read_capped(file, SECRET).context("oidc.client_secret_file")?;
        let secret = Zeroizing::new(String::from_utf8(bytes).context("oidc.client_secret_file")?);
        let web = Arc::new(Web::new(settings.ca_file.as_deref()).context("oidc.ca_file")?);
        Ok(Self {
            secret: Zeroizing::new(secret.trim().to_owned()),
            redirect: base.join(CALLBACK)?,
            provider: Provider::new(settings.issuer.clone(), Arc::clone(&web)),
            settings,
            web,
        })
    }

    /// How the provider is called on the sign-in page.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// What may be done with a person of whom there is no account.
    pub(crate) const fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Sends a browser out; `now` in Unix milliseconds.
    ///
    /// # Errors
    /// When the provider cannot be asked.
    pub(crate) async fn depart(
        &self,
        random: &Random,
        next: &str,
        now: u64,
    ) -> Result<Departure, OidcError> {
        let described = self.provider.described(now).await?;
        let journey = Journey::begin(random, next, now);
        let mut url = described.authorization_endpoint;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", self.redirect.as_str())
            .append_pair("scope", "openid email profile")
            .append_pair("state", &journey.state())
            .append_pair("nonce", &journey.nonce())
            .append_pair("code_challenge", &journey.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(Departure {
            url,
            cookie: journey.into_cookie(),
        })
    }

    /// Says who came back with `cookie`.
    ///
    /// # Errors
    /// See [`OidcError`].
    pub(crate) async fn arrive(
        &self,
        cookie: Option<&str>,
        returned: Returned,
        now: u64,
    ) -> Result<Arrival, OidcError> {
        let journey = cookie.and_then(Journey::resume).ok_or(OidcError::Strange)?;
        let state = returned.state.unwrap_or_default();
        if !journey.is_state(&state) {
            return Err(OidcError::Strange);
        }
        if journey.is_over(now) {
            return Err(OidcError::TooLate);
        }
        if returned.iss.is_some_and(|iss| iss != self.settings.issuer) {
            return Err(OidcError::Strange);
        }
        if let Some(error) = returned.error {
            return Err(OidcError::Refused(error.chars().take(100).collect()));
        }
        let code = returned.code.unwrap_or_default();
        let token = self.redeem(&journey, &code, now).await?;
        let claims = self.provider.verified(&token, now).await?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &journey.nonce(),
            now: now / 1000,
        };
        Ok(Arrival {
            person: claims.person(&expected)?,
            next: journey.next(),
        })
    }

    /// The ID token for the code.
    async fn redeem(
        &self,
        journey: &Journey,
        code: &str,
        now: u64,
    ) -> Result<Zeroizing<String>, OidcError> {
        let described = self.provider.described(now).await?;
        let verifier = journey.verifier();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect.as_str()),
            ("code_verifier", &verifier),
        ];
        let (id, secret) = (self.settings.client_id.as_str(), self.secret.as_str());
        let by_header = described.takes_basic();
        if !by_header {
            form.extend([("client_id", id), ("client_secret", secret)]);
        }
        let basic = by_header.then_some((id, secret));
        let answered = self
            .web
            .post_form::<Tokens>(&described.token_endpoint, &form, basic)
            .await?;
        Ok(Zeroizing::new(answered.id_token))
    }
}

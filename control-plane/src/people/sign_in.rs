//! The way in: a password or a provider's word, then the second step if the account has one, then
//! a session. Whoever fails learns nothing about whether there is such an account.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use zen_chassis::chain::Chain;
use zen_proto::ids::TenantId;

use super::landing::landing;
use super::oidc::OidcError;
use super::password::{Password, PasswordError, Verdict};
use super::token::BearerToken;
use super::totp::{TotpSecret, recovery_sha256};
use crate::control::Control;
use crate::principal::{Actor, ActorKind};
use crate::problem::Problem;
use crate::store::{NewAudit, NewSession, StoreError, User};

/// Time for the second step, milliseconds.
const STEP_LIFE: u64 = 10 * 60 * 1000;
/// Codes that may be tried in one second step.
const STEP_TRIES: u64 = 5;
/// Longest description of a browser that is kept, and longest name in the audit log.
const TEXT: usize = 200;
/// Largest sealed secret that is opened.
const SEALED: usize = 1024;

/// Who knocks, as far as the request tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visit {
    pub(crate) from: Option<IpAddr>,
    /// The browser's description of itself.
    pub(crate) browser: String,
}

/// Somebody came in.
pub(crate) enum Entered {
    /// With a session.
    In(BearerToken),
    /// As far as the second step.
    Step(BearerToken),
}

/// Why somebody did not come in.
#[derive(Debug)]
pub(crate) enum Unentered {
    /// No such account, or not its password. Which of them is not told.
    Wrong,
    /// The code was wrong, or used before.
    WrongCode,
    /// The second step took too long, or too many codes were tried.
    StepOver,
    /// Too many tries; in this time there may be another.
    TooMany(Duration),
    /// The account was disabled.
    Disabled,
    /// There is no account for who the provider vouches for.
    NoAccount,
    /// The provider's sign-in failed.
    Oidc(OidcError),
    /// Something else went wrong.
    Failed(Problem),
}

impl From<StoreError> for Unentered {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Problem> for Unentered {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<PasswordError> for Unentered {
    fn from(error: PasswordError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        if matches!(error, PasswordError::Busy) {
            return Self::sign_in_busy("try again in a few seconds");
        }
        tracing::error!(error = %Chain(&error), "a password could not be checked");
        Self::internal("the password could not be checked")
    }
}

impl Control {
    /// Signs in with a password.
    pub(crate) async fn sign_in(
        &self,
        visit: &Visit,
        email: &str,
        password: Password,
        next: &str,
    ) -> Result<Entered, Unentered> {
        let now = self.stage.clock.unix_ms();
        self.admitted(email, visit, now)?;
        let user = self.store.user_by_email(email).await?;
        let able = user.as_ref().filter(|user| !user.disabled);
        let kept = able.and_then(|user| user.password.clone());
        let passwords = &self.people.passwords;
        let verdict = passwords.check(password.clone(), kept.clone()).await?;
        let Some(user) = user.filter(|_| verdict != Verdict::Wrong) else {
            self.failed(visit, email, "wrong password or no such account")
                .await?;
            return Err(Unentered::Wrong);
        };
        if let (Verdict::RightButOld, Some(before)) = (verdict, kept) {
            let salt = self.stage.random.bytes();
            let renewed = passwords.hash(password, salt).await?;
            let store = &self.store;
            store.rehash_password(user.id, &before, &renewed).await?;
        }
        self.people.forgive(email);
        self.enter(visit, user, "password", next).await
    }

    /// Lets an account and an address try.
    fn admitted(&self, account: &str, visit: &Visit, now: u64) -> Result<(), Unentered> {
        let admitted = self.people.admit(account, visit.from, now);
        admitted.map_err(|wait| {
            self.metrics.sign_in("limited");
            Unentered::TooMany(wait)
        })
    }

    /// Lets somebody in who has shown who they are by `means`, or asks for the second step.
    pub(super) async fn enter(
        &self,
        visit: &Visit,
        user: User,
        means: &'static str,
        next: &str,
    ) -> Result<Entered, Unentered> {
        if user.disabled {
            return Err(Unentered::Disabled);
        }
        if user.totp.is_none() {
            // A provider has its own second step, which is its administrator's to ask for.
            let second = means == "openid";
            return Ok(Entered::In(self.begin(visit, &user, means, second).await?));
        }
        let token = BearerToken::generate(&self.stage.random);
        let expires_at = self.stage.clock.unix_ms() + STEP_LIFE;
        self.store
            .add_step(&token.sha256(), user.id, landing(Some(next)), expires_at)
            .await?;
        Ok(Entered::Step(token))
    }

    /// The second step: a code of the app, or a recovery code. Also says where to go then.
    pub(crate) async fn second_step(
        &self,
        visit: &Visit,
        token: Option<&str>,
        code: &str,
    ) -> Result<(BearerToken, String), Unentered> {
        let token = token.and_then(BearerToken::parse);
        let hash = token.ok_or(Unentered::StepOver)?.sha256();
        let now = self.stage.clock.unix_ms();
        let step = self.store.step(&hash, true).await?;
        let step = step.filter(|step| step.expires_at > now && !step.user.disabled);
        let step = step.ok_or(Unentered::StepOver)?;
        let account = step.user.email.clone().unwrap_or_default();
        self.admitted(&account, visit, now)?;
        if step.tries > STEP_TRIES {
            self.store.end_step(&hash).await?;
            return Err(Unentered::StepOver);
        }
        if !self.is_code(&step.user, code, now).await? {
            self.failed(visit, &account, "wrong code").await?;
            return Err(Unentered::WrongCode);
        }
        self.store.end_step(&hash).await?;
        self.people.forgive(&account);
        let session = self.begin(visit, &step.user, "two steps", true).await?;
        Ok((session, step.next))
    }

    /// Whether the second step of this token is still waited for.
    pub(crate) async fn awaits_step(&self, token: Option<&str>) -> Result<bool, Problem> {
        let Some(token) = token.and_then(BearerToken::parse) else {
            return Ok(false);
        };
        let now = self.stage.clock.unix_ms();
        let step = self.store.step(&token.sha256(), false).await?;
        Ok(step.is_some_and(|step| step.expires_at > now && step.tries < STEP_TRIES))
    }

    /// Takes a code of the app or a recovery code, each of which is good once.
    pub(super) async fn is_code(&self, user: &User, code: &str, now: u64) -> Result<bool, Problem> {
        let Some(sealed) = &user.totp else {
            return Ok(false);
        };
        let secret = self.unsealed(sealed)?;
        let step = secret.check(code, now, user.totp_step);
        let step = step.map_err(|error| failed_totp(&error))?;
        if let Some(step) = step {
            return Ok(self.store.take_totp_step(user.id, step).await?);
        }
        let sha256 = recovery_sha256(code);
        Ok(self.store.take_recovery_code(user.id, &sha256).await?)
    }

    /// Opens the secret of an authenticator app.
    pub(super) fn unsealed(&self, sealed: &str) -> Result<TotpSecret, Problem> {
        let vault = std::slice::from_ref(&self.people.vault);
        let opened = zen_seal::open(sealed.as_bytes(), vault, SEALED);
        let opened = opened.map_err(|error| failed_totp(&error))?;
        Ok(TotpSecret::from(zeroize::Zeroizing::new(opened.to_vec())))
    }

    /// Begins a session.
    pub(super) async fn begin(
        &self,
        visit: &Visit,
        user: &User,
        means: &'static str,
        second_step: bool,
    ) -> Result<BearerToken, StoreError> {
        let token = BearerToken::generate(&self.stage.random);
        let at = self.stage.clock.unix_ms();
        let session = NewSession {
            id: hex::encode(self.stage.random.bytes::<10>()),
            user: user.id,
            token_sha256: token.sha256(),
            second_step,
            at,
            address: visit.from.map(|from| from.to_string()).unwrap_or_default(),
            browser: cut(&visit.browser),
        };
        let detail = json!({"means": means});
        let entry = did(user, visit, at, "session.begin", detail);
        self.store.begin_session(&session, &entry).await?;
        self.metrics.sign_in("in");
        Ok(token)
    }

    /// Writes down a sign-in that failed: in the tenant of the account that was tried, or the
    /// operator's if there is none.
    pub(super) async fn failed(
        &self,
        visit: &Visit,
        account: &str,
        why: &'static str,
    ) -> Result<(), StoreError> {
        self.metrics.sign_in("refused");
        let user = self.store.user_by_email(account).await?;
        let tenant: TenantId = user.as_ref().map_or(self.operator_tenant, |u| u.tenant);
        let subject = user.map(|user| user.id.to_string()).unwrap_or_default();
        let entry = NewAudit {
            tenant,
            at: self.stage.clock.unix_ms(),
            actor: Actor {
                kind: ActorKind::System,
                id: String::new(),
                name: "sign-in".to_owned(),
            },
            action: "session.refuse",
            subject,
            detail: json!({"email": cut(account), "reason": why}),
            address: visit.from,
            claim: None,
        };
        self.store.note(&entry).await
    }
}

/// What a person did who is not known by a session yet.
pub(super) fn did(
    user: &User,
    visit: &Visit,
    at: u64,
    action: &'static str,
    detail: serde_json::Value,
) -> NewAudit {
    NewAudit {
        tenant: user.tenant,
        at,
        actor: Actor {
            kind: ActorKind::User,
            id: user.id.to_string(),
            name: user.email.clone().unwrap_or_default(),
        },
        action,
        subject: user.id.to_string(),
        detail,
        address: visit.from,
        claim: None,
    }
}

pub(super) fn failed_totp(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error = %Chain(error), "an authenticator app's secret cannot be used");
    Problem::internal("the second step cannot be checked")
}

fn cut(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(TEXT)
        .collect()
}

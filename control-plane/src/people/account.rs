//! What people do with their own account: the password, the second step, their sessions.

use serde::Serialize;
use serde_json::json;
use zen_proto::ids::UserId;
use zeroize::Zeroizing;

use super::SignedIn;
use super::password::{Password, Verdict};
use super::sign_in::failed_totp;
use super::totp::{TotpSecret, recovery_codes, recovery_sha256};
use crate::control::Control;
use crate::fields::Faults;
use crate::manage::shown_time;
use crate::problem::Problem;
use crate::store::User;

/// A secret for an authenticator app, to be confirmed by a code.
pub(crate) struct TotpBegun {
    /// Inline SVG; made here, holds nothing of what people type.
    pub(crate) qr_svg: String,
    /// The same as text, in groups of four.
    pub(crate) secret: Zeroizing<String>,
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct OwnSessionView {
    /// For ending it; lets nobody in.
    pub(crate) id: String,
    /// The one that asks.
    pub(crate) current: bool,
    /// When it was signed in.
    #[schema(format = "date-time")]
    pub(crate) began_at: String,
    /// The last request, to the minute.
    #[schema(format = "date-time")]
    pub(crate) seen_at: String,
    /// Where it was signed in from; empty if that is not known.
    pub(crate) address: String,
    /// The browser's description of itself.
    pub(crate) browser: String,
}

impl Control {
    /// The account that is signed in.
    async fn own(&self, who: &SignedIn) -> Result<User, Problem> {
        let found = self.store.user(who.user).await?;
        found.ok_or_else(|| Problem::unauthenticated("the account is gone"))
    }

    /// Changes one's own password; every other session ends.
    pub(crate) async fn change_own_password(
        &self,
        who: &SignedIn,
        present: String,
        new: String,
        again: &str,
    ) -> Result<(), Problem> {
        let mut faults = Faults::default();
        faults.require(
            new == again,
            "again",
            "this is not the password typed above",
        );
        let (present, new) = (Password::from(present), Password::from(new));
        if let Err(unfit) = new.fit_for(&who.email) {
            faults.add("new", unfit.to_string());
        }
        faults.result()?;
        self.prove(who, present, "present").await?;
        let salt = self.stage.random.bytes();
        let hash = self.people.passwords.hash(new, salt).await?;
        let at = self.stage.clock.unix_ms();
        let entry = who.principal.did(at, "user.password", who.user, json!({}));
        let keep = Some(who.session.as_str());
        Ok(self
            .store
            .set_password(who.user, &hash, keep, at, &entry)
            .await?)
    }

    /// Asks for one's own password once more before what matters. Who signs in by a provider has
    /// none and passes.
    async fn prove(&self, who: &SignedIn, password: Password, field: &str) -> Result<(), Problem> {
        let user = self.own(who).await?;
        if user.password.is_none() {
            return Ok(());
        }
        let now = self.stage.clock.unix_ms();
        let from = who.principal.address;
        let admitted = self.people.admit(&who.email, from, now);
        admitted.map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            Problem::too_many(format!("too many tries; the next one in {seconds} s"))
        })?;
        let verdict = self.people.passwords.check(password, user.password);
        if verdict.await? == Verdict::Wrong {
            return Err(Problem::field(field, "this is not your password"));
        }
        self.people.forgive(&who.email);
        Ok(())
    }

    /// Begins to set up an authenticator app: nothing changes until a code confirms it.
    pub(crate) async fn totp_begin(&self, who: &SignedIn) -> Result<TotpBegun, Problem> {
        let secret = TotpSecret::generate(&self.stage.random);
        let recipient = self.people.vault.recipient();
        let sealed = zen_seal::close(secret.expose(), &[recipient]);
        let sealed = sealed.map_err(|error| failed_totp(&error))?;
        self.store.begin_totp(who.user, &sealed).await?;
        Self::shown_totp(who, &secret)
    }

    /// What was begun and waits for its code; nothing if nothing was.
    pub(crate) async fn totp_pending(&self, who: &SignedIn) -> Result<Option<TotpBegun>, Problem> {
        let Some(sealed) = self.own(who).await?.totp_pending else {
            return Ok(None);
        };
        let secret = self.unsealed(&sealed)?;
        Self::shown_totp(who, &secret).map(Some)
    }

    fn shown_totp(who: &SignedIn, secret: &TotpSecret) -> Result<TotpBegun, Problem> {
        let qr_svg = secret.qr_svg(&who.email);
        Ok(TotpBegun {
            qr_svg: qr_svg.map_err(|error| failed_totp(&error))?,
            secret: secret.text(),
        })
    }

    /// Confirms the app by a code. Answers the recovery codes, which are shown this once.
    pub(crate) async fn totp_confirm(
        &self,
        who: &SignedIn,
        code: &str,
    ) -> Result<Vec<String>, Problem> {
        let sealed = self.own(who).await?.totp_pending;
        let sealed = sealed.ok_or_else(|| Problem::field("code", "begin the set-up again"))?;
        let now = self.stage.clock.unix_ms();
        let step = self.unsealed(&sealed)?.check(code, now, None);
        let step = step.map_err(|error| failed_totp(&error))?;
        let wrong = "this is not the code that the app shows now; are both clocks right?";
        let step = step.ok_or_else(|| Problem::field("code", wrong))?;
        let codes = recovery_codes(&self.stage.random);
        let hashes: Vec<_> = codes.iter().map(|code| recovery_sha256(code)).collect();
        let entry = who.principal.did(now, "user.totp_set", who.user, json!({}));
        self.store
            .confirm_totp(who.user, step, &hashes, &who.session, &entry)
            .await?;
        Ok(codes)
    }

    /// Takes the second step off one's own account.
    pub(crate) async fn totp_remove(
        &self,
        who: &SignedIn,
        password: String,
    ) -> Result<(), Problem> {
        self.prove(who, Password::from(password), "password")
            .await?;
        self.take_totp(who, who.user).await
    }

    async fn take_totp(&self, who: &SignedIn, user: UserId) -> Result<(), Problem> {
        let at = self.stage.clock.unix_ms();
        let entry = who.principal.did(at, "user.totp_remove", user, json!({}));
        Ok(self.store.remove_totp(user, &entry).await?)
    }

    /// How many recovery codes are left.
    pub(crate) async fn recovery_codes_left(&self, who: &SignedIn) -> Result<u64, Problem> {
        Ok(self.store.recovery_codes_left(who.user).await?)
    }

    /// One's own sessions, the one used last first.
    pub(crate) async fn list_own_sessions(
        &self,
        who: &SignedIn,
    ) -> Result<Vec<OwnSessionView>, Problem> {
        let sessions = self.store.sessions_of(who.user).await?;
        let view = |session: crate::store::ListedSession| OwnSessionView {
            current: session.id == who.session,
            id: session.id,
            began_at: shown_time(session.times.began_at),
            seen_at: shown_time(session.times.seen_at),
            address: session.address,
            browser: session.browser,
        };
        Ok(sessions.into_iter().map(view).collect())
    }

    /// Ends one of one's own sessions.
    pub(crate) async fn end_session(&self, who: &SignedIn, id: &str) -> Result<(), Problem> {
        let at = self.stage.clock.unix_ms();
        let detail = json!({"session": id});
        let entry = who.principal.did(at, "session.end", who.user, detail);
        let ended = self.store.end_session(who.user, id, Some(&entry)).await?;
        if !ended {
            return Err(Problem::no_such("session", id));
        }
        Ok(())
    }
}

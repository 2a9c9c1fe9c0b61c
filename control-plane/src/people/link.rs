//! One-time sign-in links: for the first owner, for who was invited, for who forgot the password.
//! Looking at one does nothing; only sending its form uses it, so that programs that look at links
//! in mails do no harm.

use serde::Serialize;
use serde_json::json;
use zen_proto::ids::UserId;

use super::email;
use super::first_owner;
use super::password::Password;
use super::sign_in::{Entered, Unentered, Visit, did};
use super::token::BearerToken;
use crate::control::Control;
use crate::fields::Faults;
use crate::manage::shown_time;
use crate::problem::Problem;
use crate::store::{NewLink, StoreError, Taken, User};

/// Life of somebody's first link: 24 h.
pub(crate) const FIRST_LIFE: u64 = 24 * 60 * 60 * 1000;
/// Life of any later one: 30 min.
const LIFE: u64 = 30 * 60 * 1000;

/// A link as it is handed out, once.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct LinkView {
    /// Where the person signs in. Whoever has it can: give it to nobody else.
    #[schema(format = "uri")]
    pub(crate) url: String,
    /// Until when it is good.
    #[schema(format = "date-time")]
    pub(crate) expires_at: String,
}

/// A link that was made and not handed out yet.
pub(crate) struct MadeLink {
    pub(crate) kept: NewLink,
    token: BearerToken,
}

/// The account of a link.
pub(crate) struct Account {
    /// Empty for the first owner, who is asked for it.
    pub(crate) email: String,
    pub(crate) name: String,
}

/// What is sent with a link's form.
pub(crate) struct LinkForm {
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password: Password,
    pub(crate) repeated: bool,
}

impl Control {
    /// Makes a link for somebody who was here before, or not.
    pub(crate) fn make_link(&self, user: UserId, first: bool) -> MadeLink {
        let token = BearerToken::generate(&self.stage.random);
        let at = self.stage.clock.unix_ms();
        MadeLink {
            kept: NewLink {
                token_sha256: token.sha256(),
                user,
                at,
                expires_at: at + if first { FIRST_LIFE } else { LIFE },
            },
            token,
        }
    }

    /// The link as the person gets it.
    pub(crate) fn show_link(&self, made: &MadeLink) -> LinkView {
        LinkView {
            url: self.link_url(&made.token),
            expires_at: shown_time(made.kept.expires_at),
        }
    }

    pub(super) fn link_url(&self, token: &BearerToken) -> String {
        let base = self.people.base.as_str().trim_end_matches('/');
        format!("{base}/sign-in/link/{}", token.expose())
    }

    /// Whose link has this token, if it is good.
    pub(super) async fn link(&self, token: &str) -> Result<Option<User>, Problem> {
        let Some(token) = BearerToken::parse(token) else {
            return Ok(None);
        };
        let now = self.stage.clock.unix_ms();
        let found = self.store.link(&token.sha256(), now).await?;
        Ok(found.filter(|user| !user.disabled))
    }

    /// The account that a link is for, if it is good.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn link_account(&self, token: &str) -> Result<Option<Account>, Problem> {
        let found = self.link(token).await?;
        Ok(found.map(|user| Account {
            email: user.email.unwrap_or_default(),
            name: user.name,
        }))
    }

    /// Uses a link: sets what the form says, and signs in.
    pub(crate) async fn take_link(
        &self,
        visit: &Visit,
        token: &str,
        form: LinkForm,
    ) -> Result<Option<Entered>, Unentered> {
        let Some(mut user) = self.link(token).await? else {
            return Ok(None);
        };
        // The first owner says who they are; others were invited under an address.
        let address = user.email.clone().unwrap_or(form.email);
        checked(&address, &form.name, &form.password, form.repeated)?;
        let salt = self.stage.random.bytes();
        let password = self.people.passwords.hash(form.password, salt).await?;
        let taken = Taken {
            email: address.clone(),
            name: form.name,
            password,
        };
        user.email = Some(address);
        let at = self.stage.clock.unix_ms();
        let entry = did(&user, visit, at, "user.take_link", json!({}));
        let Some(parsed) = BearerToken::parse(token) else {
            return Ok(None);
        };
        let used = self
            .store
            .take_link(&parsed.sha256(), user.id, &taken, at, &entry)
            .await
            .map_err(email_taken)?;
        if !used {
            return Ok(None);
        }
        first_owner::forget_link(&self.people.link_file, token);
        self.enter(visit, user, "link", "/").await.map(Some)
    }
}

fn checked(address: &str, name: &str, password: &Password, repeated: bool) -> Result<(), Problem> {
    let mut faults = Faults::default();
    if let Some(fault) = email::fault(address) {
        faults.add("email", fault);
    }
    faults.name("name", name);
    if let Err(unfit) = password.fit_for(address) {
        faults.add("password", unfit.to_string());
    }
    let differ = "this is not the password typed above";
    faults.require(repeated, "password_again", differ);
    Ok(faults.result()?)
}

/// Somebody else has the e-mail address.
pub(crate) fn email_taken(error: StoreError) -> Problem {
    match error {
        StoreError::NameTaken => Problem {
            errors: vec![crate::fields::Fault {
                field: "email".to_owned(),
                detail: "somebody has this e-mail address already".to_owned(),
            }],
            ..Problem::email_taken("somebody has this e-mail address already")
        },
        other => other.into(),
    }
}

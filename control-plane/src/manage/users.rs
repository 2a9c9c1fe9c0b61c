//! The people of a tenant: invited, changed, removed, let in again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use zen_proto::ids::UserId;

use super::lists::PageAsked;
use super::read::{patched, read};
use super::{Listed, shown_time};
use crate::control::Control;
use crate::fields::Faults;
use crate::people::{LinkView, email, email_taken};
use crate::permissions::{Operation, Role};
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Changed, User, UserChange};

/// What is written about a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserBody {
    /// Unique, whatever its case.
    #[schema(format = "email", min_length = 3, max_length = 254)]
    pub(crate) email: String,
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// `owner`, `admin`, `editor` or `viewer`.
    pub(crate) role: String,
    /// Keeps the person out; ends their sessions.
    #[serde(default)]
    pub(crate) disabled: bool,
}

/// A person as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct UserView {
    #[schema(value_type = String)]
    pub(crate) id: UserId,
    /// None until the first owner gave one.
    pub(crate) email: Option<String>,
    pub(crate) name: String,
    /// `owner`, `admin`, `editor` or `viewer`.
    pub(crate) role: &'static str,
    pub(crate) disabled: bool,
    /// A password was set; otherwise the person signs in by link or provider.
    pub(crate) has_password: bool,
    /// An authenticator app is part of the sign-in.
    pub(crate) has_totp: bool,
    #[schema(format = "date-time")]
    pub(crate) created_at: String,
    /// None if they have never been here.
    #[schema(format = "date-time")]
    pub(crate) signed_in_at: Option<String>,
    /// Counts changes; the entity tag.
    pub(crate) version: u64,
}

/// A person who was invited, and their way in.
#[derive(Serialize, ToSchema)]
pub(crate) struct InvitedView {
    pub(crate) user: UserView,
    /// Shown this once: hand it to the person.
    pub(crate) sign_in_link: LinkView,
}

impl UserView {
    fn of(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            role: user.role.as_str(),
            disabled: user.disabled,
            has_password: user.password.is_some(),
            has_totp: user.totp.is_some(),
            created_at: shown_time(user.created_at),
            signed_in_at: user.signed_in_at.map(shown_time),
            version: user.version,
        }
    }
}

impl Control {
    /// The people of the caller's tenant.
    pub(crate) async fn list_users(
        &self,
        caller: &Principal,
        asked: &PageAsked,
    ) -> Result<Listed<UserView>, Problem> {
        caller.may(Operation::UserRead)?;
        let page = self
            .store
            .users(caller.tenant, &asked.wanted::<UserId>()?)
            .await?;
        Ok(Listed {
            items: page.items.into_iter().map(UserView::of).collect(),
            next_cursor: page.next,
        })
    }

    /// One person.
    pub(crate) async fn get_user(
        &self,
        caller: &Principal,
        id: UserId,
    ) -> Result<UserView, Problem> {
        caller.may(Operation::UserRead)?;
        Ok(UserView::of(self.person(caller, id).await?))
    }

    /// Invites a person: an account without a password, and a link to come in by.
    pub(crate) async fn invite_user(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<InvitedView, Problem> {
        whole(caller)?;
        let body: UserBody = read(&body)?;
        let role = checked(&body)?;
        let at = self.stage.clock.unix_ms();
        let user = self.new_user(caller, &body, role, at);
        let detail = json!({"email": user.email, "role": role.as_str()});
        let entry = caller.did(at, "user.invite", user.id, detail);
        let made = self.make_link(user.id, true);
        let invited = self.store.invite(&user, &made.kept, &entry).await;
        invited.map_err(email_taken)?;
        Ok(InvitedView {
            user: UserView::of(user),
            sign_in_link: self.show_link(&made),
        })
    }

    pub(super) fn new_user(
        &self,
        caller: &Principal,
        body: &UserBody,
        role: Role,
        at: u64,
    ) -> User {
        User {
            id: self.stage.id(),
            tenant: caller.tenant,
            operator: false,
            email: Some(body.email.clone()),
            name: body.name.clone(),
            role,
            password: None,
            disabled: body.disabled,
            totp: None,
            totp_pending: None,
            totp_step: None,
            created_at: at,
            signed_in_at: None,
            version: 1,
        }
    }

    /// Changes a person's name, address, role, or keeps them out.
    pub(crate) async fn change_user(
        &self,
        caller: &Principal,
        id: UserId,
        patch: Value,
        expected: &Expected,
    ) -> Result<UserView, Problem> {
        whole(caller)?;
        let user = self.person(caller, id).await?;
        expected.meets(user.version)?;
        let before = UserBody {
            email: user.email.clone().unwrap_or_default(),
            name: user.name.clone(),
            role: user.role.as_str().to_owned(),
            disabled: user.disabled,
        };
        let body: UserBody = patched(&before, patch.clone())?;
        let role = checked(&body)?;
        if caller.actor.id == id.to_string() && role > user.role {
            return Err(Problem::forbidden("nobody raises their own role"));
        }
        let change = UserChange {
            name: body.name,
            email: Some(body.email),
            role,
            disabled: body.disabled,
        };
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "user.change", id, patch);
        let changed = self.store.change_user(&user, &change, at, &entry).await;
        settled(changed.map_err(|error| expected.lost(email_taken(error)))?)?;
        Ok(UserView::of(self.person(caller, id).await?))
    }

    /// Removes a person. What they did stays in the audit log.
    pub(crate) async fn remove_user(
        &self,
        caller: &Principal,
        id: UserId,
        expected: &Expected,
    ) -> Result<(), Problem> {
        whole(caller)?;
        let user = self.person(caller, id).await?;
        expected.meets(user.version)?;
        let at = self.stage.clock.unix_ms();
        let detail = json!({"email": user.email, "role": user.role.as_str()});
        let entry = caller.did(at, "user.remove", id, detail);
        let removed = self.store.remove_user(&user, &entry).await;
        settled(removed.map_err(|error| expected.lost(error.into()))?)
    }

    /// Makes a new link by which a person comes in and sets a password; earlier ones are void.
    pub(crate) async fn renew_sign_in_link(
        &self,
        caller: &Principal,
        id: UserId,
    ) -> Result<LinkView, Problem> {
        whole(caller)?;
        let user = self.person(caller, id).await?;
        if user.disabled {
            return Err(Problem::in_use("the account is disabled; enable it first"));
        }
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "user.link", id, json!({}));
        let made = self.make_link(id, user.signed_in_at.is_none());
        self.store.add_link(&made.kept, &entry).await?;
        Ok(self.show_link(&made))
    }

    /// Takes the second step off somebody's account who lost app and recovery codes.
    pub(crate) async fn reset_user_totp(
        &self,
        caller: &Principal,
        id: UserId,
    ) -> Result<(), Problem> {
        whole(caller)?;
        self.person(caller, id).await?;
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "user.totp_remove", id, json!({}));
        Ok(self.store.remove_totp(id, &entry).await?)
    }

    /// A person of the caller's tenant.
    async fn person(&self, caller: &Principal, id: UserId) -> Result<User, Problem> {
        let found = self.store.user(id).await?;
        let own = found.filter(|user| user.tenant == caller.tenant);
        own.ok_or_else(|| Problem::no_such("user", id))
    }
}

/// Who decides about people decides about everything they may: a caller that was made for single
/// operations may not hand out more than it has.
fn whole(caller: &Principal) -> Result<(), Problem> {
    caller.may(Operation::UserWrite)?;
    if caller.scopes.is_some() {
        return Err(Problem::forbidden(
            "a key with scopes gives nobody access; use one without",
        ));
    }
    Ok(())
}

pub(super) fn checked(body: &UserBody) -> Result<Role, Problem> {
    let mut faults = Faults::default();
    if let Some(fault) = email::fault(&body.email) {
        faults.add("email", fault);
    }
    faults.name("name", &body.name);
    let role = faults.id("role", &body.role);
    faults.result()?;
    Ok(role.unwrap_or(Role::Viewer))
}

fn settled(changed: Changed) -> Result<(), Problem> {
    match changed {
        Changed::Done => Ok(()),
        Changed::LastOwner => Err(Problem::last_owner(
            "nobody would be left who may decide about people; make somebody else owner first, \
             and let them sign in once",
        )),
    }
}

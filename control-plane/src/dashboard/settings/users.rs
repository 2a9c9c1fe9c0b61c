//! The people of the tenant: invited, changed, kept out, let in again by a link.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::json;
use zen_proto::ids::UserId;

use super::{Tab, tabs};
use crate::control::Control;
use crate::dashboard::Shared;
use crate::dashboard::asked::{At, Question};
use crate::dashboard::form::{Form, Posted};
use crate::dashboard::listing::page_asked;
use crate::dashboard::parts::{Pager, Pill, Tone};
use crate::dashboard::render::{Answer, Frame, Nav, page, page_with, see_other};
use crate::dashboard::visitor::Visitor;
use crate::dashboard::words::Told;
use crate::manage::UserView;
use crate::people::LinkView;
use crate::permissions::{Operation, Role};
use crate::precondition::Expected;

const PATH: &str = "/settings/users";
const TOLD: &[(&str, &str)] = &[
    ("changed", "The change was saved. It holds at once."),
    ("removed", "The person was removed and is signed out."),
    ("totp", "The second step was taken off the account."),
];

/// Their paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/settings/users", get(list).post(invite))
        .route("/settings/users/new", get(new))
        .route("/settings/users/{id}", get(show).post(change))
        .route("/settings/users/{id}/link", post(link))
        .route("/settings/users/{id}/totp", post(reset_totp))
        .route("/settings/users/{id}/remove", get(ask_removal).post(remove))
}

#[derive(Template)]
#[template(path = "users.html")]
struct ListPage {
    frame: Frame,
    tabs: Vec<Tab>,
    rows: Vec<Row>,
    pager: Pager,
    may_write: bool,
}

struct Row {
    id: String,
    name: String,
    email: String,
    role: &'static str,
    pill: Pill,
    second_step: &'static str,
    signed_in: Told,
    /// It is the visitor.
    own: bool,
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let caller = &visitor.principal;
    let listed = control.list_users(caller, &page_asked(&asked)).await?;
    let own = caller.actor.id.clone();
    let tabs = tabs(&visitor, PATH);
    let may_write = visitor.can(Operation::UserWrite);
    let frame = Frame::new(&control, visitor, Nav::Settings, "Users").await?;
    let cursor = asked.some("cursor");
    let pager = Pager::new(PATH, &[], cursor, listed.next_cursor.as_deref());
    let row = |user: UserView| Row {
        own: user.id.to_string() == own,
        id: user.id.to_string(),
        pill: state(&user),
        second_step: if user.has_totp { "on" } else { "off" },
        signed_in: Told::ago(user.signed_in_at.as_deref(), frame.now),
        email: user.email.unwrap_or_default(),
        name: user.name,
        role: user.role,
    };
    page(&ListPage {
        rows: listed.items.into_iter().map(row).collect(),
        frame: frame
            .below("Settings", "/settings")
            .told(asked.some("done"), TOLD),
        tabs,
        pager,
        may_write,
    })
}

fn state(user: &UserView) -> Pill {
    match user {
        user if user.disabled => Pill::new(Tone::Bad, "Disabled"),
        user if user.signed_in_at.is_none() => Pill::new(Tone::Idle, "Invited"),
        _ => Pill::new(Tone::Ok, "Active"),
    }
}

#[derive(Template)]
#[template(path = "user_form.html")]
struct FormPage {
    frame: Frame,
    tabs: Vec<Tab>,
    form: Form,
    /// None for a new one.
    user: Option<UserView>,
    roles: Vec<(&'static str, &'static str)>,
    may_write: bool,
}

/// The roles with what they may, the weakest first.
pub(super) fn roles(most: Role) -> Vec<(&'static str, &'static str)> {
    let all = Role::ALL.into_iter().filter(|role| *role <= most);
    let told = |role: Role| match role {
        Role::Viewer => "Viewer: looks",
        Role::Editor => "Editor: also endpoints, targets, flows, tests, replays",
        Role::Admin => "Admin: also planes, API keys, the audit log",
        Role::Owner => "Owner: also people",
    };
    all.map(|role| (role.as_str(), told(role))).collect()
}

async fn new(State(control): Shared, visitor: Visitor) -> Answer {
    visitor.principal.may(Operation::UserWrite)?;
    let posted = Posted::default().or("role", Role::Viewer.as_str());
    form_page(&control, visitor, None, Form::untouched(posted), None).await
}

async fn invite(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let wanted = json!({
        "email": posted.get("email"),
        "name": posted.get("name"),
        "role": posted.get("role"),
    });
    match control.invite_user(&visitor.principal, wanted).await {
        Ok(invited) => {
            let name = invited.user.name;
            let path = format!("{PATH}/{}", invited.user.id);
            handed_out(&control, visitor, &name, path, invited.sign_in_link).await
        }
        Err(problem) => {
            let form = Form::again(posted, problem)?;
            form_page(&control, visitor, None, form, None).await
        }
    }
}

async fn show(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<UserId>,
    Question(asked): Question,
) -> Answer {
    let user = control.get_user(&visitor.principal, id).await?;
    let mut posted = Posted::default()
        .or("email", user.email.clone().unwrap_or_default())
        .or("name", &user.name)
        .or("role", user.role)
        .or("version", user.version.to_string());
    if user.disabled {
        posted = posted.or("disabled", "on");
    }
    let done = asked.some("done").map(str::to_owned);
    let form = Form::untouched(posted);
    form_page(&control, visitor, Some(user), form, done).await
}

async fn change(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<UserId>,
    posted: Posted,
) -> Answer {
    let patch = json!({
        "email": posted.get("email"),
        "name": posted.get("name"),
        "role": posted.get("role"),
        "disabled": posted.has("disabled"),
    });
    let expected = posted.expected();
    let caller = &visitor.principal;
    match control.change_user(caller, id, patch, &expected).await {
        Ok(_) => Ok(see_other(&format!("{PATH}/{id}?done=changed"))),
        Err(problem) => {
            let user = control.get_user(&visitor.principal, id).await?;
            let form = Form::again(posted, problem)?;
            form_page(&control, visitor, Some(user), form, None).await
        }
    }
}

async fn form_page(
    control: &Arc<Control>,
    visitor: Visitor,
    user: Option<UserView>,
    form: Form,
    done: Option<String>,
) -> Answer {
    let title = user
        .as_ref()
        .map_or("Invite somebody", |user| user.name.as_str())
        .to_owned();
    let page = FormPage {
        tabs: tabs(&visitor, PATH),
        may_write: visitor.can(Operation::UserWrite),
        frame: Frame::new(control, visitor, Nav::Settings, title)
            .await?
            .below("Settings", "/settings")
            .below("Users", PATH)
            .told(done.as_deref(), TOLD),
        form,
        user,
        roles: roles(Role::Owner),
    };
    page_with(page.form.status(), &page)
}

/// A secret on the one page that shows it.
#[derive(Template)]
#[template(path = "shown_once.html")]
pub(super) struct ShownOnce {
    pub(super) frame: Frame,
    pub(super) lead: String,
    pub(super) secret: String,
    pub(super) words: &'static str,
    pub(super) until: Option<Told>,
    pub(super) after: &'static str,
    pub(super) back: String,
    pub(super) back_words: &'static str,
}

async fn handed_out(
    control: &Arc<Control>,
    visitor: Visitor,
    name: &str,
    back: String,
    link: LinkView,
) -> Answer {
    let frame = Frame::new(control, visitor, Nav::Settings, "Sign-in link").await?;
    page(&ShownOnce {
        until: Some(Told::at(Some(&link.expires_at), frame.now)),
        frame: frame.below("Settings", "/settings").below("Users", PATH),
        lead: format!("Hand this link to {name}. It works once and sets their password."),
        secret: link.url,
        words: "Copy link",
        after: "It is shown here and nowhere else. If it gets lost or is over, make a new one on \
            the person's page; the old one is void then.",
        back,
        back_words: "I have it, go on",
    })
}

async fn link(State(control): Shared, visitor: Visitor, At(id): At<UserId>) -> Answer {
    let link = control.renew_sign_in_link(&visitor.principal, id).await?;
    let user = control.get_user(&visitor.principal, id).await?;
    let back = format!("{PATH}/{id}");
    handed_out(&control, visitor, &user.name, back, link).await
}

async fn reset_totp(State(control): Shared, visitor: Visitor, At(id): At<UserId>) -> Answer {
    control.reset_user_totp(&visitor.principal, id).await?;
    Ok(see_other(&format!("{PATH}/{id}?done=totp")))
}

async fn ask_removal(State(control): Shared, visitor: Visitor, At(id): At<UserId>) -> Answer {
    visitor.principal.may(Operation::UserWrite)?;
    let user = control.get_user(&visitor.principal, id).await?;
    let removal = crate::dashboard::removal::Removal {
        nav: Nav::Settings,
        nouns: "Users",
        list: PATH,
        id: id.to_string(),
        name: user.name,
        means: "The person is signed out at once and cannot come in any more. What they did stays \
            in the audit log. To keep them out for a while, disable the account instead.",
        verb: "Remove user",
    };
    crate::dashboard::removal::ask(&control, visitor, removal, None).await
}

async fn remove(State(control): Shared, visitor: Visitor, At(id): At<UserId>) -> Answer {
    let removed = control.remove_user(&visitor.principal, id, &Expected::Any);
    removed.await?;
    Ok(see_other(&format!("{PATH}?done=removed")))
}

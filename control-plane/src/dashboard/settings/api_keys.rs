//! API keys: made with role, scopes and an end; shown once; revoked.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};
use zen_proto::ids::KeyId;

use super::users::{ShownOnce, roles};
use super::{Tab, tabs};
use crate::control::Control;
use crate::dashboard::Shared;
use crate::dashboard::asked::{At, Question};
use crate::dashboard::form::{Form, Posted};
use crate::dashboard::listing::page_asked;
use crate::dashboard::moment::Moment;
use crate::dashboard::parts::{Pager, Pill, Tone};
use crate::dashboard::removal::{self, Removal};
use crate::dashboard::render::{Answer, Frame, Nav, page, page_with, see_other};
use crate::dashboard::visitor::Visitor;
use crate::dashboard::words::Told;
use crate::manage::{ApiKeyView, shown_time};
use crate::permissions::{Operation, Role, allows};
use crate::precondition::Expected;
use crate::problem::Problem;

const PATH: &str = "/settings/api-keys";
const TOLD: &[(&str, &str)] = &[("revoked", "The key was revoked: it opens nothing any more.")];
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Days until a new key ends, and their words; empty is never.
const LIVES: [(&str, &str); 5] = [
    ("30", "in 30 days"),
    ("90", "in 90 days"),
    ("365", "in a year"),
    ("7", "in 7 days"),
    ("", "never"),
];

/// Their paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/settings/api-keys", get(list).post(create))
        .route("/settings/api-keys/new", get(new))
        .route(
            "/settings/api-keys/{id}/remove",
            get(ask_revocation).post(revoke),
        )
}

#[derive(Template)]
#[template(path = "api_keys.html")]
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
    role: &'static str,
    scopes: String,
    pill: Pill,
    created_by: String,
    created: Told,
    used: Told,
    expires: Told,
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let page_of = page_asked(&asked);
    let listed = control.list_api_keys(&visitor.principal, &page_of).await?;
    let tabs = tabs(&visitor, PATH);
    let may_write = visitor.can(Operation::KeyWrite);
    let frame = Frame::new(&control, visitor, Nav::Settings, "API keys").await?;
    let cursor = asked.some("cursor");
    let pager = Pager::new(PATH, &[], cursor, listed.next_cursor.as_deref());
    page(&ListPage {
        rows: listed
            .items
            .into_iter()
            .map(|key| row(key, frame.now))
            .collect(),
        frame: frame
            .below("Settings", "/settings")
            .told(asked.some("done"), TOLD),
        tabs,
        pager,
        may_write,
    })
}

fn row(key: ApiKeyView, now: Moment) -> Row {
    let expires = key.expires_at.as_deref().and_then(Moment::parse);
    let is_over = expires.is_some_and(|time| time <= now);
    Row {
        id: key.id.to_string(),
        pill: if is_over {
            Pill::new(Tone::Bad, "Expired")
        } else {
            Pill::new(Tone::Ok, "Active")
        },
        scopes: match &key.scopes {
            None => "all of its role".to_owned(),
            Some(scopes) => scopes.join(", "),
        },
        created: Told::at(Some(&key.created_at), now),
        used: Told::ago(key.last_used_at.as_deref(), now),
        expires: Told::ago(key.expires_at.as_deref(), now),
        name: key.name,
        role: key.role,
        created_by: key.created_by,
    }
}

#[derive(Template)]
#[template(path = "api_key_form.html")]
struct FormPage {
    frame: Frame,
    tabs: Vec<Tab>,
    form: Form,
    roles: Vec<(&'static str, &'static str)>,
    lives: [(&'static str, &'static str); 5],
    scopes: Vec<Scope>,
    may_operate: bool,
}

/// An operation that a key may be limited to.
struct Scope {
    word: &'static str,
    ticked: bool,
    /// The weakest role that has it.
    from: &'static str,
}

async fn new(State(control): Shared, visitor: Visitor) -> Answer {
    visitor.principal.may(Operation::KeyWrite)?;
    let posted = Posted::default().or("role", Role::Editor.as_str());
    form_page(&control, visitor, Form::untouched(posted)).await
}

async fn create(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let wanted = written(&posted, control.stage.clock.unix_ms());
    match control.create_api_key(&visitor.principal, wanted).await {
        Ok(made) => shown_once(&control, visitor, &made.api_key.name, made.key).await,
        Err(problem) => {
            let form = Form::again(posted, of_the_form(problem))?;
            form_page(&control, visitor, form).await
        }
    }
}

/// What the form asks for; its end is counted from `now`, Unix milliseconds.
fn written(posted: &Posted, now: u64) -> Value {
    let mut wanted = json!({
        "name": posted.get("name"),
        "role": posted.get("role"),
        "operator": posted.has("operator"),
    });
    let scopes: Vec<_> = posted.all("scope").collect();
    if !scopes.is_empty() {
        wanted["scopes"] = json!(scopes);
    }
    if let Some(days) = posted.some("days") {
        // What is no number of days is left for the API to refuse.
        wanted["expires_at"] = days.parse::<u64>().map_or_else(
            |_| json!(days),
            |days| json!(shown_time(now.saturating_add(days.saturating_mul(DAY_MS)))),
        );
    }
    wanted
}

/// A problem by the names of the form's fields.
fn of_the_form(mut problem: Problem) -> Problem {
    for fault in &mut problem.errors {
        if fault.field == "expires_at" {
            "days".clone_into(&mut fault.field);
        }
    }
    problem
}

async fn form_page(control: &Arc<Control>, visitor: Visitor, form: Form) -> Answer {
    let caller = &visitor.principal;
    let scope = |operation: &Operation| Scope {
        word: operation.as_str(),
        ticked: form
            .posted
            .all("scope")
            .any(|word| word == operation.as_str()),
        from: Role::ALL
            .into_iter()
            .find(|role| allows(*role, *operation))
            .map_or("", Role::as_str),
    };
    let own = Operation::ALL.iter().filter(|op| caller.can(**op));
    let page = FormPage {
        tabs: tabs(&visitor, PATH),
        scopes: own.map(scope).collect(),
        roles: roles(caller.role),
        may_operate: caller.operator,
        frame: Frame::new(control, visitor.clone(), Nav::Settings, "Make an API key")
            .await?
            .below("Settings", "/settings")
            .below("API keys", PATH),
        lives: LIVES,
        form,
    };
    page_with(page.form.status(), &page)
}

async fn shown_once(control: &Arc<Control>, visitor: Visitor, name: &str, key: String) -> Answer {
    let frame = Frame::new(control, visitor, Nav::Settings, "The new API key").await?;
    page(&ShownOnce {
        frame: frame.below("Settings", "/settings").below("API keys", PATH),
        lead: format!("This is the key {name}. Put it where it is needed now."),
        secret: key,
        words: "Copy key",
        until: None,
        after: "It is shown here and nowhere else: only its hash is kept. Who has it can do what \
            it may, so keep it like a password. If it gets lost, revoke it and make another.",
        back: PATH.to_owned(),
        back_words: "I have it, go on",
    })
}

async fn ask_revocation(State(control): Shared, visitor: Visitor, At(id): At<KeyId>) -> Answer {
    visitor.principal.may(Operation::KeyWrite)?;
    let removal = Removal {
        nav: Nav::Settings,
        nouns: "API keys",
        list: PATH,
        id: id.to_string(),
        name: id.to_string(),
        means: "Whatever uses this key is refused from then on. This cannot be undone.",
        verb: "Revoke key",
    };
    removal::ask(&control, visitor, removal, None).await
}

async fn revoke(State(control): Shared, visitor: Visitor, At(id): At<KeyId>) -> Answer {
    let revoked = control.revoke_api_key(&visitor.principal, id, &Expected::Any);
    revoked.await?;
    Ok(see_other(&format!("{PATH}?done=revoked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_ticked_scopes_has_all_of_its_role_and_days_become_a_time() {
        let posted = Posted::default()
            .or("name", "ci")
            .or("role", "editor")
            .or("days", "7");
        let wanted = written(&posted, 1_700_000_000_000);
        assert!(wanted.get("scopes").is_none());
        assert_eq!(wanted["expires_at"], json!("2023-11-21T22:13:20Z"));
        let never = written(&Posted::default().or("scope", "plane.read"), 0);
        assert_eq!(never["scopes"], json!(["plane.read"]));
        assert!(never.get("expires_at").is_none());
    }
}

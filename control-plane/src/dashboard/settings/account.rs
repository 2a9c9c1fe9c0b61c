//! One's own account: the password, the second step, where one is signed in.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};

use super::{Tab, tabs};
use crate::control::Control;
use crate::dashboard::Shared;
use crate::dashboard::asked::Question;
use crate::dashboard::form::{Form, Posted};
use crate::dashboard::render::{Answer, Frame, Nav, page, page_with, see_other};
use crate::dashboard::visitor::Visitor;
use crate::dashboard::words::Told;
use crate::people::{SignedIn, TotpBegun};
use crate::problem::Problem;

const PATH: &str = "/settings/account";
const TOLD: &[(&str, &str)] = &[
    (
        "password",
        "Your password was changed. Every other session has ended.",
    ),
    ("totp-off", "The second step was taken off your account."),
    ("session", "That session has ended."),
];

/// Its paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/settings/account", get(show))
        .route("/settings/account/password", post(change_password))
        .route("/settings/account/totp", post(begin_totp))
        .route("/settings/account/totp/confirm", post(confirm_totp))
        .route("/settings/account/totp/remove", post(remove_totp))
        .route("/settings/account/sessions/end", post(end_session))
}

#[derive(Template)]
#[template(path = "account.html")]
struct Page {
    frame: Frame,
    tabs: Vec<Tab>,
    email: String,
    has_totp: bool,
    must_set_up_totp: bool,
    codes_left: u64,
    /// Begun, and not confirmed yet.
    begun: Option<Begun>,
    sessions: Vec<Session>,
    password: Form,
    totp: Form,
}

struct Begun {
    /// Inline SVG, made by this process.
    qr_svg: String,
    secret: String,
}

impl From<TotpBegun> for Begun {
    fn from(begun: TotpBegun) -> Self {
        Self {
            qr_svg: begun.qr_svg,
            secret: begun.secret.to_string(),
        }
    }
}

struct Session {
    id: String,
    current: bool,
    began: Told,
    seen: Told,
    address: String,
    browser: String,
}

/// The two forms of the page.
#[derive(Default)]
struct Forms {
    password: Form,
    totp: Form,
}

async fn show(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    shown(&control, visitor, Forms::default(), asked.some("done")).await
}

async fn shown(
    control: &Arc<Control>,
    visitor: Visitor,
    forms: Forms,
    done: Option<&str>,
) -> Answer {
    let who = Arc::clone(&visitor.signed_in);
    let SignedIn {
        email,
        has_totp,
        must_set_up_totp,
        ..
    } = &*who;
    let sessions = control.list_own_sessions(&who).await?;
    let begun = control.totp_pending(&who).await?;
    let codes_left = control.recovery_codes_left(&who).await?;
    let tabs = tabs(&visitor, PATH);
    let frame = Frame::new(control, visitor, Nav::Settings, "Your account").await?;
    let sessions = sessions.into_iter().map(|session| Session {
        began: Told::at(Some(&session.began_at), frame.now),
        seen: Told::ago(Some(&session.seen_at), frame.now),
        id: session.id,
        current: session.current,
        address: session.address,
        browser: session.browser,
    });
    let status = [&forms.password, &forms.totp].map(Form::status);
    let refused = status.into_iter().find(|status| !status.is_success());
    let page = Page {
        tabs,
        email: email.clone(),
        has_totp: *has_totp,
        must_set_up_totp: *must_set_up_totp,
        codes_left,
        begun: begun.map(Begun::from),
        sessions: sessions.collect(),
        password: forms.password,
        totp: forms.totp,
        frame: frame.below("Settings", "/settings").told(done, TOLD),
    };
    page_with(refused.unwrap_or_default(), &page)
}

/// A form of passwords and codes again: with what is wrong, and nothing of what was typed.
fn emptied(problem: Problem) -> Result<Form, Problem> {
    Form::again(Posted::default(), problem)
}

async fn change_password(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let (present, new) = (posted.raw("present"), posted.raw("new"));
    let changed = control.change_own_password(
        &visitor.signed_in,
        present.to_owned(),
        new.to_owned(),
        posted.raw("again"),
    );
    match changed.await {
        Ok(()) => Ok(see_other(&format!("{PATH}?done=password"))),
        Err(problem) => {
            let forms = Forms {
                password: emptied(problem)?,
                ..Forms::default()
            };
            shown(&control, visitor, forms, None).await
        }
    }
}

async fn begin_totp(State(control): Shared, visitor: Visitor) -> Answer {
    control.totp_begin(&visitor.signed_in).await?;
    Ok(see_other(&format!("{PATH}#second-step")))
}

#[derive(Template)]
#[template(path = "recovery_codes.html")]
struct CodesPage {
    frame: Frame,
    codes: Vec<String>,
}

async fn confirm_totp(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    match control
        .totp_confirm(&visitor.signed_in, posted.get("code"))
        .await
    {
        Ok(codes) => {
            let title = "Recovery codes";
            let frame = Frame::new(&control, visitor, Nav::Settings, title).await?;
            let frame = frame
                .below("Settings", "/settings")
                .below("Your account", PATH);
            page(&CodesPage { frame, codes })
        }
        Err(problem) => second_step_again(&control, visitor, problem).await,
    }
}

async fn remove_totp(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let password = posted.raw("password").to_owned();
    match control.totp_remove(&visitor.signed_in, password).await {
        Ok(()) => Ok(see_other(&format!("{PATH}?done=totp-off"))),
        Err(problem) => second_step_again(&control, visitor, problem).await,
    }
}

async fn second_step_again(control: &Arc<Control>, visitor: Visitor, problem: Problem) -> Answer {
    let forms = Forms {
        totp: emptied(problem)?,
        ..Forms::default()
    };
    shown(control, visitor, forms, None).await
}

async fn end_session(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let session = posted.get("session");
    control.end_session(&visitor.signed_in, session).await?;
    Ok(see_other(&format!("{PATH}?done=session")))
}

//! The pages before the session: password, second step, one-time link, OpenID provider, and the way
//! out.

mod visit;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use self::visit::Seen;
use super::assets::{ASSETS, Assets};
use super::form::{Field, Form, Posted};
use super::render::{Answer, page, page_with, see_other};
use crate::control::Control;
use crate::people::oidc::{LIFE_SECONDS, Returned};
use crate::people::{Entered, Jar, LinkForm, Password, Recognised, Unentered, landing};
use crate::problem::Problem;

/// Seconds for which the browser keeps the session's cookie.
const SESSION_SECONDS: u64 = crate::people::session::LIFE / 1000;

/// The paths.
pub(super) fn routes() -> Router<Arc<Control>> {
    Router::new()
        .route("/sign-in", get(show).post(sign_in))
        .route("/sign-in/code", get(show_code).post(take_code))
        .route("/sign-in/link/{token}", get(show_link).post(take_link))
        .route("/sign-in/oidc", get(depart))
        .route("/sign-in/oidc/callback", get(arrive))
        .route("/sign-out", post(sign_out))
}

/// What a page before the session begins with.
#[derive(Default, Deserialize)]
struct Asked {
    next: Option<String>,
    /// A word of ours about what was just done.
    told: Option<String>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    assets: Assets,
    form: Form,
    /// What the visitor is told before anything else; may be empty.
    notice: &'static str,
    /// Name of the OpenID provider.
    provider: Option<String>,
    /// Query for the provider's button.
    next: String,
}

impl SignInPage {
    fn email(&self) -> Field<'_> {
        Field {
            autocomplete: "username",
            ..self.form.field("email", "E-mail address", "")
        }
    }

    fn password(&self) -> Field<'_> {
        Field {
            autocomplete: "current-password",
            ..self.form.field("password", "Password", "")
        }
    }
}

#[derive(Template)]
#[template(path = "sign_in_code.html")]
struct CodePage {
    assets: Assets,
    form: Form,
}

impl CodePage {
    fn code(&self) -> Field<'_> {
        let hint = "Six digits from the authenticator app, or one of your recovery codes.";
        Field {
            autocomplete: "one-time-code",
            ..self.form.field("code", "Code", hint)
        }
    }
}

#[derive(Template)]
#[template(path = "sign_in_link.html")]
struct LinkPage {
    assets: Assets,
    form: Form,
    /// The address that the account has already; empty for the first owner, who gives one.
    account: String,
}

impl LinkPage {
    fn field<'a>(
        &'a self,
        name: &'a str,
        label: &'a str,
        hint: &'a str,
        fill: &'a str,
    ) -> Field<'a> {
        Field {
            autocomplete: fill,
            ..self.form.field(name, label, hint)
        }
    }
}

/// Why there is no way in here, and which way there is.
#[derive(Template)]
#[template(path = "sign_in_refused.html")]
struct RefusedPage {
    assets: Assets,
    title: &'static str,
    meaning: &'static str,
    remedy: &'static str,
    code: &'static str,
}

async fn show(
    State(control): State<Arc<Control>>,
    seen: Seen,
    Query(asked): Query<Asked>,
) -> Answer {
    let next = landing(asked.next.as_deref());
    if let Recognised::Somebody(_) = seen.who {
        return Ok(see_other(next));
    }
    let notice = match (&seen.who, asked.told.as_deref()) {
        (Recognised::Ended, _) => {
            "Your session has ended. Sign in again; you come back to where you were."
        }
        (_, Some("out")) => "You are signed out.",
        _ => "",
    };
    let form = Form::new(&[("next", next)]);
    page(&sign_in_page(&control, form, notice))
}

fn sign_in_page(control: &Control, form: Form, notice: &'static str) -> SignInPage {
    let next = form.posted.get("next");
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    SignInPage {
        assets: ASSETS,
        notice,
        provider: control.provider_name().map(str::to_owned),
        next,
        form,
    }
}

async fn sign_in(State(control): State<Arc<Control>>, seen: Seen, posted: Posted) -> Answer {
    seen.own_page(&control)?;
    let (email, next) = (posted.get("email"), posted.get("next"));
    let password = Password::from(posted.raw("password").to_owned());
    let entered = control.sign_in(&seen.visit, email, password, next).await;
    let unentered = match entered {
        Ok(entered) => return admit(&control, &seen, entered, landing(Some(next))).await,
        Err(unentered) => unentered,
    };
    let (status, problem) = refusal(unentered)?;
    let form = Form {
        problem: Some(problem.clone()),
        // Everything but the password.
        ..Form::new(&[("email", email), ("next", next)])
    };
    let shown = page_with(status, &sign_in_page(&control, form, ""))?;
    Ok(waiting(shown, &problem))
}

/// Gives the browser what it needs to go on.
async fn admit(control: &Control, seen: &Seen, entered: Entered, next: &str) -> Answer {
    let cookies = control.people.cookies;
    let (path, cookie) = match &entered {
        Entered::In(token) => {
            seen.end_former(control).await?;
            let session = cookies.set(Jar::Session, token.expose(), SESSION_SECONDS);
            (next, vec![session, cookies.end(Jar::Step)])
        }
        Entered::Step(token) => {
            let step = cookies.set(Jar::Step, token.expose(), LIFE_SECONDS);
            ("/sign-in/code", vec![step])
        }
    };
    Ok(with_cookies(see_other(path), cookie))
}

fn with_cookies(mut response: Response, cookies: Vec<Option<HeaderValue>>) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// What a form shows about a sign-in that failed. What is not the visitor's doing gets its own
/// page.
fn refusal(unentered: Unentered) -> Result<(StatusCode, Problem), Problem> {
    let problem = match unentered {
        Unentered::Wrong => Problem::sign_in_wrong(
            "There is no account with this e-mail address and password. An owner of your tenant \
             can give you a new sign-in link.",
        ),
        Unentered::WrongCode => Problem::sign_in_wrong(
            "This is not the code of this moment, or it was used before. Wait for the next one; if \
             codes never fit, check the clock of the device with the app.",
        ),
        Unentered::TooMany(wait) => {
            let seconds = wait.as_secs() + 1;
            Problem::too_many(format!(
                "Wait {seconds} s, then try again. This protects the account from guessing."
            ))
            .after(seconds)
        }
        Unentered::Disabled => Problem::sign_in_wrong(
            "The account is disabled. An owner of your tenant can enable it.",
        ),
        Unentered::Failed(problem) if problem.errors.is_empty() => return Err(problem),
        Unentered::Failed(problem) => problem,
        Unentered::StepOver => Problem::sign_in_wrong("Begin again from the sign-in page."),
        Unentered::NoAccount | Unentered::Oidc(_) => {
            Problem::sign_in_wrong("The provider's sign-in did not lead to an account here.")
        }
    };
    Ok((problem.status, problem))
}

fn waiting(mut response: Response, problem: &Problem) -> Response {
    if let Some(seconds) = problem.retry_after {
        let value = HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

async fn show_code(State(control): State<Arc<Control>>, seen: Seen) -> Answer {
    if !control.awaits_step(seen.step(&control)).await? {
        return Ok(see_other("/sign-in"));
    }
    page(&CodePage {
        assets: ASSETS,
        form: Form::default(),
    })
}

async fn take_code(State(control): State<Arc<Control>>, seen: Seen, posted: Posted) -> Answer {
    seen.own_page(&control)?;
    let step = seen.step(&control);
    let taken = control
        .second_step(&seen.visit, step, posted.get("code"))
        .await;
    match taken {
        Ok((token, next)) => admit(&control, &seen, Entered::In(token), &next).await,
        Err(Unentered::StepOver) => {
            let over = RefusedPage {
                assets: ASSETS,
                title: "Begin again",
                meaning: "The second step took longer than ten minutes, or too many codes were \
                          tried.",
                remedy: "Sign in again with your password.",
                code: "SIGN_IN_STEP_OVER",
            };
            let shown = page_with(StatusCode::FORBIDDEN, &over)?;
            let cookie = control.people.cookies.end(Jar::Step);
            Ok(with_cookies(shown, vec![cookie]))
        }
        Err(unentered) => {
            let (status, problem) = refusal(unentered)?;
            let form = Form {
                problem: Some(problem.clone()),
                ..Form::default()
            };
            let assets = ASSETS;
            let shown = page_with(status, &CodePage { assets, form })?;
            Ok(waiting(shown, &problem))
        }
    }
}

async fn show_link(State(control): State<Arc<Control>>, Path(token): Path<String>) -> Answer {
    let Some(account) = control.link_account(&token).await? else {
        return gone();
    };
    let form = Form::new(&[("name", account.name.as_str())]);
    page(&LinkPage {
        assets: ASSETS,
        form,
        account: account.email,
    })
}

/// A link that is of no use any more.
fn gone() -> Answer {
    let page = RefusedPage {
        assets: ASSETS,
        title: "This link is used up or has expired",
        meaning: "A sign-in link is good once, for 24 hours the first time and 30 minutes later on.",
        remedy: "Sign in with your password, or ask an owner of your tenant for a new link. The \
                 very first owner finds a new one in the file sign-in-link after a restart of the \
                 control plane.",
        code: "SIGN_IN_LINK_GONE",
    };
    page_with(StatusCode::GONE, &page)
}

async fn take_link(
    State(control): State<Arc<Control>>,
    seen: Seen,
    Path(token): Path<String>,
    posted: Posted,
) -> Answer {
    seen.own_page(&control)?;
    let form = LinkForm {
        email: posted.get("email").to_owned(),
        name: posted.get("name").to_owned(),
        password: Password::from(posted.raw("password").to_owned()),
        repeated: posted.raw("password") == posted.raw("password_again"),
    };
    match control.take_link(&seen.visit, &token, form).await {
        Ok(Some(entered)) => admit(&control, &seen, entered, "/").await,
        Ok(None) => gone(),
        Err(unentered) => {
            let (status, problem) = refusal(unentered)?;
            let Some(account) = control.link_account(&token).await? else {
                return gone();
            };
            let kept = [("email", posted.get("email")), ("name", posted.get("name"))];
            let form = Form {
                problem: Some(problem),
                ..Form::new(&kept)
            };
            let page = LinkPage {
                assets: ASSETS,
                form,
                account: account.email,
            };
            page_with(status, &page)
        }
    }
}

async fn depart(
    State(control): State<Arc<Control>>,
    seen: Seen,
    Query(asked): Query<Asked>,
) -> Answer {
    let next = landing(asked.next.as_deref());
    match control.depart(&seen.visit, next).await {
        Ok(departure) => {
            let cookies = control.people.cookies;
            let cookie = cookies.set(Jar::Step, &departure.cookie, LIFE_SECONDS);
            let away = see_other(departure.url.as_str());
            Ok(with_cookies(away, vec![cookie]))
        }
        Err(unentered) => unarrived(unentered),
    }
}

async fn arrive(
    State(control): State<Arc<Control>>,
    seen: Seen,
    Query(returned): Query<Returned>,
) -> Answer {
    let cookie = seen.step(&control);
    match control.arrive(&seen.visit, cookie, returned).await {
        Ok((entered, next)) => admit(&control, &seen, entered, &next).await,
        Err(unentered) => {
            let ended = control.people.cookies.end(Jar::Step);
            Ok(with_cookies(unarrived(unentered)?, vec![ended]))
        }
    }
}

/// The page for a provider's sign-in that came to nothing.
fn unarrived(unentered: Unentered) -> Answer {
    let (meaning, remedy, code) = match &unentered {
        Unentered::Oidc(error) => (error.meaning(), error.remedy(), error.code()),
        Unentered::NoAccount => (
            "The provider knows you, but there is no account for you here.",
            "Ask an owner of your tenant for an invitation to the same e-mail address.",
            "OIDC_NO_ACCOUNT",
        ),
        _ => {
            let (status, problem) = refusal(unentered)?;
            return Err(Problem { status, ..problem });
        }
    };
    let page = RefusedPage {
        assets: ASSETS,
        title: "You are not signed in",
        meaning,
        remedy,
        code,
    };
    page_with(StatusCode::FORBIDDEN, &page)
}

async fn sign_out(State(control): State<Arc<Control>>, seen: Seen) -> Answer {
    seen.own_page(&control)?;
    seen.end_former(&control).await?;
    let cookies = control.people.cookies;
    let ended = vec![cookies.end(Jar::Session), cookies.end(Jar::Step)];
    Ok(with_cookies(see_other("/sign-in?told=out"), ended))
}

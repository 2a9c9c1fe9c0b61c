//! `/v1/me`: who is asking, and what people do with their own account.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use http::request::Parts;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Body, Caller};
use super::{Answer, Shared, created, done, shown};
use crate::control::Control;
use crate::manage::{
    CodeBody, MeView, OwnSessionsView, PasswordChangeBody, PasswordProofBody, RecoveryCodesView,
    TotpBegunView,
};
use crate::people::{Recognised, SignedIn};
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(get_me))
        .routes(routes!(change_own_password))
        .routes(routes!(list_own_sessions))
        .routes(routes!(end_own_session))
        .routes(routes!(begin_totp))
        .routes(routes!(confirm_totp))
        .routes(routes!(remove_totp))
}

/// The person who is signed in; an API key has no account of its own.
struct Person(SignedIn);

impl FromRequestParts<Arc<Control>> for Person {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        if let Some(Recognised::Somebody(person)) = parts.extensions.get::<Recognised>() {
            return Ok(Self(person.as_ref().clone()));
        }
        Caller::from_request_parts(parts, control).await?;
        Err(Problem::forbidden(
            "this is for people who are signed in; an API key has no account",
        ))
    }
}

/// Show who is asking
///
/// The key or person behind the request, and all that it may do.
#[utoipa::path(get, path = "/me", tag = "people",
    responses((status = 200, description = "The caller.", body = MeView)))]
async fn get_me(State(control): Shared, Caller(caller): Caller) -> Answer {
    shown(control.me(&caller).await?)
}

/// Change one's password
///
/// Every other session ends. For people who are signed in.
#[utoipa::path(post, path = "/me/password", tag = "account", request_body = PasswordChangeBody,
    responses((status = 204, description = "It is changed.")))]
async fn change_own_password(
    State(control): Shared,
    Person(person): Person,
    Body(body): Body,
) -> Answer {
    let body: PasswordChangeBody = crate::manage::read(&body)?;
    let again = body.new.clone();
    control
        .change_own_password(&person, body.present, body.new, &again)
        .await?;
    done()
}

/// List one's sessions
///
/// The one used last first. For people who are signed in.
#[utoipa::path(get, path = "/me/sessions", tag = "account",
    responses((status = 200, description = "The sessions.", body = OwnSessionsView)))]
async fn list_own_sessions(State(control): Shared, Person(person): Person) -> Answer {
    let items = control.list_own_sessions(&person).await?;
    shown(OwnSessionsView { items })
}

/// End one of one's sessions
///
/// For people who are signed in.
#[utoipa::path(delete, path = "/me/sessions/{id}", tag = "account",
    responses((status = 204, description = "It has ended.")))]
async fn end_own_session(
    State(control): Shared,
    Person(person): Person,
    Path(id): Path<String>,
) -> Answer {
    control.end_session(&person, &id).await?;
    done()
}

/// Begin to set up an authenticator app
///
/// Nothing changes until a code of the app confirms it. For people who are signed in.
#[utoipa::path(post, path = "/me/totp", tag = "account",
    responses((status = 201, description = "The secret for the app.", body = TotpBegunView)))]
async fn begin_totp(State(control): Shared, Person(person): Person) -> Answer {
    let begun = control.totp_begin(&person).await?;
    created(TotpBegunView {
        secret: begun.secret.to_string(),
        qr_svg: begun.qr_svg,
    })
}

/// Confirm the authenticator app
///
/// From then on signing in takes its code. For people who are signed in.
#[utoipa::path(post, path = "/me/totp/confirmations", tag = "account", request_body = CodeBody,
    responses((status = 201, description = "Recovery codes, shown once.",
        body = RecoveryCodesView)))]
async fn confirm_totp(State(control): Shared, Person(person): Person, Body(body): Body) -> Answer {
    let body: CodeBody = crate::manage::read(&body)?;
    let recovery_codes = control.totp_confirm(&person, &body.code).await?;
    created(RecoveryCodesView { recovery_codes })
}

/// Take one's second step off
///
/// Asks for the password once more. For people who are signed in.
#[utoipa::path(post, path = "/me/totp/removals", tag = "account",
    request_body = PasswordProofBody,
    responses((status = 204, description = "The account has no second step any more.")))]
async fn remove_totp(State(control): Shared, Person(person): Person, Body(body): Body) -> Answer {
    let body: PasswordProofBody = crate::manage::read(&body)?;
    control.totp_remove(&person, body.password).await?;
    done()
}

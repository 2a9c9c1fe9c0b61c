//! `/v1/users`.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zen_proto::ids::UserId;

use super::extract::{Body, Caller, PathId, Query};
use super::precondition::IfMatch;
use super::{Answer, Shared, Versioned, created, done, shown, tagged};
use crate::control::Control;
use crate::manage::{InvitedView, Listed, PageAsked, UserBody, UserView};
use crate::people::LinkView;

pub(super) fn routes() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(list_users, invite_user))
        .routes(routes!(get_user, change_user, remove_user))
        .routes(routes!(renew_sign_in_link))
        .routes(routes!(remove_user_totp))
}

impl Versioned for UserView {
    fn version(&self) -> u64 {
        self.version
    }
}

/// List people
///
/// The people of the tenant, oldest first.
#[utoipa::path(get, path = "/users", tag = "people", params(PageAsked),
    responses((status = 200, description = "One page.", body = Listed<UserView>)))]
async fn list_users(
    State(control): Shared,
    Caller(caller): Caller,
    Query(asked): Query<PageAsked>,
) -> Answer {
    shown(control.list_users(&caller, &asked).await?)
}

/// Invite a person
///
/// Makes an account without a password, and the link by which the person comes in and sets one.
#[utoipa::path(post, path = "/users", tag = "people", request_body = UserBody,
    responses((status = 201, description = "The person and their link.", body = InvitedView)))]
async fn invite_user(State(control): Shared, Caller(caller): Caller, Body(body): Body) -> Answer {
    created(control.invite_user(&caller, body).await?)
}

/// Show a person
#[utoipa::path(get, path = "/users/{id}", tag = "people",
    responses((status = 200, description = "The person.", body = UserView)))]
async fn get_user(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<UserId>,
) -> Answer {
    tagged(control.get_user(&caller, id).await?)
}

/// Change a person
///
/// Their name, address or role, or whether they may come in. Another role and being disabled end
/// their sessions. A tenant keeps an owner.
#[utoipa::path(patch, path = "/users/{id}", tag = "people", request_body = UserBody,
    responses((status = 200, description = "The person as they are now.", body = UserView)))]
async fn change_user(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<UserId>,
    IfMatch(expected): IfMatch,
    Body(patch): Body,
) -> Answer {
    tagged(control.change_user(&caller, id, patch, &expected).await?)
}

/// Remove a person
///
/// What they did stays in the audit log. A tenant keeps an owner.
#[utoipa::path(delete, path = "/users/{id}", tag = "people",
    responses((status = 204, description = "They are gone.")))]
async fn remove_user(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<UserId>,
    IfMatch(expected): IfMatch,
) -> Answer {
    control.remove_user(&caller, id, &expected).await?;
    done()
}

/// Make a sign-in link
///
/// For who forgot the password, or whose invitation expired. Earlier links of the person are void.
#[utoipa::path(post, path = "/users/{id}/sign-in-links", tag = "people",
    responses((status = 201, description = "The link, shown once.", body = LinkView)))]
async fn renew_sign_in_link(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<UserId>,
) -> Answer {
    created(control.renew_sign_in_link(&caller, id).await?)
}

/// Take a person's second step off
///
/// For who lost both the authenticator app and the recovery codes.
#[utoipa::path(post, path = "/users/{id}/totp-resets", tag = "people",
    responses((status = 204, description = "The account has no second step any more.")))]
async fn remove_user_totp(
    State(control): Shared,
    Caller(caller): Caller,
    PathId(id): PathId<UserId>,
) -> Answer {
    control.reset_user_totp(&caller, id).await?;
    done()
}

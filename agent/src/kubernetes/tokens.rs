//! Who a component is before it has a certificate: the projected token of its service account, as
//! the API server judges it.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zen_proto::component::Component;

use super::api::{Api, Thing};
use super::fault::{Area, Board};
use super::settings::ServiceAccounts;
use crate::local::admission::{ReviewError, TokenReviewer};

/// For whom a token must be meant.
const AUDIENCE: &str = "zen-agent";
/// Time for one review, with tries: somebody waits for it.
const LIMIT: Duration = Duration::from_secs(8);

/// Judges tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) api: Api,
    pub(crate) board: Board,
    pub(crate) accounts: ServiceAccounts,
}

impl TokenReviewer for Tokens {
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Component, ReviewError>> {
        Box::pin(self.component(token))
    }
}

impl Tokens {
    async fn component(&self, token: &str) -> Result<Component, ReviewError> {
        let review = TokenReview {
            metadata: ObjectMeta::default(),
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            status: None,
        };
        let reviews = Thing::token_reviews();
        let request = || self.api.create::<TokenReview>(&reviews, &review);
        let judged = self.api.persist(LIMIT, request).await;
        self.board.note(Area::TokenReview, &judged);
        let judged = judged.map_err(|fault| ReviewError::Unavailable(fault.code().to_string()))?;
        judge(judged.status, self.api.namespace(), &self.accounts)
    }
}

/// What a review means.
fn judge(
    status: Option<TokenReviewStatus>,
    namespace: &str,
    accounts: &ServiceAccounts,
) -> Result<Component, ReviewError> {
    let status = status.unwrap_or_default();
    if status.authenticated != Some(true) {
        let error = status.error.unwrap_or_default();
        return Err(refused(&format!("it is not authenticated: {error}")));
    }
    // A server that knows nothing of audiences says none, and judged the token by its own.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(refused("it is not meant for the audience zen-agent"));
    }
    let user = status
        .user
        .and_then(|user| user.username)
        .unwrap_or_default();
    let account = user
        .strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'))
        .ok_or_else(|| refused("it is not a service account's"))?;
    match account {
        (place, name) if place == namespace => accounts
            .component(name)
            .ok_or_else(|| refused(&format!("service account {name:?} is no component's"))),
        (place, _) => Err(refused(&format!(
            "its service account is of namespace {place:?}, not {namespace:?}"
        ))),
    }
}

fn refused(why: &str) -> ReviewError {
    let why = why.chars().take(300).collect();
    ReviewError::Refused(why)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn status(authenticated: bool, audiences: &[&str], user: &str) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(authenticated),
            audiences: Some(audiences.iter().map(|&a| a.to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(user.to_owned()),
                ..UserInfo::default()
            }),
            error: None,
        }
    }

    #[test]
    fn only_a_token_for_this_agent_of_a_known_account_of_this_namespace_is_a_component() {
        let judged = |status| judge(Some(status), "zen-mesh", &ServiceAccounts::default());
        let good = "system:serviceaccount:zen-mesh:zen-ingester";
        let component = judged(status(true, &["x", "zen-agent"], good)).unwrap();
        assert_eq!(component, Component::Ingester);
        for (wrong, why) in [
            (status(false, &["zen-agent"], good), "not authenticated"),
            (status(true, &[], good), "audience"),
            (status(true, &["kubernetes"], good), "audience"),
            (
                status(true, &["zen-agent"], "zen-ingester"),
                "service account",
            ),
            (
                status(
                    true,
                    &["zen-agent"],
                    "system:serviceaccount:other:zen-ingester",
                ),
                "namespace",
            ),
            (
                status(
                    true,
                    &["zen-agent"],
                    "system:serviceaccount:zen-mesh:default",
                ),
                "no component",
            ),
            (
                status(
                    true,
                    &["zen-agent"],
                    "system:serviceaccount:zen-mesh:zen-agent",
                ),
                "no component",
            ),
            (
                status(
                    true,
                    &["zen-agent"],
                    "system:serviceaccount:zen-mesh:a:zen-ingester",
                ),
                "no component",
            ),
        ] {
            let error = judged(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(judge(None, "zen-mesh", &ServiceAccounts::default()).is_err());
    }
}

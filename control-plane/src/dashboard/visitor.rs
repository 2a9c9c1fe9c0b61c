//! Who looks at a page.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::Extensions;
use http::request::Parts;

use crate::control::Control;
use crate::people::{Recognised, SignedIn};
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;

/// Where an account is looked after: the one place for who must set up a second step first.
const ACCOUNT: &str = "/settings/account";

/// Somebody who is signed in.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) principal: Principal,
    /// As the frame shows it.
    pub(crate) name: String,
    /// The role in one word.
    pub(crate) role: &'static str,
    /// The session, for what people do with their own account.
    pub(crate) signed_in: Arc<SignedIn>,
}

/// Who is there, as it was found out before any page looked at the request.
///
/// # Errors
/// The problem of a visitor who is not signed in, or that nobody can be looked up at present.
pub(super) fn recognised(extensions: &Extensions) -> Result<Visitor, Problem> {
    let found = extensions.get::<Recognised>();
    let found = found.ok_or_else(|| Problem::unauthenticated("sign in first"))?;
    let signed_in = found.somebody()?;
    Ok(Visitor {
        principal: signed_in.principal.clone(),
        name: signed_in.name.clone(),
        role: signed_in.role.as_str(),
        signed_in: Arc::new(signed_in.clone()),
    })
}

impl Visitor {
    /// Whether what the operation allows is offered.
    pub(crate) fn can(&self, operation: Operation) -> bool {
        self.principal.can(operation)
    }

    /// Where the visitor must go before this path: to the set-up of the second step that the tenant
    /// asks for.
    pub(super) fn must_go(&self, path: &str) -> Option<&'static str> {
        let allowed = path.starts_with(ACCOUNT) || path.starts_with("/sign-");
        (self.signed_in.must_set_up_totp && !allowed).then_some(ACCOUNT)
    }
}

impl FromRequestParts<Arc<Control>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        _control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        recognised(&parts.extensions)
    }
}

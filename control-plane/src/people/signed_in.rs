//! What a session amounts to: who is there, and what they may do.

use std::net::IpAddr;
use std::sync::Arc;

use zen_chassis::chain::Chain;
use zen_proto::ids::UserId;

use super::session::{Carried, Judged, judge};
use super::token::BearerToken;
use crate::control::Control;
use crate::permissions::Role;
use crate::principal::{Actor, ActorKind, Principal};
use crate::problem::Problem;
use crate::store::{StoreError, StoredSession};

/// Somebody who is signed in.
#[derive(Clone)]
pub(crate) struct SignedIn {
    pub(crate) principal: Principal,
    pub(crate) user: UserId,
    /// Id of the session; lets nobody in.
    pub(crate) session: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) tenant_name: String,
    /// An authenticator app is part of this account's sign-in.
    pub(crate) has_totp: bool,
    /// The tenant asks for a second step, and this session came in without: until it has one, it
    /// may do nothing but set it up.
    pub(crate) must_set_up_totp: bool,
    /// The token that replaces the one that came.
    pub(super) replaced: Option<Arc<BearerToken>>,
}

/// What is known about who sent a request: put into its extensions before any handler runs.
#[derive(Clone)]
pub(crate) enum Recognised {
    /// There was no session's cookie.
    Nobody,
    /// There was one, of a session that is over.
    Ended,
    /// Somebody is signed in.
    Somebody(Box<SignedIn>),
    /// It could not be looked up, or the request comes from another site.
    Refused(Problem),
}

impl Recognised {
    /// Who it is.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, or what went wrong.
    pub(crate) fn somebody(&self) -> Result<&SignedIn, Problem> {
        match self {
            Self::Somebody(signed_in) => Ok(signed_in),
            Self::Nobody => Err(Problem::unauthenticated("sign in first")),
            Self::Ended => Err(Problem::unauthenticated("the session has ended")),
            Self::Refused(problem) => Err(problem.clone()),
        }
    }
}

impl Control {
    /// Who holds the session of this token; nobody if it is over. Writes down that it is in use, and
    /// replaces the token from time to time.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn signed_in(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Option<SignedIn>, Problem> {
        let Some(token) = BearerToken::parse(token) else {
            return Ok(None);
        };
        let hash = token.sha256();
        let Some(found) = self.store.session(&hash).await? else {
            return Ok(None);
        };
        let now = self.stage.clock.unix_ms();
        let mut replaced = None;
        match judge(found.times, found.carried, now) {
            Judged::Ended => return Ok(None),
            Judged::Good => {}
            Judged::Seen => {
                let seen = self.store.see_session(&found.id, now).await;
                seen.unwrap_or_else(|error| not_written(&error));
            }
            Judged::Rotate => {
                let new = BearerToken::generate(&self.stage.random);
                let rotated = self
                    .store
                    .rotate_session(&found.id, &hash, &new.sha256(), now)
                    .await;
                let rotated = rotated.unwrap_or_else(|error| {
                    not_written(&error);
                    false
                });
                // Otherwise another request was quicker, and its answer carries the new token.
                replaced = rotated.then(|| Arc::new(new));
            }
        }
        Ok(amounts_to(found, from, replaced))
    }

    /// Who holds the session of this id, if it still lasts: for streams, which look again and again
    /// on the strength of the request that opened them. Not a sign of use.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn still_signed_in(
        &self,
        session: &str,
        from: Option<IpAddr>,
    ) -> Result<Option<SignedIn>, Problem> {
        let Some(found) = self.store.session_of_id(session).await? else {
            return Ok(None);
        };
        let now = self.stage.clock.unix_ms();
        let over = judge(found.times, Carried::Current, now) == Judged::Ended;
        let amounts = amounts_to(found, from, None);
        Ok(amounts.filter(|_| !over))
    }
}

/// Who is signed in stays so when nothing can be written: the disk is full, say.
fn not_written(error: &StoreError) {
    tracing::warn!(error = %Chain(error), "cannot write down that a session is in use");
}

fn amounts_to(
    found: StoredSession,
    from: Option<IpAddr>,
    replaced: Option<Arc<BearerToken>>,
) -> Option<SignedIn> {
    let StoredSession {
        user,
        id,
        second_step,
        totp_required,
        tenant_name,
        ..
    } = found;
    if user.disabled {
        return None;
    }
    let must_set_up_totp = totp_required && !second_step;
    let email = user.email.unwrap_or_default();
    let principal = Principal {
        tenant: user.tenant,
        operator: user.operator,
        role: user.role,
        scopes: must_set_up_totp.then(Vec::new),
        actor: Actor {
            kind: ActorKind::User,
            id: user.id.to_string(),
            name: email.clone(),
        },
        address: from,
        claim: None,
    };
    Some(SignedIn {
        principal,
        user: user.id,
        session: id,
        email,
        name: user.name,
        role: user.role,
        tenant_name,
        has_totp: user.totp.is_some(),
        must_set_up_totp,
        replaced,
    })
}

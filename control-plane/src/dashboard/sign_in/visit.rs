//! What the pages before the session see of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::control::Control;
use crate::people::{Jar, PeerAddress, Recognised, Visit, own_page};
use crate::problem::Problem;

/// A request to a page before the session.
pub(super) struct Seen {
    pub(super) visit: Visit,
    pub(super) who: Recognised,
    headers: HeaderMap,
}

impl Seen {
    /// Refuses a form that another site sent.
    pub(super) fn own_page(&self, control: &Control) -> Result<(), Problem> {
        own_page(control, &self.headers)
    }

    /// The cookie of a sign-in that is half done.
    pub(super) fn step(&self, control: &Control) -> Option<&str> {
        control.people.cookies.read(Jar::Step, &self.headers)
    }

    /// Ends the session that the browser had before.
    pub(super) async fn end_former(&self, control: &Control) -> Result<(), Problem> {
        let Recognised::Somebody(who) = &self.who else {
            return Ok(());
        };
        match control.end_session(who, &who.session).await {
            Err(problem) if problem.status != http::StatusCode::NOT_FOUND => Err(problem),
            _ => Ok(()),
        }
    }
}

impl FromRequestParts<Arc<Control>> for Seen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Control>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<PeerAddress>();
        let browser = parts.headers.get(header::USER_AGENT);
        let browser = browser.and_then(|value| value.to_str().ok());
        let who = parts.extensions.get::<Recognised>().cloned();
        Ok(Self {
            visit: Visit {
                from: peer.map(|peer| peer.0.to_canonical()),
                browser: browser.unwrap_or_default().to_owned(),
            },
            who: who.unwrap_or(Recognised::Nobody),
            headers: parts.headers.clone(),
        })
    }
}

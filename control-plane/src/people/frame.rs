//! Around every request: who sent it, by the session's cookie, and that our own pages did.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method, header};

use super::cookie::Jar;
use super::same_origin;
use super::session::LIFE;
use super::signed_in::Recognised;
use crate::control::Control;
use crate::problem::Problem;

/// Where a request comes from, as far as the connection tells; in its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

/// Recognises who sent a request before anything else looks at it, and gives the browser the
/// session's new token when it was replaced.
pub(crate) async fn recognise(
    State(control): State<Arc<Control>>,
    mut request: Request,
    next: Next,
) -> Response {
    let from = peer(&request);
    let at_sign_in = request.uri().path() == "/sign-in";
    let (method, headers) = (request.method().clone(), request.headers());
    let recognised = recognised(&control, &method, headers, from).await;
    request.extensions_mut().insert(recognised.clone());
    let mut response = next.run(request).await;
    // A handler that gave or took a session itself knows better.
    if response.headers().contains_key(header::SET_COOKIE) {
        return response;
    }
    let cookies = control.people.cookies;
    let cookie = match &recognised {
        Recognised::Somebody(somebody) => somebody
            .replaced
            .as_ref()
            .and_then(|token| cookies.set(Jar::Session, token.expose(), LIFE / 1000)),
        // Kept until the sign-in page has said so.
        Recognised::Ended if at_sign_in => cookies.end(Jar::Session),
        Recognised::Ended | Recognised::Nobody | Recognised::Refused(_) => None,
    };
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The address behind a request.
pub(super) fn peer(request: &Request) -> Option<IpAddr> {
    request
        .extensions()
        .get::<PeerAddress>()
        .map(|peer| peer.0.to_canonical())
}

async fn recognised(
    control: &Control,
    method: &Method,
    headers: &HeaderMap,
    from: Option<IpAddr>,
) -> Recognised {
    // Whoever brings a key acts by that alone.
    if headers.contains_key(header::AUTHORIZATION) {
        return Recognised::Nobody;
    }
    let Some(token) = control.people.cookies.read(Jar::Session, headers) else {
        return Recognised::Nobody;
    };
    let public = control.people.public.as_ref();
    let found = match same_origin::allow(method, headers, public) {
        Ok(()) => control.signed_in(token, from).await,
        Err(problem) => Err(problem),
    };
    match found {
        Ok(Some(signed_in)) => Recognised::Somebody(Box::new(signed_in)),
        Ok(None) => Recognised::Ended,
        Err(problem) => Recognised::Refused(problem),
    }
}

/// Refuses a form that another site sent, also where nobody is signed in yet.
///
/// # Errors
/// `CROSS_SITE`.
pub(crate) fn own_page(control: &Control, headers: &HeaderMap) -> Result<(), Problem> {
    same_origin::allow(&Method::POST, headers, control.people.public.as_ref())
}

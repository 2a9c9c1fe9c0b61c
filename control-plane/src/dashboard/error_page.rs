//! What went wrong, as a page: what it means and what to do, in the frame if somebody is signed in.

use std::sync::Arc;

use askama::Template;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, Method, StatusCode, header};

use super::assets::{ASSETS, Assets};
use super::render::{Crumb, Frame, Nav, page_with, see_other};
use super::visitor::Visitor;
use crate::control::Control;
use crate::problem::Problem;

/// Headers of a problem that its page keeps.
const KEPT: [HeaderName; 2] = [header::RETRY_AFTER, header::SET_COOKIE];

/// What was asked for, as far as its failure needs it.
pub(super) struct Asked {
    method: Method,
    path: String,
}

impl Asked {
    /// Of a request.
    pub(super) fn of(request: &Request) -> Self {
        let path = request.uri().path_and_query();
        Self {
            method: request.method().clone(),
            path: path.map_or("/", |path| path.as_str()).to_owned(),
        }
    }
}

/// A problem in the words of a page.
struct Said {
    code: &'static str,
    title: &'static str,
    meaning: &'static str,
    detail: String,
    way: Crumb,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct InFrame {
    frame: Frame,
    said: Said,
}

#[derive(Template)]
#[template(path = "problem_bare.html")]
struct Bare {
    assets: Assets,
    said: Said,
}

/// The page for a response that carries a problem. Who is not signed in is sent to sign in, and
/// comes back afterwards.
pub(super) async fn dressed(
    control: &Arc<Control>,
    visitor: Result<Visitor, Problem>,
    asked: &Asked,
    response: Response,
) -> Response {
    let Some(problem) = response.extensions().get::<Problem>().cloned() else {
        return response;
    };
    if problem.status == StatusCode::UNAUTHORIZED {
        return see_other(&sign_in_path(asked));
    }
    let said = said(&problem, asked);
    let page = match visitor {
        Ok(visitor) => match Frame::new(control, visitor, Nav::Elsewhere, said.title).await {
            Ok(frame) => page_with(problem.status, &InFrame { frame, said }),
            Err(_lost) => bare(&problem, said),
        },
        Err(_unknown) => bare(&problem, said),
    };
    let mut page = page.unwrap_or_else(IntoResponse::into_response);
    for name in KEPT {
        for value in response.headers().get_all(&name) {
            page.headers_mut().append(name.clone(), value.clone());
        }
    }
    page
}

fn bare(problem: &Problem, said: Said) -> Result<Response, Problem> {
    let assets = ASSETS;
    page_with(problem.status, &Bare { assets, said })
}

/// Where to sign in, and back to. Only what was looked at is come back to: a form would be sent
/// twice.
fn sign_in_path(asked: &Asked) -> String {
    let back = match asked.method {
        Method::GET if asked.path != "/" => asked.path.as_str(),
        Method::GET => return "/sign-in".to_owned(),
        _ => "/",
    };
    let query: String = url::form_urlencoded::byte_serialize(back.as_bytes()).collect();
    format!("/sign-in?next={query}")
}

fn said(problem: &Problem, asked: &Asked) -> Said {
    let way = |name: &str, path: &str| Crumb {
        name: name.to_owned(),
        path: path.to_owned(),
    };
    let overview = || way("Go to the overview", "/");
    let again = || match asked.method {
        Method::GET => way("Try again", &asked.path),
        _ => overview(),
    };
    let (title, meaning, way) = match problem.status {
        StatusCode::NOT_FOUND => (
            "There is no such page",
            "It may have been removed, or it belongs to somebody else, or the address is not \
             complete.",
            overview(),
        ),
        StatusCode::FORBIDDEN => (
            "You may not do this",
            "Your role does not allow it. An owner or admin can change your role under Settings, \
             Users.",
            overview(),
        ),
        StatusCode::PRECONDITION_FAILED => (
            "Somebody else changed it meanwhile",
            "Nothing was saved. Look at what it is now, then make your change again.",
            again(),
        ),
        StatusCode::CONFLICT => (problem.title, "Nothing was changed.", overview()),
        StatusCode::METHOD_NOT_ALLOWED => (
            "This page does not take that",
            "Open the page first and use its buttons.",
            overview(),
        ),
        StatusCode::TOO_MANY_REQUESTS => (
            "Too many tries",
            "Wait a little before the next one.",
            again(),
        ),
        StatusCode::GATEWAY_TIMEOUT | StatusCode::BAD_GATEWAY => (
            "The plane does not answer",
            "It is connected but gave no answer in time. Deliveries go on meanwhile. Try again; if \
             it stays so, look at the plane's components.",
            again(),
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            problem.title,
            "Nothing was changed, and planes go on delivering. Try again in a moment.",
            again(),
        ),
        status if status.is_server_error() => (
            "The control plane failed",
            "Nothing was half-written. Try again; if it stays so, the control plane's log says why.",
            again(),
        ),
        _ => (problem.title, "Nothing was changed.", overview()),
    };
    Said {
        code: problem.code,
        title,
        meaning,
        detail: problem.detail.clone(),
        way,
    }
}

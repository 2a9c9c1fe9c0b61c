//! What is asked of a page: the id in its path and the parameters of its address; and how a form
//! that was refused is shown again.

use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use http::StatusCode;
use http::request::Parts;

use super::form::{Form, Posted};
use crate::control::Control;
use crate::problem::Problem;

/// Parameters of one address that are read.
const PARAMETERS: usize = 64;

/// The id in the path. One of another kind names no page.
pub(super) struct At<I>(pub(super) I);

impl<I: FromStr<Err: Display> + Send> FromRequestParts<Arc<Control>> for At<I> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, control).await;
        let Path(text) = path.map_err(|error| Problem::not_found(error.body_text()))?;
        text.parse()
            .map(Self)
            .map_err(|error| Problem::not_found(format!("{error}")))
    }
}

/// The parameters of a page's address. One that the page does not know says nothing.
pub(super) struct Question(pub(super) Posted);

impl FromRequestParts<Arc<Control>> for Question {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _control: &Arc<Control>,
    ) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).take(PARAMETERS);
        Ok(Self(
            pairs.fold(Posted::default(), |asked, (name, value)| {
                asked.or(&name, value)
            }),
        ))
    }
}

impl Posted {
    /// With the field set to the value, if it is not there.
    #[must_use]
    pub(super) fn or(self, name: &str, value: impl Into<String>) -> Self {
        if self.has(name) {
            self
        } else {
            self.with(name, value)
        }
    }
}

impl Form {
    /// A form that nobody sent yet.
    pub(super) const fn untouched(posted: Posted) -> Self {
        Self {
            posted,
            problem: None,
        }
    }

    /// The form again, with what is wrong.
    ///
    /// # Errors
    /// The problem itself, if it is none of what was typed.
    pub(super) fn again(posted: Posted, problem: Problem) -> Result<Self, Problem> {
        match problem.status {
            StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
            | StatusCode::BAD_REQUEST => Ok(Self::refused(posted, problem)),
            _ => Err(problem),
        }
    }
}

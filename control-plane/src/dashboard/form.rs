//! Forms: what was posted, and how a form is shown again with what was typed and what is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use std::sync::Arc;

use crate::control::Control;
use crate::precondition::Expected;
use crate::problem::Problem;

/// Fields of one form at the most.
const FIELDS: usize = 512;

/// What a browser posted, in its order; a name may occur several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Posted(Vec<(String, String)>);

impl Posted {
    /// The field's first value, without space around it; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The field's first value as it was typed.
    pub(crate) fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The field's value unless it is empty.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.is_empty())
    }

    /// Every value of a field that may be given several times, empty ones left out.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// Whether the field was sent at all: a box that was ticked.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Whether this value was sent in a field that may be given several times: a box among others.
    pub(crate) fn ticked(&self, name: &str, value: &str) -> bool {
        self.all(name).any(|sent| sent == value)
    }

    /// The version that the form was filled in for, from its field `version`.
    pub(crate) fn expected(&self) -> Expected {
        let version = self.get("version").parse();
        version.map_or(Expected::Any, |version| Expected::OneOf(vec![version]))
    }

    /// With the field set to the value, whatever the form brought.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.into()));
        self
    }
}

impl FromRequest<Arc<Control>> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, control: &Arc<Control>) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, control)
            .await
            .map_err(|_unread| Problem::too_large("a form has at most 256 KiB"))?;
        let fields = url::form_urlencoded::parse(&body);
        let fields = fields
            .take(FIELDS)
            .map(|(n, v)| (n.into_owned(), v.into_owned()));
        Ok(Self(fields.collect()))
    }
}

/// A form as it is shown: what was typed so far, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    pub(crate) posted: Posted,
    pub(crate) problem: Option<Problem>,
}

/// One field of a form, for `parts.html`.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) id: String,
    pub(crate) name: &'a str,
    pub(crate) label: &'a str,
    pub(crate) value: &'a str,
    pub(crate) error: String,
    pub(crate) hint: &'a str,
    pub(crate) autocomplete: &'a str,
}

impl Form {
    /// An untouched form with values to begin with.
    pub(crate) fn new(values: &[(&str, &str)]) -> Self {
        let fields = values
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Self {
            posted: Posted(fields.collect()),
            problem: None,
        }
    }

    /// The form again, with what is wrong.
    pub(crate) fn refused(posted: Posted, problem: Problem) -> Self {
        Self {
            posted,
            problem: Some(problem),
        }
    }

    /// The status to show it with: the problem's, or that all is well.
    pub(crate) fn status(&self) -> StatusCode {
        self.problem
            .as_ref()
            .map_or(StatusCode::OK, |problem| problem.status)
    }

    /// The field with its label and a hint (may be empty).
    pub(crate) fn field<'a>(&'a self, name: &'a str, label: &'a str, hint: &'a str) -> Field<'a> {
        Field {
            id: format!("field-{}", name.replace(['.', '_'], "-")),
            name,
            label,
            value: self.posted.raw(name),
            error: self.error(name),
            hint,
            autocomplete: "off",
        }
    }

    /// What is wrong with the field or with what lies below it; empty if nothing is.
    pub(crate) fn error(&self, name: &str) -> String {
        let faults = self.problem.iter().flat_map(|problem| &problem.errors);
        let concerns = |field: &str| {
            field
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let texts: Vec<_> = faults
            .filter(|fault| concerns(&fault.field))
            .map(|fault| fault.detail.as_str())
            .collect();
        texts.join("; ")
    }

    /// What to do about the problem, in one sentence.
    pub(crate) fn about(&self) -> &str {
        match &self.problem {
            Some(problem) if problem.errors.is_empty() => &problem.detail,
            Some(_) => "Nothing was saved. Look at the fields marked below.",
            None => "",
        }
    }
}

impl Field<'_> {
    /// Whether something is said below the field.
    pub(crate) const fn described(&self) -> bool {
        !self.error.is_empty() || !self.hint.is_empty()
    }

    /// Whether the value is the one given: an option that is chosen.
    pub(crate) fn is(&self, value: impl AsRef<str>) -> bool {
        self.value == value.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_form_keeps_what_was_typed_and_says_what_is_wrong_where() {
        let posted = Posted(vec![("name".to_owned(), " x ".to_owned())]);
        let form = Form::refused(posted, Problem::field("name", "taken"));
        let field = form.field("name", "Name", "");
        assert_eq!((field.value, field.error.as_str()), (" x ", "taken"));
        assert!(form.field("names", "Names", "").error.is_empty());
    }
}

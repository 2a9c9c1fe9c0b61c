//! What came of something that a page did at once: a test call, a test event.

use super::codes;
use super::parts::Tone;
use crate::problem::Problem;

/// An outcome as it stands at the top of the page (`outcome.html`).
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) tone: Tone,
    pub(super) title: String,
    pub(super) detail: String,
    /// Stable code; empty if all is well.
    pub(super) code: String,
    pub(super) remedy: &'static str,
    /// Name and value of what else is known.
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Outcome {
    /// That it went well.
    pub(super) fn good(title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            tone: Tone::Ok,
            title: title.into(),
            detail: detail.into(),
            code: String::new(),
            remedy: "",
            facts: Vec::new(),
        }
    }

    /// That it did not, with a code of the plane.
    pub(super) fn bad(
        family: codes::Family,
        title: impl Into<String>,
        code: &str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            tone: Tone::Bad,
            title: title.into(),
            detail: detail.into(),
            code: code.to_owned(),
            remedy: codes::explained(family, code).map_or("", |known| known.remedy),
            facts: Vec::new(),
        }
    }

    /// That it could not even be tried.
    pub(super) fn untried(problem: &Problem) -> Self {
        Self {
            tone: Tone::Warn,
            ..Self::bad(
                codes::Family::Request,
                problem.title,
                problem.code,
                problem.detail.clone(),
            )
        }
    }

    /// With one more fact.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }
}

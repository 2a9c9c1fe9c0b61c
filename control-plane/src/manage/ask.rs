//! One question to a live plane, and why there is no answer as a problem.

use std::time::Duration;

use zen_proto::ids::PlaneId;
use zen_proto::query::v1::{QueryError, answer, query};

use crate::control::Control;
use crate::live::AskError;
use crate::problem::Problem;

impl Control {
    /// Asks the plane and waits no longer than `timeout`.
    pub(super) async fn ask_plane(
        &self,
        plane: PlaneId,
        question: query::Question,
        timeout: Duration,
    ) -> Result<answer::Answer, Problem> {
        let asked = self.live.ask(plane, question, timeout).await;
        self.metrics.query(match &asked {
            Ok(answer::Answer::Error(_)) => "QUERY_FAILED",
            Ok(_) => "ANSWERED",
            Err(AskError::NotConnected) => "PLANE_NOT_CONNECTED",
            Err(AskError::Busy) => "PLANE_BUSY",
            Err(AskError::Timeout) => "QUERY_TIMEOUT",
        });
        match asked? {
            answer::Answer::Error(error) => Err(problem(error)),
            answer => Ok(answer),
        }
    }
}

fn problem(error: QueryError) -> Problem {
    match error.code.as_str() {
        "COMPONENT_ABSENT" => Problem::absent(error.detail),
        "QUERY_TIMEOUT" => Problem::query_timeout(error.detail),
        "QUERY_INVALID" => Problem::query(error.detail),
        "DELIVERY_UNKNOWN" => Problem::not_found(error.detail),
        _ => Problem::query_failed(error.detail),
    }
}

/// The plane answered another question than the one that was asked.
pub(super) fn besides() -> Problem {
    Problem::query_failed("the plane's answer is not one to this question")
}

/// A text that is empty if there is none.
pub(super) fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

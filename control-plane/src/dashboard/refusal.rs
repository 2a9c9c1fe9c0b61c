//! Why a plane gave no answer, in the words of a page: what it means and what to do.

use http::StatusCode;

use crate::problem::Problem;

/// A question that a plane did not answer.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
    pub(super) meaning: String,
}

impl Refusal {
    /// The refusal that a problem with one delivery is.
    ///
    /// # Errors
    /// The problem itself, if it does not come of asking a plane.
    pub(super) fn of_delivery(problem: Problem) -> Result<Self, Problem> {
        if problem.status != StatusCode::NOT_FOUND {
            return Self::of_plane(problem);
        }
        Ok(Self {
            status: problem.status,
            code: problem.code,
            title: "The plane does not know this delivery",
            meaning: "Delivered ones are kept for a day and dead letters for a week, unless set \
                otherwise; it may also lie on another plane."
                .to_owned(),
        })
    }

    /// The refusal that a problem is.
    ///
    /// # Errors
    /// The problem itself, if it does not come of asking a plane.
    pub(super) fn of_plane(problem: Problem) -> Result<Self, Problem> {
        let (title, meaning) = match problem.code {
            "PLANE_NOT_CONNECTED" => (
                "The plane is not connected",
                "It keeps its deliveries itself, so it has to be asked, and that is not possible \
                 now. It goes on delivering meanwhile. See on the plane's page since when it is \
                 away, and why.",
            ),
            "QUERY_TIMEOUT" => (
                "The plane did not answer in time",
                "It is connected but slow, or the way to it is. Ask again; narrow the list if it \
                 stays so.",
            ),
            "PLANE_BUSY" => (
                "Too many questions wait for the plane",
                "Ask again in some seconds.",
            ),
            "COMPONENT_ABSENT" => (
                "The plane runs no egress",
                "Deliveries are kept by zen-egress, and none is connected on this plane. If \
                 events shall be delivered from here, install or start it.",
            ),
            "QUERY_FAILED" => (
                "The plane could not answer",
                "Its egress failed over the question. Its log says why.",
            ),
            _ => return Err(problem),
        };
        Ok(Self {
            status: problem.status,
            code: problem.code,
            title,
            meaning: meaning.to_owned(),
        })
    }
}

//! Answers of several instances to the same question.

use zen_proto::component::Component;
use zen_proto::query::v1::{Hop, QueryError, answer};

use super::{Answers, besides, error};

/// The one delivery that was asked for, of whichever instance has it.
///
/// # Errors
/// An instance's that failed, since it may have the delivery; else that nobody knows it.
pub(super) fn found(answers: Answers) -> Result<answer::Answer, QueryError> {
    let mut missing = error("DELIVERY_UNKNOWN", "no egress knows the delivery");
    for (instance, answer) in answers {
        match answer {
            Ok(found @ answer::Answer::Delivery(_)) => return Ok(found),
            Ok(_) => missing = besides(&instance),
            Err(error) if error.code == "DELIVERY_UNKNOWN" => {}
            Err(error) => missing = error,
        }
    }
    Err(missing)
}

/// The hops of all; an instance that could not tell its own is a hop that fails. One that does not
/// know the question is of an earlier version and left out.
pub(super) fn hops(component: Component, answers: Answers) -> Vec<Hop> {
    let mut hops = Vec::new();
    for (instance, answer) in answers {
        match answer {
            Ok(answer::Answer::Probed(probed)) => hops.extend(probed.hops),
            Err(error) if error.code == "QUERY_INVALID" => {}
            Ok(_) => hops.push(silent(component, besides(&instance), &instance)),
            Err(error) => hops.push(silent(component, error, &instance)),
        }
    }
    hops
}

/// The agent's own way to a component that gave no hops.
fn silent(component: Component, error: QueryError, instance: &str) -> Hop {
    Hop {
        from: "agent".to_owned(),
        to: component.as_str().to_owned(),
        address: format!("{component}/{instance}"),
        code: error.code,
        detail: error.detail,
        ..Hop::default()
    }
}

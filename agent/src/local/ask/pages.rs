//! Lists over several instances: each goes on from its own cursor, and their pages become one.

use std::collections::BTreeMap;

use zen_proto::component::Component;
use zen_proto::limits;
use zen_proto::query::v1::query::Question;
use zen_proto::query::v1::{DeliveryPage, Query, QueryError, answer};

use super::{Answers, absent, besides, error};

/// Rows of a page if the question names no number.
const ROWS: u32 = 50;
/// Largest cursor that is looked at.
pub(super) const CURSOR: usize = 16 * 1024;

/// Who is asked what: all instances share the page, each goes on from its own cursor. A page that
/// was the last of an instance leaves it out.
pub(super) fn parts(query: &Query, present: &[String]) -> Result<Vec<(String, Query)>, QueryError> {
    let (limit, cursor) = match &query.question {
        Some(Question::ListDeliveries(list)) => (list.limit, &list.cursor),
        Some(Question::ListDeadLetters(list)) => (list.limit, &list.cursor),
        _ => return Err(error("QUERY_INVALID", "the question has no pages")),
    };
    let places = places(cursor, present)?;
    let limit = if limit == 0 {
        ROWS
    } else {
        limit.min(limits::PAGE)
    };
    let share = (limit / u32::try_from(places.len()).unwrap_or(u32::MAX)).max(1);
    let part = |cursor: String| {
        let mut part = query.clone();
        match &mut part.question {
            Some(Question::ListDeliveries(list)) => (list.limit, list.cursor) = (share, cursor),
            Some(Question::ListDeadLetters(list)) => (list.limit, list.cursor) = (share, cursor),
            _ => {}
        }
        part
    };
    Ok(places
        .into_iter()
        .map(|(instance, cursor)| (instance, part(cursor)))
        .collect())
}

/// Where each instance goes on: from its own cursor, or from the start if there is none.
///
/// # Errors
/// When the cursor is none of ours, or nobody is there to be asked.
pub(super) fn places(
    cursor: &str,
    present: &[String],
) -> Result<BTreeMap<String, String>, QueryError> {
    let places: BTreeMap<String, String> = if cursor.is_empty() {
        present
            .iter()
            .map(|instance| (instance.clone(), String::new()))
            .collect()
    } else {
        read_cursor(cursor).ok_or_else(|| error("QUERY_INVALID", "the cursor is malformed"))?
    };
    if places.is_empty() {
        return Err(absent(Component::Egress));
    }
    Ok(places)
}

/// One page of several: newest first, and a cursor that remembers where each instance stopped.
///
/// # Errors
/// The first instance's that has no page: a list with a gap would be taken for a whole one.
pub(super) fn merge(answers: Answers) -> Result<answer::Answer, QueryError> {
    let mut places = BTreeMap::new();
    let mut deliveries = Vec::new();
    for (instance, answer) in answers {
        let answer::Answer::Deliveries(page) = answer? else {
            return Err(besides(&instance));
        };
        deliveries.extend(page.deliveries);
        if !page.next_cursor.is_empty() {
            places.insert(instance, page.next_cursor);
        }
    }
    // Stable: an instance's own order stays among equals.
    deliveries.sort_by_key(|delivery| std::cmp::Reverse(delivery.accepted_at_ms));
    Ok(answer::Answer::Deliveries(DeliveryPage {
        deliveries,
        next_cursor: write_cursor(&places),
    }))
}

/// One cursor of several.
pub(super) fn write_cursor(places: &BTreeMap<String, String>) -> String {
    if places.is_empty() {
        return String::new();
    }
    serde_json::to_vec(places)
        .map(hex::encode)
        .unwrap_or_default()
}

fn read_cursor(cursor: &str) -> Option<BTreeMap<String, String>> {
    if cursor.len() > CURSOR {
        return None;
    }
    serde_json::from_slice(&hex::decode(cursor).ok()?).ok()
}

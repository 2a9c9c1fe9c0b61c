//! Replays over several instances: they share the rate and the batch, and their counts are added up.

use std::collections::BTreeMap;

use zen_proto::limits;
use zen_proto::query::v1::query::Question;
use zen_proto::query::v1::{Query, QueryError, Replayed, answer};

use super::pages::{places, write_cursor};
use super::{Answers, besides, error};

/// Who replays what. An instance that has none left is not asked again.
pub(super) fn parts(query: &Query, present: &[String]) -> Result<Vec<(String, Query)>, QueryError> {
    let Some(Question::Replay(replay)) = &query.question else {
        return Err(error("QUERY_INVALID", "the question is no replay"));
    };
    let places = places(&replay.cursor, present)?;
    let instances = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let share = |whole: u32| (whole / instances).max(1);
    let or = |given: u32, usual: u32| if given == 0 { usual } else { given };
    let rate = share(or(replay.rate_per_second, limits::REPLAY_RATE));
    let limit = share(or(replay.limit, limits::REPLAY_BATCH));
    let part = |(instance, cursor): (String, String)| {
        let mut replay = replay.clone();
        (replay.rate_per_second, replay.cursor) = (rate, cursor);
        // Ids are of one instance each: none may be cut off for the others' sake.
        if replay.delivery_ids.is_empty() {
            replay.limit = limit;
        }
        let part = Query {
            question: Some(Question::Replay(replay)),
            ..query.clone()
        };
        (instance, part)
    };
    Ok(places.into_iter().map(part).collect())
}

/// The counts together, and a cursor of those that have some left.
///
/// # Errors
/// When an instance failed; what others replayed stays replayed, and asking again is safe.
pub(super) fn merge(answers: Answers) -> Result<answer::Answer, QueryError> {
    let mut places = BTreeMap::new();
    let mut total = Replayed::default();
    for (instance, answer) in answers {
        let answer::Answer::Replayed(one) = answer? else {
            return Err(besides(&instance));
        };
        total.matched += one.matched;
        total.replayed += one.replayed;
        total.remaining += one.remaining;
        if !one.next_cursor.is_empty() {
            places.insert(instance, one.next_cursor);
        }
    }
    total.next_cursor = write_cursor(&places);
    Ok(answer::Answer::Replayed(total))
}

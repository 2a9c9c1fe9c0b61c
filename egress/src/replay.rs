//! Replay: which dead letters → when each is due, at the asked rate → back into the ledger as
//! waiting ones, one durable batch for each question. A cursor leads from batch to batch, so that
//! what dies again meanwhile is not replayed again, and later batches are due after earlier ones.

use zen_proto::ids::DeliveryId;
use zen_proto::limits;
use zen_proto::query::v1::{Replay, Replayed};

use crate::ledger::{DeadQuery, Ledger, LedgerError, Revival};

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The question makes no sense; in words what of it.
    #[error("{0}")]
    Invalid(String),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

/// Where the batch before ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// The sequence looked at last.
    after: u64,
    /// When the next is due at the earliest, Unix milliseconds.
    due_ms: u64,
    /// How many are left.
    left: u64,
}

impl Place {
    fn read(cursor: &str) -> Option<Self> {
        let mut numbers = cursor.split('.').map(|text| text.parse::<u64>().ok());
        let place = Self {
            after: numbers.next()??,
            due_ms: numbers.next()??,
            left: numbers.next()??,
        };
        numbers.next().is_none().then_some(place)
    }

    fn write(self) -> String {
        format!("{}.{}.{}", self.after, self.due_ms, self.left)
    }
}

/// Answers one question, at `now_ms` (Unix milliseconds).
///
/// # Errors
/// See [`ReplayError`].
pub(crate) async fn replay(
    ledger: &Ledger,
    asked: Replay,
    now_ms: u64,
) -> Result<Replayed, ReplayError> {
    let begun = match asked.cursor.as_str() {
        "" => None,
        cursor => Some(Place::read(cursor).ok_or_else(|| invalid("the cursor is not ours"))?),
    };
    let rate = checked_rate(asked.rate_per_second)?;
    let room = usize::try_from(ledger.room()).unwrap_or(usize::MAX);
    let mut query = query(&asked, begun)?;
    if !asked.dry_run {
        query.limit = query.limit.min(room);
    }
    let by_filter = query.ids.is_empty();
    let selected = ledger.dead(query).await?;
    let found = selected.sequences.len() as u64;
    let matched = match begun {
        Some(place) if selected.beyond > 0 => place.left.max(found + 1),
        _ => found + selected.beyond,
    };
    if asked.dry_run {
        return Ok(Replayed {
            matched,
            remaining: matched,
            ..Replayed::default()
        });
    }
    let start_ms = begun.map_or(now_ms, |place| place.due_ms.max(now_ms));
    let revivals = spread(&selected.sequences, start_ms, rate);
    let replayed = ledger.replay(revivals).await? as u64;
    let remaining = if selected.beyond == 0 {
        0
    } else {
        matched - found
    };
    let next = Place {
        after: selected
            .sequences
            .last()
            .copied()
            .unwrap_or_else(|| begun.map_or(0, |place| place.after)),
        due_ms: due(start_ms, selected.sequences.len(), rate),
        left: remaining,
    };
    tracing::info!(replayed, remaining, "dead letters replayed");
    Ok(Replayed {
        matched,
        replayed,
        remaining,
        next_cursor: if remaining > 0 && by_filter {
            next.write()
        } else {
            String::new()
        },
    })
}

fn query(asked: &Replay, begun: Option<Place>) -> Result<DeadQuery, ReplayError> {
    if asked.delivery_ids.is_empty() && asked.filter.is_none() {
        return Err(invalid("delivery_ids or filter is required"));
    }
    if asked.delivery_ids.len() > limits::REPLAY_BATCH as usize {
        let most = limits::REPLAY_BATCH;
        return Err(ReplayError::Invalid(format!(
            "delivery_ids: at most {most}"
        )));
    }
    let ids = asked.delivery_ids.iter().map(|id| id.parse::<DeliveryId>());
    let ids = ids.collect::<Result<Vec<_>, _>>();
    let limit = match asked.limit {
        0 => limits::REPLAY_BATCH,
        given => given.min(limits::REPLAY_BATCH),
    };
    Ok(DeadQuery {
        tenant_id: asked.tenant_id.clone(),
        ids: ids.map_err(|error| ReplayError::Invalid(format!("delivery_ids: {error}")))?,
        filter: asked.filter.clone().unwrap_or_default(),
        after: begun.map_or(0, |place| place.after),
        limit: limit as usize,
        count: begun.is_none(),
    })
}

fn checked_rate(asked: u32) -> Result<u32, ReplayError> {
    match asked {
        0 => Ok(limits::REPLAY_RATE),
        rate if rate <= limits::REPLAY_RATE_MAX => Ok(rate),
        _ => {
            let most = limits::REPLAY_RATE_MAX;
            let text = format!("rate_per_second: at most {most}");
            Err(ReplayError::Invalid(text))
        }
    }
}

/// One after the other from `start_ms`, so many a second.
fn spread(sequences: &[u64], start_ms: u64, rate: u32) -> Vec<Revival> {
    let revival = |(number, sequence): (usize, &u64)| Revival {
        sequence: *sequence,
        due_ms: due(start_ms, number, rate),
    };
    sequences.iter().enumerate().map(revival).collect()
}

const fn due(start_ms: u64, number: usize, rate: u32) -> u64 {
    start_ms.saturating_add(number as u64 * 1_000 / rate as u64)
}

fn invalid(text: &str) -> ReplayError {
    ReplayError::Invalid(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_keep_the_rate() {
        let sequences: Vec<u64> = (1..=100).collect();
        let revivals = spread(&sequences, 5_000, 50);
        assert_eq!(revivals[0].due_ms, 5_000);
        assert_eq!(revivals[50].due_ms, 6_000);
        assert_eq!(due(5_000, 100, 50), 7_000);
        assert!(revivals.is_sorted_by_key(|revival| revival.due_ms));
    }

    #[test]
    fn a_cursor_reads_as_it_was_written_and_nothing_else_does() {
        let place = Place {
            after: 7,
            due_ms: 1_700_000_000_000,
            left: 3,
        };
        assert_eq!(Place::read(&place.write()), Some(place));
        for text in ["7", "7.8", "7.8.9.1", "a.b.c", "7.8.-1"] {
            assert_eq!(Place::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_question_that_selects_nothing_by_name_is_refused() {
        assert!(query(&Replay::default(), None).is_err());
        let all = Replay {
            filter: Some(Default::default()),
            ..Replay::default()
        };
        assert!(query(&all, None).is_ok());
        assert!(checked_rate(1_001).is_err());
        assert_eq!(checked_rate(0).unwrap(), 50);
    }
}

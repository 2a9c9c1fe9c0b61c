//! Replays: dead letters that wait again, asked of the plane batch by batch until none is left.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;
use utoipa::ToSchema;
use zen_proto::ids::{DeliveryId, PlaneId};
use zen_proto::limits;
use zen_proto::query::v1::{DeadLetterFilter, Replay, Replayed, answer, query};

use super::ask::besides;
use super::deliveries::Subject;
use super::read::read;
use crate::control::Control;
use crate::fields::Faults;
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;

/// Time for one replay: what is left then is told, and can be replayed by the same request.
const TIME: Duration = Duration::from_secs(20);

/// What a person writes to replay dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayBody {
    /// The plane that has them.
    pub(crate) plane_id: String,
    /// These dead letters, at most 500; instead of a filter.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub(crate) delivery_ids: Vec<String>,
    /// Every dead letter that matches; an empty one selects all of the tenant.
    #[serde(default)]
    pub(crate) filter: Option<ReplayFilter>,
    /// Only count.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Deliveries a second that the replay adds; 50 if none is given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub(crate) rate_per_second: Option<u32>,
}

/// Which dead letters; whatever is not given is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReplayFilter {
    /// Of this flow.
    pub(crate) flow_id: Option<String>,
    /// To this target.
    pub(crate) target_id: Option<String>,
    /// That died of this: a stable code.
    pub(crate) code: Option<String>,
    /// That died at this time or later, RFC 3339.
    pub(crate) dead_since: Option<String>,
    /// That died before this time, RFC 3339.
    pub(crate) dead_until: Option<String>,
}

/// What a replay did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ReplayView {
    /// Dead letters that were selected.
    pub(crate) matched: u64,
    /// Dead letters that wait again now.
    pub(crate) replayed: u64,
    /// Selected ones that were not replayed: all of them in a dry run, else those for which the
    /// time or the plane's ledger had no room.
    pub(crate) remaining: u64,
    pub(crate) dry_run: bool,
}

impl Control {
    /// Replays dead letters, or counts them.
    pub(crate) async fn start_replay(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<ReplayView, Problem> {
        caller.may(Operation::Replay)?;
        let body: ReplayBody = read(&body)?;
        let question = question(caller, &body)?;
        let filter = body.filter.unwrap_or_default();
        let subject = Subject {
            plane_id: Some(body.plane_id),
            flow_id: filter.flow_id.clone(),
            target_id: filter.target_id.clone(),
        };
        let plane = self.asked_plane(caller, &subject).await?;
        if !body.dry_run {
            // Before the first batch: what was begun is known, whatever becomes of it.
            let written = json!({
                "filter": filter,
                "delivery_ids": body.delivery_ids.iter().take(20).collect::<Vec<_>>(),
                "deliveries": body.delivery_ids.len(),
                "rate_per_second": question.rate_per_second,
            });
            let now = self.stage.clock.unix_ms();
            let entry = caller.did(now, "replay.start", plane, written);
            self.store.note(&entry).await?;
        }
        self.replay_all(plane, question).await
    }

    /// Batch after batch, until nothing is left, nothing goes any more, or the time is over.
    async fn replay_all(
        &self,
        plane: PlaneId,
        mut question: Replay,
    ) -> Result<ReplayView, Problem> {
        let until = Instant::now() + TIME;
        let mut view: Option<ReplayView> = None;
        loop {
            let asked = query::Question::Replay(question.clone());
            let answer = self.ask_plane(plane, asked, self.times.query_timeout).await;
            let batch = match (answer, &view) {
                (Ok(answer::Answer::Replayed(batch)), _) => batch,
                (Ok(_), None) => return Err(besides()),
                (Err(problem), None) => return Err(problem),
                // What the batches before did is done, and worth more than the failure.
                (Ok(_) | Err(_), Some(view)) => return Ok(view.clone()),
            };
            let Replayed {
                matched,
                replayed,
                remaining,
                next_cursor,
            } = batch;
            let total = view.get_or_insert(ReplayView {
                matched,
                replayed: 0,
                remaining,
                dry_run: question.dry_run,
            });
            total.replayed += replayed;
            total.remaining = remaining;
            let over = next_cursor.is_empty() || replayed == 0 || Instant::now() >= until;
            if question.dry_run || over {
                return Ok(total.clone());
            }
            question.cursor = next_cursor;
        }
    }
}

fn question(caller: &Principal, body: &ReplayBody) -> Result<Replay, Problem> {
    let mut faults = Faults::default();
    let most = limits::REPLAY_BATCH as usize;
    let either = body.delivery_ids.is_empty() == body.filter.is_some();
    faults.require(
        either,
        "filter",
        "give either delivery_ids or a filter (an empty one selects everything)",
    );
    let few = body.delivery_ids.len() <= most;
    faults.require(few, "delivery_ids", "at most 500");
    for (place, id) in body.delivery_ids.iter().enumerate().take(most) {
        let _id: Option<DeliveryId> = faults.id(&format!("delivery_ids.{place}"), id);
    }
    let rate = body.rate_per_second.unwrap_or(limits::REPLAY_RATE);
    let range = 1..=limits::REPLAY_RATE_MAX;
    faults.require(range.contains(&rate), "rate_per_second", "1 to 1,000");
    let given = body.filter.clone().unwrap_or_default();
    let code = given.code.unwrap_or_default();
    faults.require(code.len() <= CODE, "filter.code", "at most 64 characters");
    let filter = DeadLetterFilter {
        flow_id: given.flow_id.unwrap_or_default(),
        target_id: given.target_id.unwrap_or_default(),
        code,
        dead_since_ms: time(
            &mut faults,
            "filter.dead_since",
            given.dead_since.as_deref(),
        ),
        dead_until_ms: time(
            &mut faults,
            "filter.dead_until",
            given.dead_until.as_deref(),
        ),
    };
    faults.result()?;
    Ok(Replay {
        tenant_id: caller.tenant.to_string(),
        delivery_ids: body.delivery_ids.clone(),
        filter: body.filter.as_ref().map(|_| filter),
        dry_run: body.dry_run,
        rate_per_second: rate,
        limit: limits::REPLAY_BATCH,
        cursor: String::new(),
    })
}

/// Longest stable code.
const CODE: usize = 64;

/// Unix milliseconds of a time as people write it; 0 if there is none.
fn time(faults: &mut Faults, field: &str, text: Option<&str>) -> u64 {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return 0;
    };
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    let unix_ms =
        parsed.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
    faults.require(unix_ms.is_some(), field, "a time as RFC 3339 writes it");
    unix_ms.unwrap_or(0)
}

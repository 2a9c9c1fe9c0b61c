//! What a target's lane shall attempt next, read from the due index. The index is keyed by target
//! and flow, so that a flow that waits (disabled, unknown) is stepped over as one.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use redb::{Database, ReadOnlyTable, ReadableDatabase};
use zen_proto::ids::{FlowId, TargetId};
use zen_proto::query::v1::DeliveryRecord;

use super::LedgerError;
use super::record::{Stored, flow_of, target_of};
use super::tables::{DELIVERIES, DUE};

/// Records read in search of expired ones, for one target at once.
const EXPIRED_SCAN: usize = 512;

/// Whether deliveries of a flow may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// When they are due.
    Run,
    /// Not now.
    Wait,
    /// Only this many milliseconds after they were due: until then the configuration that knows
    /// the flow may still come.
    After(u64),
    /// Only those whose time is over.
    Expired,
}

/// A question to the due index.
pub(crate) struct DueQuery {
    /// Of which target.
    pub(crate) target: TargetId,
    /// Now, Unix milliseconds.
    pub(crate) now_ms: u64,
    /// How many at the most.
    pub(crate) limit: usize,
    /// Those that are already taken.
    pub(crate) taken: HashSet<u64>,
    /// What holds for a flow.
    pub(crate) mode: Arc<dyn Fn(FlowId) -> Mode + Send + Sync>,
}

/// A delivery that was picked.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    /// Its key in the ledger.
    pub(crate) sequence: u64,
    /// What is known of it.
    pub(crate) record: DeliveryRecord,
    /// Unix milliseconds.
    pub(crate) expires_at_ms: u64,
    /// Attempts that do not count for the retry policy: those before its last replay.
    pub(crate) attempts_before: u32,
}

/// The answer of the due index.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    /// Due now, the longest due first.
    pub(crate) due: Vec<Due>,
    /// When the next of the others may be picked, Unix milliseconds.
    pub(crate) next_ms: Option<u64>,
    /// Nothing at all waits for this target, neither now nor later.
    pub(crate) nothing: bool,
}

type DueTable = ReadOnlyTable<(u128, u128, u64, u64), ()>;

pub(super) fn pick(database: &Database, query: &DueQuery) -> Result<Picked, LedgerError> {
    let transaction = database.begin_read()?;
    let due = transaction.open_table(DUE)?;
    let deliveries = transaction.open_table(DELIVERIES)?;
    let target = query.target.uuid().as_u128();
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut picked = Picked {
        nothing: true,
        ..Picked::default()
    };
    for flow in flows(&due, target)? {
        picked.nothing = false;
        let rows = due.range(rows_of(target, flow))?;
        match (query.mode)(flow_of(flow)) {
            Mode::Wait => {}
            Mode::Run => take(rows, query, 0, &mut found, &mut picked.next_ms)?,
            Mode::After(grace) => take(rows, query, grace, &mut found, &mut picked.next_ms)?,
            Mode::Expired => {
                for row in rows.take(EXPIRED_SCAN) {
                    let (_, _, due_ms, sequence) = row?.0.value();
                    let record = load(&deliveries, sequence)?;
                    let over = record.expires_at_ms <= query.now_ms;
                    if over && !query.taken.contains(&sequence) {
                        found.push((due_ms, sequence));
                    }
                }
            }
        }
    }
    found.sort_unstable();
    found.truncate(query.limit);
    for (_, sequence) in found {
        let Stored {
            shown,
            expires_at_ms,
            attempts_before,
        } = load(&deliveries, sequence)?;
        picked.due.push(Due {
            sequence,
            record: shown,
            expires_at_ms,
            attempts_before,
        });
    }
    Ok(picked)
}

/// Takes what is due of one flow, and notes when the next of it will be.
fn take(
    rows: redb::Range<'_, (u128, u128, u64, u64), ()>,
    query: &DueQuery,
    grace_ms: u64,
    found: &mut Vec<(u64, u64)>,
    next_ms: &mut Option<u64>,
) -> Result<(), LedgerError> {
    let mut room = query.limit;
    for row in rows {
        let (_, _, due_ms, sequence) = row?.0.value();
        let from_ms = due_ms.saturating_add(grace_ms);
        if from_ms > query.now_ms {
            *next_ms = Some(next_ms.map_or(from_ms, |next| next.min(from_ms)));
            break;
        }
        if query.taken.contains(&sequence) {
            continue;
        }
        if room == 0 {
            break;
        }
        found.push((due_ms, sequence));
        room -= 1;
    }
    Ok(())
}

/// The flows that have deliveries waiting for the target: one step along the index for each.
fn flows(due: &DueTable, target: u128) -> Result<Vec<u128>, LedgerError> {
    let mut flows = Vec::new();
    let mut from = 0;
    loop {
        let first = due
            .range((target, from, 0, 0)..=(target, u128::MAX, u64::MAX, u64::MAX))?
            .next();
        let Some(row) = first else { return Ok(flows) };
        let (_, flow, _, _) = row?.0.value();
        flows.push(flow);
        match flow.checked_add(1) {
            Some(next) => from = next,
            None => return Ok(flows),
        }
    }
}

/// Every target that has deliveries waiting.
pub(super) fn targets(database: &Database) -> Result<Vec<TargetId>, LedgerError> {
    let due = database.begin_read()?.open_table(DUE)?;
    let mut targets = Vec::new();
    let mut from = 0;
    loop {
        let Some(row) = due.range((from, 0, 0, 0)..)?.next() else {
            return Ok(targets);
        };
        let (target, _, _, _) = row?.0.value();
        targets.push(target_of(target));
        match target.checked_add(1) {
            Some(next) => from = next,
            None => return Ok(targets),
        }
    }
}

fn rows_of(target: u128, flow: u128) -> RangeInclusive<(u128, u128, u64, u64)> {
    (target, flow, 0, 0)..=(target, flow, u64::MAX, u64::MAX)
}

fn load(
    deliveries: &ReadOnlyTable<u64, &'static [u8]>,
    sequence: u64,
) -> Result<Stored, LedgerError> {
    let bytes = deliveries
        .get(sequence)?
        .ok_or(LedgerError::Damaged("an index leads nowhere"))?;
    Stored::read(bytes.value())
}

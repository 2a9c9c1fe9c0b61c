//! Which dead letters a replay selects, oldest first, and one delivery by its id. Reads only: the
//! writer changes what was selected, and looks at each again when it does.

use redb::{Database, ReadOnlyTable, ReadableDatabase};
use zen_proto::ids::DeliveryId;
use zen_proto::query::v1::{DeadLetterFilter, DeliveryRecord, DeliveryStatus};

use super::LedgerError;
use super::record::Stored;
use super::tables::{DEAD, DELIVERIES, IDS, KEPT};

/// Which dead letters shall be replayed. Empty texts and zeros mean any.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeadQuery {
    pub(crate) tenant_id: String,
    /// Only these, if there are any; the filter is not looked at then.
    pub(crate) ids: Vec<DeliveryId>,
    pub(crate) filter: DeadLetterFilter,
    /// Only those after this sequence: what died again meanwhile keeps its place before it.
    pub(crate) after: u64,
    /// How many at the most.
    pub(crate) limit: usize,
    /// Whether those beyond the limit are counted.
    pub(crate) count: bool,
}

/// What a query selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Their sequences, oldest first.
    pub(crate) sequences: Vec<u64>,
    /// How many there are beyond; only if they were to be counted, else whether there are any.
    pub(crate) beyond: u64,
}

type Deliveries = ReadOnlyTable<u64, &'static [u8]>;
type Kept = ReadOnlyTable<u64, &'static [u8]>;

impl DeadQuery {
    fn matches(&self, record: &DeliveryRecord) -> bool {
        let is = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
        let DeadLetterFilter {
            flow_id,
            target_id,
            code,
            dead_since_ms,
            dead_until_ms,
        } = &self.filter;
        let died_ms = record.settled_at_ms;
        is(&self.tenant_id, &record.tenant_id)
            && is(flow_id, &record.flow_id)
            && is(target_id, &record.target_id)
            && is(code, &record.code)
            && *dead_since_ms <= died_ms
            && (*dead_until_ms == 0 || died_ms < *dead_until_ms)
    }
}

/// The dead letters that the query selects and that can be replayed: those whose body was lost, or
/// never could be read, cannot.
pub(super) fn select(database: &Database, query: &DeadQuery) -> Result<Selected, LedgerError> {
    let transaction = database.begin_read()?;
    let deliveries = transaction.open_table(DELIVERIES)?;
    let kept = transaction.open_table(KEPT)?;
    let dead = transaction.open_table(DEAD)?;
    let mut selected = Selected::default();
    if query.ids.is_empty() {
        for row in dead.range(query.after.saturating_add(1)..)? {
            let sequence = row?.0.value();
            if !selects(query, &deliveries, &kept, sequence)? {
                continue;
            }
            if selected.sequences.len() < query.limit {
                selected.sequences.push(sequence);
                continue;
            }
            selected.beyond += 1;
            if !query.count {
                break;
            }
        }
        return Ok(selected);
    }
    let any = DeadQuery {
        tenant_id: query.tenant_id.clone(),
        ..DeadQuery::default()
    };
    let ids = transaction.open_table(IDS)?;
    for id in &query.ids {
        if let Some(sequence) = ids.get(id.uuid().as_u128())?
            && selects(&any, &deliveries, &kept, sequence.value())?
        {
            selected.sequences.push(sequence.value());
        }
    }
    selected.sequences.sort_unstable();
    selected.sequences.dedup();
    selected.beyond = selected.sequences.len().saturating_sub(query.limit) as u64;
    selected.sequences.truncate(query.limit);
    Ok(selected)
}

fn selects(
    query: &DeadQuery,
    deliveries: &Deliveries,
    kept: &Kept,
    sequence: u64,
) -> Result<bool, LedgerError> {
    let Some(bytes) = deliveries.get(sequence)? else {
        return Ok(false);
    };
    let stored = Stored::read(bytes.value())?;
    Ok(stored.is_replayable() && query.matches(&stored.shown) && kept.get(sequence)?.is_some())
}

/// One delivery of the tenant (empty means any), settled or not.
pub(super) fn find(
    database: &Database,
    id: DeliveryId,
    tenant_id: &str,
) -> Result<Option<DeliveryRecord>, LedgerError> {
    let transaction = database.begin_read()?;
    let sequence = transaction.open_table(IDS)?.get(id.uuid().as_u128())?;
    let Some(sequence) = sequence.map(|sequence| sequence.value()) else {
        return Ok(None);
    };
    let deliveries = transaction.open_table(DELIVERIES)?;
    let Some(bytes) = deliveries.get(sequence)? else {
        return Ok(None);
    };
    let record = Stored::read(bytes.value())?.shown;
    Ok(Some(record).filter(|record| tenant_id.is_empty() || record.tenant_id == tenant_id))
}

impl Stored {
    /// Whether it is a dead letter that another attempt could deliver.
    pub(super) fn is_replayable(&self) -> bool {
        self.shown.status == DeliveryStatus::DeadLetter as i32
            && self.shown.code != crate::codes::PARCEL_UNREADABLE
    }
}

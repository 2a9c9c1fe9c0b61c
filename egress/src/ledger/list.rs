//! Pages of deliveries for people, newest first. The cursor is the sequence of the last row seen.

use redb::{Database, ReadOnlyTable, ReadableDatabase};
use zen_proto::ids::TargetId;
use zen_proto::limits;
use zen_proto::query::v1::{
    DeliveryPage, DeliveryRecord, DeliveryStatus, ListDeadLetters, ListDeliveries,
};

use super::LedgerError;
use super::record::Stored;
use super::tables::{BY_TARGET, DEAD, DELIVERIES, PENDING};

const DEFAULT_PAGE: u32 = 50;
/// Rows looked at for one page; a page that needs more ends early, with a cursor.
const SCAN: usize = 50_000;

/// Which deliveries, and how many of them. Empty texts mean any.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListQuery {
    pub(crate) status: Option<DeliveryStatus>,
    pub(crate) flow_id: String,
    pub(crate) target_id: String,
    pub(crate) tenant_id: String,
    /// 0 means 50; never more than 500.
    pub(crate) limit: u32,
    pub(crate) cursor: String,
}

impl From<ListDeliveries> for ListQuery {
    fn from(asked: ListDeliveries) -> Self {
        let status = match asked.status() {
            DeliveryStatus::Unspecified => None,
            status => Some(status),
        };
        Self {
            status,
            flow_id: asked.flow_id,
            target_id: asked.target_id,
            tenant_id: asked.tenant_id,
            limit: asked.limit,
            cursor: asked.cursor,
        }
    }
}

impl From<ListDeadLetters> for ListQuery {
    fn from(asked: ListDeadLetters) -> Self {
        Self {
            status: Some(DeliveryStatus::DeadLetter),
            flow_id: asked.flow_id,
            target_id: asked.target_id,
            tenant_id: asked.tenant_id,
            limit: asked.limit,
            cursor: asked.cursor,
        }
    }
}

impl ListQuery {
    fn matches(&self, record: &DeliveryRecord) -> bool {
        let is = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
        self.status
            .is_none_or(|status| status as i32 == record.status)
            && is(&self.flow_id, &record.flow_id)
            && is(&self.target_id, &record.target_id)
            && is(&self.tenant_id, &record.tenant_id)
    }

    fn page_size(&self) -> usize {
        let asked = if self.limit == 0 {
            DEFAULT_PAGE
        } else {
            self.limit
        };
        asked.min(limits::PAGE) as usize
    }

    /// The sequence that the page stays below.
    fn below(&self) -> Result<u64, LedgerError> {
        if self.cursor.is_empty() {
            return Ok(u64::MAX);
        }
        self.cursor.parse().map_err(|_| LedgerError::Cursor)
    }
}

pub(super) fn page(database: &Database, query: &ListQuery) -> Result<DeliveryPage, LedgerError> {
    let transaction = database.begin_read()?;
    let deliveries = transaction.open_table(DELIVERIES)?;
    let below = query.below()?;
    // The narrowest index that has every row of the answer.
    if let Ok(target) = query.target_id.parse::<TargetId>() {
        let target = target.uuid().as_u128();
        let rows = transaction
            .open_table(BY_TARGET)?
            .range((target, 0)..(target, below))?;
        return fill(
            query,
            &deliveries,
            rows.rev().map(|row| Ok(row?.0.value().1)),
        );
    }
    match query.status {
        Some(DeliveryStatus::Pending) => {
            let rows = transaction.open_table(PENDING)?.range(..below)?;
            fill(query, &deliveries, rows.rev().map(|row| Ok(row?.0.value())))
        }
        Some(DeliveryStatus::DeadLetter) => {
            let rows = transaction.open_table(DEAD)?.range(..below)?;
            fill(query, &deliveries, rows.rev().map(|row| Ok(row?.0.value())))
        }
        _ => {
            let rows = deliveries.range(..below)?;
            fill(query, &deliveries, rows.rev().map(|row| Ok(row?.0.value())))
        }
    }
}

fn fill(
    query: &ListQuery,
    deliveries: &ReadOnlyTable<u64, &'static [u8]>,
    newest_first: impl Iterator<Item = Result<u64, redb::StorageError>>,
) -> Result<DeliveryPage, LedgerError> {
    let mut page = DeliveryPage::default();
    let mut last = None;
    for (looked_at, sequence) in newest_first.enumerate() {
        let sequence = sequence?;
        if let Some(last) = last
            && (page.deliveries.len() == query.page_size() || looked_at == SCAN)
        {
            page.next_cursor = u64::to_string(&last);
            return Ok(page);
        }
        last = Some(sequence);
        let Some(bytes) = deliveries.get(sequence)? else {
            continue;
        };
        let record = Stored::read(bytes.value())?.shown;
        if query.matches(&record) {
            page.deliveries.push(record);
        }
    }
    Ok(page)
}

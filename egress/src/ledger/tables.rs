//! The tables of the ledger and their keys. Sequences are given in the order of acceptance, so
//! that every list by time is a walk along a key, and new rows land side by side.

use redb::{Database, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::LedgerError;

/// Sequence → encoded `Stored`.
pub(super) const DELIVERIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("deliveries");
/// Delivery id → sequence.
pub(super) const IDS: TableDefinition<'_, u128, u64> = TableDefinition::new("ids");
/// (target, flow, Unix milliseconds of the next attempt, sequence) of each waiting delivery.
pub(super) const DUE: TableDefinition<'_, (u128, u128, u64, u64), ()> = TableDefinition::new("due");
/// Sequence → bytes of body, of each waiting delivery.
pub(super) const PENDING: TableDefinition<'_, u64, u64> = TableDefinition::new("pending");
/// Sequence → position in the journal, of each waiting delivery whose body is only there.
pub(super) const FLOATING: TableDefinition<'_, u64, u64> = TableDefinition::new("floating");
/// Sequence → body, of dead letters and of those that waited so long that they left the journal.
pub(super) const KEPT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("kept");
/// Sequence → bytes of body, of each dead letter.
pub(super) const DEAD: TableDefinition<'_, u64, u64> = TableDefinition::new("dead");
/// (Unix milliseconds of settlement, sequence) of each delivered one.
pub(super) const DELIVERED: TableDefinition<'_, (u64, u64), ()> = TableDefinition::new("delivered");
/// (target, sequence) of every delivery.
pub(super) const BY_TARGET: TableDefinition<'_, (u128, u64), ()> =
    TableDefinition::new("by_target");
/// Target → (fingerprint, since), of each target that is paused.
pub(super) const PAUSED: TableDefinition<'_, u128, (u64, u64)> = TableDefinition::new("paused");
/// `format` → version of this layout.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const FORMAT: u64 = 1;

/// All tables, open for one transaction.
pub(super) struct Tables<'t> {
    pub(super) deliveries: Table<'t, u64, &'static [u8]>,
    pub(super) ids: Table<'t, u128, u64>,
    pub(super) due: Table<'t, (u128, u128, u64, u64), ()>,
    pub(super) pending: Table<'t, u64, u64>,
    pub(super) floating: Table<'t, u64, u64>,
    pub(super) kept: Table<'t, u64, &'static [u8]>,
    pub(super) dead: Table<'t, u64, u64>,
    pub(super) delivered: Table<'t, (u64, u64), ()>,
    pub(super) by_target: Table<'t, (u128, u64), ()>,
    pub(super) paused: Table<'t, u128, (u64, u64)>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, LedgerError> {
        Ok(Self {
            deliveries: transaction.open_table(DELIVERIES)?,
            ids: transaction.open_table(IDS)?,
            due: transaction.open_table(DUE)?,
            pending: transaction.open_table(PENDING)?,
            floating: transaction.open_table(FLOATING)?,
            kept: transaction.open_table(KEPT)?,
            dead: transaction.open_table(DEAD)?,
            delivered: transaction.open_table(DELIVERED)?,
            by_target: transaction.open_table(BY_TARGET)?,
            paused: transaction.open_table(PAUSED)?,
        })
    }
}

/// Makes the tables that are not there yet, so that readers find all of them.
pub(super) fn create(database: &Database) -> Result<(), LedgerError> {
    let transaction = database.begin_write()?;
    {
        Tables::open(&transaction)?;
        let mut meta = transaction.open_table(META)?;
        let known = meta.get("format")?.map(|version| version.value());
        match known {
            Some(FORMAT) => {}
            Some(_) => return Err(LedgerError::Damaged("it was written by a later version")),
            None => {
                meta.insert("format", FORMAT)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

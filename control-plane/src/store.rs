//! Where everything is kept. One writer connection, several readers; each noun has its file below,
//! and all of them are methods of [`Store`]. The SQL is written to run on PostgreSQL as well.

mod addresses;
pub(crate) mod bundles;
mod counters;
mod events;
mod flows;
mod identities;
mod inputs;
mod keys;
pub(crate) mod placed;
mod planes;
mod redemptions;
mod roots;
mod snapshots;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, SqlStr};
use zen_proto::ids::TenantId;

pub(crate) use bundles::{NewBundle, StoredBundle};
pub(crate) use counters::{CountKey, Counts, Total};
pub(crate) use events::{Event, EventKind, NewEvent};
pub(crate) use flows::{Added, Room};
pub(crate) use identities::Issued;
pub(crate) use keys::Principal;
pub(crate) use placed::{Noun, Placed, Removal};
pub(crate) use planes::{Heard, PlaneChange};
pub(crate) use roots::{FirstStart, Found, StoredRoot};
pub(crate) use snapshots::Published;

/// The database behind the store.
type Db = sqlx::Sqlite;
type DbRow = SqliteRow;
type Pool = sqlx::Pool<Db>;
type Tx = sqlx::Transaction<'static, Db>;

/// Connections for reading.
const READERS: u32 = 4;
/// Wait for a lock that another process holds (a backup, say).
const BUSY: Duration = Duration::from_secs(5);

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database failed, or what it holds cannot be read.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    /// It could not be brought to this version's form.
    #[error("the database cannot be brought to this version's form")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Another one of the same kind has this name.
    #[error("the name is taken")]
    NameTaken,
    /// It was changed or removed since it was read.
    #[error("it was changed meanwhile")]
    Changed,
}

/// All that is kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    writer: Pool,
    reader: Pool,
}

/// Whose things a caller may see and change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Its own.
    pub(crate) tenant: TenantId,
    /// The operator's too: the operator's tenant then, otherwise its own once more.
    pub(crate) also: TenantId,
}

/// One page of a list, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Id of the last item if more follow.
    pub(crate) next: Option<String>,
}

/// Which page is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Items at the most.
    pub(crate) limit: u32,
    /// Id after which to begin; empty at the start.
    pub(crate) after: String,
}

impl<T> Page<T> {
    /// Cuts a list that was read with one item more than wanted.
    fn cut(mut items: Vec<T>, wanted: &Wanted, id: impl Fn(&T) -> String) -> Self {
        let more = items.len() > wanted.limit as usize;
        items.truncate(wanted.limit as usize);
        let next = items.last().filter(|_| more).map(id);
        Self { items, next }
    }
}

impl Wanted {
    /// One item more than wanted, to learn whether others follow.
    fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

impl Store {
    /// Opens the database in `file` and brings it to this version's form.
    ///
    /// # Errors
    /// When the file cannot be used, or a newer version wrote it.
    pub(crate) async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        migrations().run(&writer).await?;
        let reader = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { writer, reader })
    }

    async fn write(&self) -> Result<Tx, StoreError> {
        Ok(self.writer.begin().await?)
    }
}

fn migrations() -> Migrator {
    let files = [(
        1,
        "initial",
        include_str!("../migrations/sqlite/0001_initial.sql"),
    )];
    let all = files.map(|(version, name, sql)| {
        let sql = SqlStr::from_static(sql);
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(all.to_vec())
}

/// A database error, or that a name is taken if that is what a unique index said.
fn name_taken(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(cause) if cause.is_unique_violation() => StoreError::NameTaken,
        _ => StoreError::Sql(error),
    }
}

/// Reads a column that holds an id or another word.
fn word<T: FromStr>(row: &DbRow, column: &'static str) -> Result<T, sqlx::Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.try_get::<&str, _>(column)?
        .parse()
        .map_err(|e| undecodable(column, e))
}

/// Reads a column that holds an id or nothing.
fn word_if<T: FromStr>(row: &DbRow, column: &'static str) -> Result<Option<T>, sqlx::Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: Option<&str> = row.try_get(column)?;
    text.map(str::parse)
        .transpose()
        .map_err(|e| undecodable(column, e))
}

/// Reads a column that holds JSON.
fn json<T: serde::de::DeserializeOwned>(
    row: &DbRow,
    column: &'static str,
) -> Result<T, sqlx::Error> {
    serde_json::from_str(row.try_get::<&str, _>(column)?).map_err(|e| undecodable(column, e))
}

/// Reads a column that holds a time, a count or a revision.
fn number(row: &DbRow, column: &'static str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.max(0).cast_unsigned())
}

/// Reads a column that holds a time or nothing.
fn number_if(row: &DbRow, column: &'static str) -> Result<Option<u64>, sqlx::Error> {
    Ok(row
        .try_get::<Option<i64>, _>(column)?
        .map(|value| value.max(0).cast_unsigned()))
}

/// Reads a column that holds a SHA-256.
fn hash(row: &DbRow, column: &'static str) -> Result<[u8; 32], sqlx::Error> {
    row.try_get::<&[u8], _>(column)?
        .try_into()
        .map_err(|e| undecodable(column, e))
}

/// Reads a column that holds a SHA-256 or nothing.
fn hash_if(row: &DbRow, column: &'static str) -> Result<Option<[u8; 32]>, sqlx::Error> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes
        .map(TryInto::try_into)
        .transpose()
        .map_err(|e| undecodable(column, e))
}

fn undecodable(
    column: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: Box::new(error),
    }
}

/// A count or time as the database holds it; beyond 2^63 it stays there.
fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// JSON text of something that was made in this process.
fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Sql(sqlx::Error::Encode(Box::new(e))))
}

//! Where everything is kept: SQLite in a file, or PostgreSQL. Each noun has its file below, and all
//! of them are methods of [`Store`]. One text of SQL runs on both engines.

mod addresses;
mod asks;
mod audit;
mod batches;
pub(crate) mod bundles;
mod counters;
mod dashboard;
mod events;
mod flows;
mod idempotency;
mod identities;
mod inputs;
mod keys;
mod minutes;
mod notices;
mod open;
pub(crate) mod placed;
mod planes;
mod redemptions;
mod replicas;
mod root_steps;
mod roots;
mod secrets;
mod sessions;
mod shown;
mod snapshots;
mod tenants;
mod totp;
mod tx;
mod users;

use std::str::FromStr;

use sqlx::Row as _;
use sqlx::any::AnyRow;
use sqlx::migrate::MigrateError;
use zen_proto::ids::TenantId;

pub(crate) use asks::{AskOutcome, NewAsk, TakenAsk};
pub(crate) use audit::{AuditKey, AuditWanted, Entry, NewAudit};
pub(crate) use bundles::{NewBundle, StoredBundle};
pub(crate) use counters::{CountKey, Counts, Total};
pub(crate) use events::{Event, EventKind, NewEvent};
pub(crate) use flows::{Added, FlowsOf, Room};
pub(crate) use idempotency::{Claim, Claimed, NewClaim};
pub(crate) use identities::Issued;
pub(crate) use keys::ApiKey;
pub(crate) use minutes::{Increments, MINUTE_MS, MinutesOf, Span};
pub(crate) use notices::Notice;
pub(crate) use open::{Engine, Place, Server};
pub(crate) use placed::{Noun, Placed, Removal};
pub(crate) use planes::{Heard, PlaneChange, Retired};
pub(crate) use replicas::{NO_CHANGE, SessionRow};
pub(crate) use root_steps::{PlaneRoots, RootStep};
pub(crate) use roots::{FirstStart, Found, StoredRoot};
pub(crate) use secrets::{Kept, Resealing, Revised, Use, UsedBy};
pub(crate) use sessions::{ListedSession, NewLink, NewSession, StoredSession, Taken};
pub(crate) use shown::{CHOICES, Choice, NameOf};
pub(crate) use snapshots::Published;
pub(crate) use tenants::{FirstOwner, NewTenant, Tenant};
use tx::Tx;
pub(crate) use users::{Changed, User, UserChange};

/// The database behind the store.
type Db = sqlx::Any;
type DbRow = AnyRow;
type Pool = sqlx::Pool<Db>;

/// The lock under which writers of one PostgreSQL database take their turns.
const WRITERS_TURN: i64 = 0x7a65_6e5f_6d65_7368;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database failed, or what it holds cannot be read.
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    /// It could not be brought to this version's form.
    #[error("the database cannot be brought to this version's form")]
    Migrate(#[from] MigrateError),
    /// A later version of the control plane has used it.
    #[error("the database has form {0}, which is newer than this version; start a later version")]
    Newer(i64),
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
    engine: Engine,
    writer: Pool,
    reader: Pool,
    /// How PostgreSQL is listened to; none on SQLite.
    listens: Option<sqlx::postgres::PgConnectOptions>,
    /// Authenticates the ends of audit chains.
    audit_key: AuditKey,
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
    pub(crate) named: Named,
}

/// Which names are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Those with this in them, whatever its case; empty means any.
    pub(crate) part: String,
    /// Exactly this one; empty means any.
    pub(crate) exact: String,
}

impl Named {
    /// The pattern for `LIKE … ESCAPE '\\'`, empty if any will do. Upper and lower case are made
    /// alike by the database, with its own idea of case.
    fn pattern(&self) -> String {
        if self.part.is_empty() {
            return String::new();
        }
        let escaped = self.part.chars().flat_map(|one| {
            let escape = ['%', '_', '\\'].contains(&one).then_some('\\');
            escape.into_iter().chain([one])
        });
        format!("%{}%", escaped.collect::<String>())
    }
}

impl StoreError {
    /// What kind of trouble it is, as far as people can do something about it.
    pub(crate) fn trouble(&self) -> Trouble {
        let error = match self {
            Self::Sql(error) | Self::Migrate(MigrateError::Execute(error)) => error,
            Self::Migrate(_) | Self::Newer(_) | Self::NameTaken | Self::Changed => {
                return Trouble::Other;
            }
        };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Trouble::Unavailable,
            sqlx::Error::Database(cause) => Trouble::of_code(&cause.code().unwrap_or_default()),
            _ => Trouble::Other,
        }
    }

    /// The trouble's stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self.trouble() {
            Trouble::Full => "STORAGE_FULL",
            Trouble::Unavailable | Trouble::Text | Trouble::Other => "DATABASE_UNAVAILABLE",
        }
    }
}

/// Kinds of trouble with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It does not answer, or not in time; nothing was written.
    Unavailable,
    /// Its disk is full; nothing was written.
    Full,
    /// A text holds what it cannot keep (the character U+0000).
    Text,
    /// Something is wrong with it or with us.
    Other,
}

impl Trouble {
    /// By SQLSTATE (five characters), or SQLite's extended result code (a number).
    fn of_code(code: &str) -> Self {
        if let Ok(number) = code.parse::<u32>()
            && code.len() < 5
        {
            return match number & 0xff {
                13 => Self::Full,
                // Busy, locked, read-only, an error of the disk, not to be opened.
                5 | 6 | 8 | 10 | 14 => Self::Unavailable,
                _ => Self::Other,
            };
        }
        match code {
            "53100" => Self::Full,
            "22021" => Self::Text,
            // Connections, resources, time limits, a server that stops or starts, one that reads
            // only, writers in each other's way.
            "25006" | "40001" | "40P01" | "55P03" | "57014" => Self::Unavailable,
            _ if ["08", "53", "57P", "58"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Unavailable
            }
            _ => Self::Other,
        }
    }
}

impl<T> Page<T> {
    /// Cuts a list that was read with one item more than wanted.
    pub(crate) fn cut(mut items: Vec<T>, wanted: &Wanted, id: impl Fn(&T) -> String) -> Self {
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
    /// The same, with the key that authenticates the ends of audit chains; before anything is
    /// changed.
    #[must_use]
    pub(crate) fn keyed(self, audit_key: AuditKey) -> Self {
        Self { audit_key, ..self }
    }

    /// Begins a change. Writers are one after another on both engines: on SQLite there is one
    /// connection that may write, on PostgreSQL each takes the same lock first. So what a writer
    /// reads holds until it commits (a count under a limit, the newest link of a hash chain, who
    /// redeemed a bundle), and the same code is right on both. A single statement that needs no
    /// such promise may go to `writer` directly.
    async fn write(&self) -> Result<Tx, StoreError> {
        let mut tx = self.writer.begin().await?;
        if self.engine == Engine::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(WRITERS_TURN)
                .execute(&mut *tx)
                .await?;
        }
        Ok(Tx::new(tx, self.audit_key.clone()))
    }

    /// Begins a change of what only one session writes, or that a single statement guards: it does
    /// not wait for its turn among the writers.
    async fn write_alone(&self) -> Result<Tx, StoreError> {
        let tx = self.writer.begin().await?;
        Ok(Tx::new(tx, self.audit_key.clone()))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT id FROM tenants LIMIT 1")
            .fetch_optional(&self.reader)
            .await?;
        Ok(())
    }

    /// Begins to read one state of the database, whatever is written meanwhile.
    async fn read(&self) -> Result<Tx, StoreError> {
        let tx = match self.engine {
            Engine::Sqlite => self.reader.begin().await?,
            Engine::Postgres => {
                self.reader
                    .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    .await?
            }
        };
        Ok(Tx::new(tx, self.audit_key.clone()))
    }
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

/// Reads a column that holds a yes or no: SQLite keeps it as a number.
fn flag(row: &DbRow, column: &'static str) -> Result<bool, sqlx::Error> {
    row.try_get::<i64, _>(column)
        .map(|number| number != 0)
        .or_else(|_| row.try_get(column))
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

//! Opening the database: which engine, how its connections are set, and bringing it to this
//! version's form.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Executor as _, SqlStr};
use url::Url;
use zen_chassis::chain::Chain;

use super::{AuditKey, Pool, Store, StoreError, Trouble};

/// Connections for reading a SQLite file.
const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL for writing; writers mostly wait for each other's turn.
const POSTGRES_WRITERS: u32 = 4;
/// Wait for a connection; after that the database counts as unavailable.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);

/// Tries to reach PostgreSQL at the start, each as long as [`ACQUIRE`].
const TRIES: u32 = 6;

/// Said to SQLite at the start of the connection that writes.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000";
/// Said at the start of those that read.
const SQLITE_READER_SETTINGS: &str = "PRAGMA busy_timeout = 5000";
/// Said to PostgreSQL at the start of each connection: nothing waits without end, and a replica
/// that hangs or is cut off does not keep the others from their turn.
const POSTGRES_SETTINGS: &str = "SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '20s'; SET tcp_keepalives_idle = 10; \
     SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

/// What the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A file that this process alone writes.
    Sqlite,
    /// A server that several control planes may share.
    Postgres,
}

/// Where the database is.
#[derive(Clone)]
pub(crate) enum Place {
    /// In this file, made if it is not there.
    File(PathBuf),
    /// On a PostgreSQL server.
    Server(Server),
}

/// A database on a PostgreSQL server. Holds a password: neither shown nor logged.
#[derive(Clone)]
pub(crate) struct Server {
    /// With everything that the connection needs, the password too.
    pub(crate) url: Url,
    /// Connections at the most, at least 8.
    pub(crate) connections: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "state_dir: {}", file.display()),
            // The address holds the password.
            Self::Server(_) => f.write_str("database: the PostgreSQL database"),
        }
    }
}

impl Store {
    /// Opens the database and brings it to this version's form. Of several control planes that
    /// start at once, one does that and the others wait for it.
    ///
    /// # Errors
    /// When it cannot be used, or a later version has used it.
    pub(crate) async fn open(place: &Place) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        match place {
            Place::File(file) => Self::open_file(file).await,
            Place::Server(server) => Self::open_server(server).await,
        }
    }

    async fn open_file(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true);
        let writer = pool(1, SQLITE_SETTINGS, &options.to_url_lossy()).await?;
        migrate(Engine::Sqlite, &writer).await?;
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let url = options.to_url_lossy();
        Ok(Self {
            engine: Engine::Sqlite,
            writer,
            reader: pool(SQLITE_READERS, SQLITE_READER_SETTINGS, &url).await?,
            listens: None,
            audit_key: AuditKey::unset(),
        })
    }

    async fn open_server(server: &Server) -> Result<Self, StoreError> {
        let Server { url, connections } = server;
        // No time limits here: whoever is second waits until the first has brought it to its form.
        let patient = patiently(url).await?;
        let migrated = migrate(Engine::Postgres, &patient).await;
        patient.close().await;
        migrated?;
        let writer = pool(POSTGRES_WRITERS, POSTGRES_SETTINGS, url).await?;
        let readers = connections.saturating_sub(POSTGRES_WRITERS + 1).max(1);
        Ok(Self {
            engine: Engine::Postgres,
            writer,
            reader: pool(readers, POSTGRES_SETTINGS, url).await?,
            listens: Some(PgConnectOptions::from_url(url)?),
            audit_key: AuditKey::unset(),
        })
    }

    /// What the database is.
    pub(crate) const fn engine(&self) -> Engine {
        self.engine
    }
}

async fn pool(connections: u32, settings: &'static str, url: &Url) -> Result<Pool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| Box::pin(prepare(connection, settings)))
        .connect_with(AnyConnectOptions::from_url(url)?)
        .await
}

/// The first connection. A server that is just starting, or busy, is given some time.
async fn patiently(url: &Url) -> Result<Pool, StoreError> {
    let mut tries = 1;
    loop {
        match pool(1, "SELECT 1", url).await.map_err(StoreError::Sql) {
            Err(error) if tries < TRIES && error.trouble() == Trouble::Unavailable => {
                tracing::warn!(error = %Chain(&error), "the database does not answer, trying again");
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn prepare(connection: &mut AnyConnection, settings: &'static str) -> sqlx::Result<()> {
    connection.execute(sqlx::raw_sql(settings)).await?;
    Ok(())
}

async fn migrate(engine: Engine, writer: &Pool) -> Result<(), StoreError> {
    migrations(engine)
        .run(writer)
        .await
        .map_err(|error| match error {
            MigrateError::VersionMissing(form) => StoreError::Newer(form),
            error => StoreError::Migrate(error),
        })
}

/// A migration in both dialects.
macro_rules! migration {
    ($version:literal, $name:literal) => {
        (
            $version,
            $name,
            include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
        )
    };
}

/// Forward only: what stands here is never changed once it was released.
const MIGRATIONS: [(i64, &str, &str, &str); 7] = [
    migration!(1, "0001_initial"),
    migration!(2, "0002_people"),
    migration!(3, "0003_rest"),
    migration!(4, "0004_replicas"),
    migration!(5, "0005_traffic"),
    migration!(6, "0006_secrets"),
    migration!(7, "0007_roots"),
];

fn migrations(engine: Engine) -> Migrator {
    migrations_until(engine, i64::MAX)
}

/// Those up to a version: what an earlier release had.
fn migrations_until(engine: Engine, last: i64) -> Migrator {
    let all = MIGRATIONS.iter().filter(|(version, ..)| *version <= last);
    let all = all.map(|(version, name, sqlite, postgres)| {
        let sql = SqlStr::from_static(match engine {
            Engine::Sqlite => sqlite,
            Engine::Postgres => postgres,
        });
        let name = (*name).into();
        Migration::new(*version, name, MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(all.collect())
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;
    use sqlx::sqlite::SqliteConnection;

    use super::*;
    use crate::principal::ActorKind;

    /// SHA-384 of what version 0.1.0 brought: its databases are known by it.
    const RELEASED: &str = "5e2e41630055f3532b53bc09a15d07ec1885729faf8a44d4659ae37745841b248a2dc9e4e867c93155db882cb52f381e";

    #[tokio::test]
    async fn a_database_of_the_first_release_is_brought_to_this_versions_form() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control-plane.db");
        let released = migrations_until(Engine::Sqlite, 1);
        assert_eq!(hex::encode(&*released.migrations[0].checksum), RELEASED);
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        released.run(&mut connection).await.unwrap();
        connection
            .execute(sqlx::raw_sql(
                "INSERT INTO tenants VALUES ('ten_00000000000000000000000001', 'a', 'default', 1);
                 INSERT INTO api_keys VALUES ('key_00000000000000000000000001',
                 'ten_00000000000000000000000001', 'owner', TRUE, zeroblob(32), 1);",
            ))
            .await
            .unwrap();
        connection.close().await.unwrap();
        let store = Store::open(&Place::File(file)).await.unwrap();
        let found = store.principal(&[0; 32], 1).await.unwrap().unwrap();
        assert!(found.operator);
        assert_eq!(found.actor.kind, ActorKind::Key);
    }
}

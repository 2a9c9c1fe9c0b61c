//! Where the database is: the settings, and what they come to.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use url::Url;
use zen_chassis::files;

use crate::store::{Place, Server};

/// The database in the state directory.
const FILE: &str = "control-plane.db";
/// Longest file with a password or an address, bytes.
const SECRET: usize = 64 * 1024;
/// Fewest connections that writers, readers and the listener get along with.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 8..=1000;

/// Settings of the database. Without any it is SQLite in the state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// A PostgreSQL database that several control planes may share.
    pub postgres: Option<PostgresSettings>,
    /// File with the whole address of a PostgreSQL database, the password included:
    /// `postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/ca.pem`.
    /// Instead of `postgres`.
    pub url_file: Option<PathBuf>,
}

/// A PostgreSQL database, setting by setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// Name or address of the server, or the folder of its Unix socket.
    pub host: String,
    /// Default 5432.
    pub port: u16,
    /// Role; default `zen`.
    pub user: String,
    /// Default `zen`.
    pub database: String,
    /// File with the role's password; none if the server asks for none.
    pub password_file: Option<PathBuf>,
    /// How the connection is protected; default `verify-full`. A Unix socket needs nothing.
    pub tls: DatabaseTls,
    /// PEM of the authorities that may have signed the server's certificate; default those of the
    /// public web.
    pub ca_file: Option<PathBuf>,
    /// Connections at the most, 8 to 1,000; default 16.
    pub connections: u32,
}

/// How a connection to the database is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseTls {
    /// Not at all: for a network that nobody else is in.
    Disable,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the server's certificate names its host.
    #[default]
    VerifyFull,
}

impl DatabaseTls {
    /// The word that PostgreSQL has for it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 5432,
            user: "zen".to_owned(),
            database: "zen".to_owned(),
            password_file: None,
            tls: DatabaseTls::default(),
            ca_file: None,
            connections: 16,
        }
    }
}

impl DatabaseSettings {
    /// Checks every key, without looking into files.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Some(postgres) = &self.postgres else {
            return Ok(());
        };
        ensure!(
            self.url_file.is_none(),
            "database.url_file: database.postgres is set too; one of them is enough"
        );
        ensure!(!postgres.host.is_empty(), "database.postgres.host: missing");
        let connections = postgres.connections;
        ensure!(
            CONNECTIONS.contains(&connections),
            "database.postgres.connections: {connections} is not between 8 and 1000"
        );
        Ok(())
    }

    /// Where the database is; reads the files that the settings name.
    ///
    /// # Errors
    /// Names the key whose file is missing or says something else.
    pub(crate) fn place(&self, state_dir: &std::path::Path) -> anyhow::Result<Place> {
        if let Some(file) = &self.url_file {
            let text = secret("database.url_file", file)?;
            // The parser's own words may quote the address, and the address holds the password.
            let url = Url::parse(&text).ok();
            let url = url.filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
            let Some(url) = url else {
                bail!("database.url_file: not an address postgres://user:password@host/database")
            };
            let connections = PostgresSettings::default().connections;
            return Ok(Place::Server(Server { url, connections }));
        }
        let Some(postgres) = &self.postgres else {
            return Ok(Place::File(state_dir.join(FILE)));
        };
        Ok(Place::Server(Server {
            url: postgres.url()?,
            connections: postgres.connections,
        }))
    }
}

impl PostgresSettings {
    fn url(&self) -> anyhow::Result<Url> {
        let mut url = Url::parse("postgres:///").context("database.postgres")?;
        let tls = if self.host.starts_with('/') {
            DatabaseTls::Disable
        } else {
            self.tls
        };
        let mut pairs = url.query_pairs_mut();
        pairs
            .append_pair("host", &self.host)
            .append_pair("port", &self.port.to_string())
            .append_pair("user", &self.user)
            .append_pair("dbname", &self.database)
            .append_pair("sslmode", tls.as_str())
            .append_pair("application_name", "zen-control-plane");
        if let Some(file) = &self.ca_file {
            let shown = file.to_str().context("database.postgres.ca_file")?;
            pairs.append_pair("sslrootcert", shown);
        }
        if let Some(file) = &self.password_file {
            let password = secret("database.postgres.password_file", file)?;
            pairs.append_pair("password", &password);
        }
        drop(pairs);
        Ok(url)
    }
}

/// The one line in a file.
fn secret(key: &'static str, file: &std::path::Path) -> anyhow::Result<String> {
    let bytes = files::read_capped(file, SECRET).context(key)?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{key}: not text"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_settings_the_database_is_a_file_in_the_state_directory() {
        let place = DatabaseSettings::default()
            .place("/state".as_ref())
            .unwrap();
        let Place::File(file) = place else { panic!() };
        assert_eq!(file, std::path::Path::new("/state/control-plane.db"));
    }

    #[test]
    fn a_password_of_any_characters_is_handed_on_as_it_is_and_only_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "p@s?s&w=%20ö/#\n").unwrap();
        let settings = DatabaseSettings {
            postgres: Some(PostgresSettings {
                host: "db.example".to_owned(),
                password_file: Some(file),
                ..PostgresSettings::default()
            }),
            url_file: None,
        };
        settings.check().unwrap();
        let Place::Server(server) = settings.place("/state".as_ref()).unwrap() else {
            panic!()
        };
        let pairs: std::collections::HashMap<_, _> = server.url.query_pairs().collect();
        assert_eq!(pairs["password"], "p@s?s&w=%20ö/#");
        assert_eq!(pairs["sslmode"], "verify-full");
    }

    #[test]
    fn a_file_that_holds_no_address_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "hunter2").unwrap();
        let settings = DatabaseSettings {
            url_file: Some(file),
            ..DatabaseSettings::default()
        };
        let error = format!("{:#}", settings.place("/state".as_ref()).err().unwrap());
        assert!(error.contains("database.url_file") && !error.contains("hunter2"));
    }
}

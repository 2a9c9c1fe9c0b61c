//! What an operator may set, and the checks that a value makes sense before anything is opened.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::Address;

/// Settings of the ingester.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the journal and the last good configuration; default `/var/lib/zen/ingester`.
    pub state_dir: PathBuf,
    /// Where webhooks arrive; default `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// Base URL under which sources reach this ingester, told to the control plane; default
    /// `http(s)://` and the bound address (127.0.0.1 for an unspecified one).
    pub public_url: Option<String>,
    /// Serves HTTPS with this certificate; none (the default) serves plain HTTP, for a proxy in front.
    pub tls: Option<TlsSettings>,
    /// The agent next door.
    pub agent: NeighbourSettings,
    /// This plane's egress, `unix:/path` or `host:port` (mutual TLS); default
    /// `unix:/run/zen/egress.sock`. None: flows to targets of this plane wait until there is one.
    pub egress: Option<Address>,
    /// Folder of the secrets named `file:<name>`; default `/etc/zen/secrets`.
    pub secrets_dir: PathBuf,
    /// This plane's zen-lock, which opens the secrets named `lock:<name>`: `unix:/path` or `host:port`
    /// (mutual TLS); default none.
    pub lock: Option<Address>,
    /// The journal of accepted events.
    pub journal: JournalSettings,
    /// Connections open at the same time, 1 to 1,000,000; more wait in the system's queue; default 4096.
    pub max_connections: usize,
    /// Time for one request from its headers to its answer, 1 s to 10 min; default 30 s.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Time for a TLS handshake and for a block of headers, 100 ms to 10 min; also how long a connection may
    /// idle between HTTP/1.1 requests; default 10 s.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: zen_chassis::config::default_state_dir("ingester"),
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            public_url: None,
            tls: None,
            agent: NeighbourSettings::default(),
            egress: Some(Address::Unix("/run/zen/egress.sock".into())),
            secrets_dir: "/etc/zen/secrets".into(),
            lock: None,
            journal: JournalSettings::default(),
            max_connections: 4096,
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
        }
    }
}

/// The certificate shown to sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file: the certificate, then its issuers. Read again every minute.
    pub certificate_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// The journal of accepted events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalSettings {
    /// Size at which nothing more is accepted (503) until events were handed on; default 10 GiB.
    pub max_size: ByteSize,
    /// Size of one file of it, at least 64 KiB and at most a quarter of `max_size`; default 64 MiB.
    pub segment_size: ByteSize,
    /// `fsync`: an answer of 2xx waits for the disk (the default). `memory`: it does not, for benchmarks only.
    pub durability: Durability,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            max_size: ByteSize::gib(10),
            segment_size: ByteSize::mib(64),
            durability: Durability::Fsync,
        }
    }
}

/// What a 2xx promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The event survives a power cut.
    #[default]
    Fsync,
    /// Nothing: a power cut loses acknowledged events.
    Memory,
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub(crate) struct SettingError {
    key: &'static str,
    problem: &'static str,
}

impl Config {
    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        let within = |value: Duration, least: u64, most: u64| {
            value >= Duration::from_millis(least) && value <= Duration::from_secs(most)
        };
        let JournalSettings {
            max_size,
            segment_size,
            ..
        } = &self.journal;
        let url = self.public_url.as_deref();
        let is_http = |text: &str| text.starts_with("http://") || text.starts_with("https://");
        let rules = [
            (
                within(self.request_timeout, 1_000, 600),
                "request_timeout",
                "must be 1 s to 10 min",
            ),
            (
                within(self.header_timeout, 100, 600),
                "header_timeout",
                "must be 100 ms to 10 min",
            ),
            (
                (1..=1_000_000).contains(&self.max_connections),
                "max_connections",
                "must be 1 to 1,000,000",
            ),
            (
                segment_size.0 >= 64 << 10,
                "journal.segment_size",
                "must be at least 64 KiB",
            ),
            (
                segment_size.0 <= max_size.0 / 4,
                "journal.segment_size",
                "must be at most a quarter of journal.max_size",
            ),
            (
                url.is_none_or(is_http),
                "public_url",
                "must begin with http:// or https://",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, key, problem)) => Err(SettingError { key, problem }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_wrong_value_is_named_by_its_key() {
        let mut config = Config::default();
        config.journal.segment_size = ByteSize::gib(9);
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .starts_with("journal.segment_size: ")
        );
        let config = Config {
            public_url: Some("hooks.example".to_owned()),
            ..Config::default()
        };
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .starts_with("public_url: ")
        );
    }
}

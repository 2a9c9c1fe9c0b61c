//! What an operator may set.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::Address;

use crate::ledger::Options;
use crate::scheduler::Rules;

/// The settings of zen-egress.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder for the ledger and the last good configuration; default `/var/lib/zen/egress`.
    pub state_dir: PathBuf,
    /// Where the ingesters of this plane hand deliveries over, `unix:/path` or `address:port`
    /// (mutual TLS); default `unix:/run/zen/egress.sock`.
    pub listen: Address,
    /// The agent next door.
    pub agent: NeighbourSettings,
    /// Folder of the files that `file:<name>` references name; default `/etc/zen/secrets`.
    pub secrets_dir: PathBuf,
    /// This plane's zen-lock, which opens the secrets named `lock:<name>`: `unix:/path` or
    /// `host:port` (mutual TLS); default none.
    pub lock: Option<Address>,
    /// PEM file of the public roots that targets without a CA of their own are trusted by; default
    /// `/etc/ssl/certs/ca-certificates.crt`.
    pub ca_file: PathBuf,
    /// Whether to attach to the bridges of the configuration; default true.
    pub attach: bool,
    /// Parcels that one bridge may have under way to this egress, 1 to 100,000; default 1024.
    pub credit: u32,
    /// Attempts under way at once for a target that sets no bound itself, 1 to 10,000; default 32.
    pub concurrency_per_target: usize,
    /// Attempts under way at once over all targets, 1 to 100,000; default 1024.
    pub max_in_flight: usize,
    /// Whether targets may have loopback and private addresses without naming their networks;
    /// default true. Data planes set false.
    pub allow_private: bool,
    /// Networks (CIDR) that no target may have, such as that of the Kubernetes API; default none.
    pub denied_networks: Vec<IpNet>,
    /// How long a delivery waits for a target or flow that the configuration does not know;
    /// default 5 min.
    #[serde(with = "humantime_serde")]
    pub unknown_grace: Duration,
    /// Time for attempts under way when asked to stop, less than `shutdown_grace`; default 20 s.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// Bounds of what waits.
    pub pending: Pending,
    /// How long what is settled stays.
    pub retention: Retention,
}

/// Bounds of what waits; nothing more is taken beyond them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pending {
    /// Deliveries, at least 1; default 1,000,000.
    pub max_deliveries: u64,
    /// Bytes of body, at least 16 MiB; default 8 GiB.
    pub max_bytes: ByteSize,
}

/// How long what is settled stays in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Time a delivered one stays listed and its id known, so that a repetition is not delivered
    /// again; default 1 day.
    #[serde(with = "humantime_serde")]
    pub delivered: Duration,
    /// Delivered ones kept at the most; default 100,000.
    pub delivered_records: u64,
    /// Time a dead letter stays; default 7 days.
    #[serde(with = "humantime_serde")]
    pub dead_letters: Duration,
    /// Bytes of body kept in dead letters; the oldest go beyond; default 1 GiB.
    pub dead_letter_bytes: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/zen/egress".into(),
            listen: Address::Unix("/run/zen/egress.sock".into()),
            agent: NeighbourSettings::default(),
            secrets_dir: "/etc/zen/secrets".into(),
            lock: None,
            ca_file: "/etc/ssl/certs/ca-certificates.crt".into(),
            attach: true,
            credit: 1024,
            concurrency_per_target: 32,
            max_in_flight: 1024,
            allow_private: true,
            denied_networks: Vec::new(),
            unknown_grace: Duration::from_secs(5 * 60),
            drain: Duration::from_secs(20),
            pending: Pending::default(),
            retention: Retention::default(),
        }
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            max_deliveries: 1_000_000,
            max_bytes: ByteSize::gib(8),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            delivered: Duration::from_secs(24 * 60 * 60),
            delivered_records: 100_000,
            dead_letters: Duration::from_secs(7 * 24 * 60 * 60),
            dead_letter_bytes: ByteSize::gib(1),
        }
    }
}

impl Config {
    /// Refuses what cannot work, by the name of its key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let bounded = |key: &str, value: usize, most: usize| {
            anyhow::ensure!(
                (1..=most).contains(&value),
                "{key}: {value} is not from 1 to {most}"
            );
            Ok(())
        };
        bounded("credit", self.credit as usize, 100_000)?;
        bounded(
            "concurrency_per_target",
            self.concurrency_per_target,
            10_000,
        )?;
        bounded("max_in_flight", self.max_in_flight, 100_000)?;
        anyhow::ensure!(
            self.pending.max_deliveries > 0,
            "pending.max_deliveries: 0 takes nothing"
        );
        anyhow::ensure!(
            self.pending.max_bytes >= ByteSize::mib(16),
            "pending.max_bytes: {} is less than 16 MiB, which one delivery may need",
            self.pending.max_bytes
        );
        Ok(())
    }

    pub(crate) fn ledger(&self) -> Options {
        Options {
            max_pending: self.pending.max_deliveries,
            max_pending_bytes: self.pending.max_bytes.as_u64(),
            delivered_age: self.retention.delivered,
            delivered_records: self.retention.delivered_records,
            dead_age: self.retention.dead_letters,
            dead_bytes: self.retention.dead_letter_bytes.as_u64(),
            ..Options::default()
        }
    }

    pub(crate) const fn rules(&self) -> Rules {
        Rules {
            concurrency: self.concurrency_per_target,
            unknown_grace: self.unknown_grace,
            drain: self.drain,
        }
    }
}

//! What an operator may set.

mod database;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use url::Url;
use zen_chassis::net::Address;
use zen_identity::TrustDomain;
use zen_proto::limits;

pub use crate::people::oidc::OidcSettings;

pub use database::{DatabaseSettings, DatabaseTls, PostgresSettings};

/// The control plane's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the database and the files of the first start lie; default
    /// `/var/lib/zen/control-plane`.
    pub state_dir: PathBuf,
    /// The database.
    pub database: DatabaseSettings,
    /// REST API and dashboard.
    pub http: HttpSettings,
    /// OpenID provider by which people sign in; none by default.
    pub oidc: Option<OidcSettings>,
    /// Enrolment and sessions of agents.
    pub agents: AgentsSettings,
    /// What install commands say beside what is known here.
    pub install: InstallSettings,
    /// The realm of all identities; never changes after the first start; default
    /// `zen-mesh.internal`.
    pub trust_domain: String,
    /// age identity that seals the root key at rest; default `<state_dir>/root.agekey`, made at
    /// the first start.
    pub root_identity_file: Option<PathBuf>,
    /// Life of an enrolment bundle unless asked otherwise, 5 min to 24 h; default 30 min.
    #[serde(with = "humantime_serde")]
    pub bundle_ttl: Duration,
    /// Pause between an agent's heartbeats, 50 ms to 5 min; default 15 s.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// A session without a heartbeat for this long is lost; above `heartbeat_interval`, at most
    /// 1 h; default 45 s.
    #[serde(with = "humantime_serde")]
    pub heartbeat_lost: Duration,
    /// Recoveries of a plane whose identity expired, between sessions of more than an hour;
    /// default 5.
    pub recovery_budget: u32,
    /// How long a plane may take to answer a question, 100 ms to 1 min; default 10 s.
    #[serde(with = "humantime_serde")]
    pub query_timeout: Duration,
}

/// Settings of the REST API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address; default `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// Base URL under which people reach it; none if there is no one name for it.
    pub url: Option<String>,
}

/// Settings of the agents' side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentsSettings {
    /// Address; default `0.0.0.0:8443`.
    pub listen: SocketAddr,
    /// `host:port` that agents dial; several, with commas between them, if several control planes
    /// share a database. Default the address bound, 127.0.0.1 if that is 0.0.0.0.
    pub advertise: Option<String>,
}

/// Settings of install commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallSettings {
    /// A registry that goes before every image's repository, `host/path`: a mirror. None by default.
    pub image_registry: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: zen_chassis::config::default_state_dir("control-plane"),
            database: DatabaseSettings::default(),
            http: HttpSettings::default(),
            oidc: None,
            agents: AgentsSettings::default(),
            install: InstallSettings::default(),
            trust_domain: "zen-mesh.internal".to_owned(),
            root_identity_file: None,
            bundle_ttl: limits::BUNDLE_TTL,
            heartbeat_interval: limits::HEARTBEAT,
            heartbeat_lost: limits::HEARTBEAT_LOST,
            recovery_budget: 5,
            query_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            url: None,
        }
    }
}

impl Default for AgentsSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            advertise: None,
        }
    }
}

impl Config {
    /// Checks every key.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn check(&self) -> anyhow::Result<TrustDomain> {
        within(
            "bundle_ttl",
            self.bundle_ttl,
            limits::BUNDLE_TTL_MIN,
            limits::BUNDLE_TTL_MAX,
        )?;
        let (shortest, longest) = (Duration::from_millis(50), Duration::from_secs(300));
        within(
            "heartbeat_interval",
            self.heartbeat_interval,
            shortest,
            longest,
        )?;
        let (shortest, longest) = (self.heartbeat_interval, Duration::from_secs(3600));
        within("heartbeat_lost", self.heartbeat_lost, shortest, longest)?;
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_secs(60));
        within("query_timeout", self.query_timeout, shortest, longest)?;
        self.database.check()?;
        for address in self
            .agents
            .advertise
            .iter()
            .flat_map(|list| addresses(list))
        {
            ensure!(
                matches!(address.parse(), Ok(Address::Tcp(_))),
                "agents.advertise: {address:?} is not host:port"
            );
        }
        if let Some(url) = &self.http.url {
            let parsed = Url::parse(url).with_context(|| format!("http.url: {url:?}"))?;
            let web = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
            ensure!(web, "http.url: {url:?} is not an http or https address");
        }
        if let Some(registry) = &self.install.image_registry {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/[]".contains(c);
            ensure!(
                registry.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                    && registry.chars().all(plain)
                    && !registry.contains("//"),
                "install.image_registry: {registry:?} is not host, host:port or host/path"
            );
        }
        if let Some(oidc) = &self.oidc {
            oidc.check()?;
        }
        self.trust_domain.parse().context("trust_domain")
    }

    /// Where the age identity lies that seals the root key.
    pub(crate) fn root_identity_file(&self) -> PathBuf {
        let default = || self.state_dir.join("root.agekey");
        self.root_identity_file.clone().unwrap_or_else(default)
    }
}

fn within(key: &str, value: Duration, from: Duration, to: Duration) -> anyhow::Result<()> {
    ensure!(
        (from..=to).contains(&value),
        "{key}: {value:?} is not between {from:?} and {to:?}"
    );
    Ok(())
}

/// The addresses in a list with commas between them.
pub(crate) fn addresses(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// The host in `host:port`.
pub(crate) fn host(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.to_owned()
}

/// Where agents reach a listener bound to `bound`.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let loopback: std::net::IpAddr = match bound {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let host = if bound.ip().is_unspecified() {
        loopback
    } else {
        bound.ip()
    };
    SocketAddr::new(host, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_refused_by_its_key() {
        type Change = fn(&mut Config);
        let wrong: [(&str, Change); 6] = [
            ("bundle_ttl", |c| c.bundle_ttl = Duration::from_secs(1)),
            ("heartbeat_lost", |c| {
                c.heartbeat_lost = Duration::from_secs(1)
            }),
            ("agents.advertise", |c| {
                c.agents.advertise = Some("https://x".to_owned())
            }),
            ("http.url", |c| c.http.url = Some("ftp://x".to_owned())),
            ("install.image_registry", |c| {
                c.install.image_registry = Some("https://mirror.example".to_owned())
            }),
            ("trust_domain", |c| {
                c.trust_domain = "Not A Domain".to_owned()
            }),
        ];
        assert!(Config::default().check().is_ok());
        for (key, change) in wrong {
            let mut config = Config::default();
            change(&mut config);
            let error = format!("{:#}", config.check().unwrap_err());
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn agents_on_this_machine_reach_a_listener_on_every_address() {
        let bound: SocketAddr = "0.0.0.0:9".parse().unwrap();
        assert_eq!(reachable(bound).to_string(), "127.0.0.1:9");
        assert_eq!(
            reachable("10.1.2.3:9".parse().unwrap()).to_string(),
            "10.1.2.3:9"
        );
    }
}

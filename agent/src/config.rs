//! What an operator may set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zen_chassis::config::default_state_dir;
use zen_chassis::net::Address;
use zen_identity::Proxy;
use zen_proto::ids::PlaneId;

use crate::kubernetes::KubernetesConfig;

/// The agent's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where identity and last good snapshot are kept; default `/var/lib/zen/agent`.
    pub state_dir: PathBuf,
    /// Where the components next to the agent reach it: `unix:/path`, or `address:port` for mutual
    /// TLS with components in containers of their own; default `unix:/run/zen/agent.sock`.
    pub listen: Address,
    /// Where the bundle comes from.
    pub enrollment: EnrollmentConfig,
    /// The plane this agent is set up for; a bundle of another is refused with PLANE_MISMATCH.
    /// Default: none, any bundle's plane.
    pub plane_id: Option<PlaneId>,
    /// User ids that may speak on the socket beside the agent's own and root; at most 64.
    /// Default: none.
    pub allowed_uids: Vec<u32>,
    /// The HTTP proxy that leads to the control plane, `http://host:port`. Default: none, it is
    /// dialled directly; `HTTPS_PROXY` is not read.
    #[serde(with = "proxy_text")]
    pub proxy: Option<Proxy>,
    /// State in Kubernetes in place of `state_dir`. Default: none.
    pub kubernetes: Option<KubernetesConfig>,
}

/// Where the enrolment bundle is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollmentConfig {
    /// The sealed bundle; default `<state_dir>/enrollment/bundle.age`.
    pub bundle_file: Option<PathBuf>,
    /// The age identity that opens it; default `<state_dir>/enrollment/identity.txt`.
    pub identity_file: Option<PathBuf>,
    /// Pause between looks for a new bundle, 50 ms to 5 min; default 1 s.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// The zen-lock that opens a bundle beside which no identity lies. Default: none, both are
    /// needed.
    pub lock: Option<LockConfig>,
}

/// Where zen-lock is reached before the agent has an identity of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockConfig {
    /// `host:port` of the port that zen-lock has for pods; default `zen-lock.zen-mesh.svc:7447`.
    pub address: String,
    /// The name its certificate must have. Default: the host of `address`; another where that is a
    /// Service which leads to pods that are not ready yet.
    pub server_name: Option<String>,
    /// zen-lock's own authority as it publishes it in the ConfigMap `zen-lock-ca`; default
    /// `/etc/zen/lock-ca/ca.pem`.
    pub ca_file: PathBuf,
    /// The pod's projected token, audience `zen-lock`; default `/var/run/zen/lock-token/token`.
    pub token_file: PathBuf,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self {
            address: "zen-lock.zen-mesh.svc:7447".to_owned(),
            server_name: None,
            ca_file: "/etc/zen/lock-ca/ca.pem".into(),
            token_file: "/var/run/zen/lock-token/token".into(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: default_state_dir("agent"),
            listen: Address::Unix("/run/zen/agent.sock".into()),
            enrollment: EnrollmentConfig::default(),
            plane_id: None,
            allowed_uids: Vec::new(),
            proxy: None,
            kubernetes: None,
        }
    }
}

impl Default for EnrollmentConfig {
    fn default() -> Self {
        Self {
            bundle_file: None,
            identity_file: None,
            poll: Duration::from_secs(1),
            lock: None,
        }
    }
}

const POLL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(300);
const MOST_UIDS: usize = 64;

impl Config {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            POLL.contains(&self.enrollment.poll),
            "enrollment.poll: must be 50 ms to 5 min"
        );
        anyhow::ensure!(
            self.allowed_uids.len() <= MOST_UIDS,
            "allowed_uids: at most {MOST_UIDS} user ids"
        );
        anyhow::ensure!(
            !self.state_dir.as_os_str().is_empty(),
            "state_dir: must name a folder"
        );
        if let Some(lock) = &self.enrollment.lock {
            let parts = lock.address.rsplit_once(':');
            anyhow::ensure!(
                parts.is_some_and(|(host, port)| !host.is_empty()
                    && port.parse::<u16>().is_ok_and(|port| port != 0)),
                "enrollment.lock.address: must be host:port"
            );
        }
        if let Some(kubernetes) = &self.kubernetes {
            kubernetes.check()?;
        }
        Ok(())
    }

    pub(crate) fn bundle_file(&self) -> PathBuf {
        self.enrolment_file(self.enrollment.bundle_file.as_deref(), "bundle.age")
    }

    pub(crate) fn identity_file(&self) -> PathBuf {
        self.enrolment_file(self.enrollment.identity_file.as_deref(), "identity.txt")
    }

    fn enrolment_file(&self, given: Option<&Path>, name: &str) -> PathBuf {
        given.map_or_else(
            || self.state_dir.join("enrollment").join(name),
            ToOwned::to_owned,
        )
    }
}

/// A proxy as text, or nothing.
mod proxy_text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zen_identity::Proxy;

    pub(super) fn serialize<S: Serializer>(
        proxy: &Option<Proxy>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        proxy.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Proxy>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

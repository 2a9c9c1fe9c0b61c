//! What is to be looked at, and by which means.

use std::path::PathBuf;
use std::time::Duration;

use zen_chassis::Clock;
use zen_identity::Proxy;
use zen_proto::ids::PlaneId;

use crate::config::Config;
use crate::kubernetes::KubernetesConfig;

/// Time for each step of a check, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be looked at.
pub struct Plan {
    /// Where the control plane is, `host:port`, several with commas; default what identity or
    /// bundle say.
    pub control_plane: Option<String>,
    /// The proxy that the agent is set up to use.
    pub proxy: Option<Proxy>,
    /// The proxy that this host's environment names, which agents do not read.
    pub environment: Option<ProxyOfEnvironment>,
    /// Where identity and bundle are.
    pub enrolment: Enrolment,
    /// Whether zen-lock opens a bundle that comes without its identity.
    pub lock: bool,
    /// The folder whose disk is measured; none if nothing is kept in a folder.
    pub storage: Option<PathBuf>,
    /// The plane the agent is set up for.
    pub plane_id: Option<PlaneId>,
    /// This host's time.
    pub clock: Clock,
    /// Time for each step of a check.
    pub patience: Duration,
}

/// Where the agent's identity and its bundle are.
pub enum Enrolment {
    /// In files.
    Files {
        /// The agent's `identity.json`.
        held: Option<PathBuf>,
        /// The sealed bundle.
        bundle: Option<PathBuf>,
        /// The age identity that opens it.
        identity: Option<PathBuf>,
    },
    /// In Secrets.
    Cluster(Box<KubernetesConfig>),
}

/// A proxy named by an environment variable.
pub struct ProxyOfEnvironment {
    /// The variable.
    pub variable: String,
    /// What it says.
    pub value: String,
    /// What `NO_PROXY` exempts.
    pub exempt: String,
}

impl ProxyOfEnvironment {
    /// Whether programs that read the variable would use it for this host.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        !self.exempt.split(',').map(str::trim).any(|entry| {
            let domain = entry.trim_start_matches('.');
            entry == "*"
                || entry.eq_ignore_ascii_case(host)
                || (!domain.is_empty()
                    && host
                        .to_ascii_lowercase()
                        .strip_suffix(&domain.to_ascii_lowercase())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        })
    }
}

impl Plan {
    /// What concerns an agent with these settings.
    #[must_use]
    pub fn of(config: &Config, clock: Clock) -> Self {
        let (enrolment, storage) = match &config.kubernetes {
            Some(settings) => (Enrolment::Cluster(Box::new(settings.clone())), None),
            None => (
                Enrolment::Files {
                    held: Some(config.state_dir.join("identity.json")),
                    bundle: Some(config.bundle_file()),
                    identity: Some(config.identity_file()),
                },
                Some(config.state_dir.clone()),
            ),
        };
        Self {
            control_plane: None,
            proxy: config.proxy.clone(),
            environment: None,
            enrolment,
            lock: config.enrollment.lock.is_some(),
            storage,
            plane_id: config.plane_id,
            clock,
            patience: PATIENCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_exempts_hosts_and_domains() {
        let proxy = |exempt: &str| ProxyOfEnvironment {
            variable: "HTTPS_PROXY".to_owned(),
            value: "http://proxy:3128".to_owned(),
            exempt: exempt.to_owned(),
        };
        assert!(proxy("").is_for("cp.example.com"));
        assert!(proxy("localhost,ample.com").is_for("cp.example.com"));
        for exempt in ["*", "cp.example.com", "a, .Example.com", "example.com"] {
            assert!(!proxy(exempt).is_for("cp.example.com"), "{exempt}");
        }
    }
}

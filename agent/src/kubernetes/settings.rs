//! What an operator may set about Kubernetes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zen_proto::component::Component;

/// Settings of an agent whose state lies in Kubernetes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Where the agent's objects are. Default: the namespace of the pod's service account, or of
    /// the kubeconfig's context.
    pub namespace: Option<String>,
    /// The agent's own pod, which Events are about; from the downward API. Default: none, and no
    /// Events.
    pub pod_name: Option<String>,
    /// That pod's uid; from the downward API. With it, a container that is started again takes the
    /// lease of the one before at once.
    pub pod_uid: Option<String>,
    /// The Secret with the sealed bundle; default `zen-enrollment`.
    pub bundle_secret: String,
    /// The Secret with the age identity that opens it; default `zen-enrollment-key`.
    pub bundle_key_secret: String,
    /// How to reach the API server; default: as a pod of the cluster does.
    pub kubeconfig: Option<PathBuf>,
    /// How long an agent that is heard of no more keeps others waiting, 3 s to 5 min; default
    /// 15 s.
    #[serde(with = "humantime_serde")]
    pub lease_duration: Duration,
    /// Service accounts of the components in the agent's namespace.
    pub service_accounts: ServiceAccounts,
}

/// Which service account is which component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceAccounts {
    /// Default `zen-ingester`.
    pub ingester: String,
    /// Default `zen-egress`.
    pub egress: String,
    /// Default `zen-lock`.
    pub lock: String,
    /// Default `zen-bridge`.
    pub bridge: String,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            namespace: None,
            pod_name: None,
            pod_uid: None,
            bundle_secret: "zen-enrollment".to_owned(),
            bundle_key_secret: "zen-enrollment-key".to_owned(),
            kubeconfig: None,
            lease_duration: Duration::from_secs(15),
            service_accounts: ServiceAccounts::default(),
        }
    }
}

impl Default for ServiceAccounts {
    fn default() -> Self {
        let name = |component: Component| format!("zen-{}", component.as_str());
        Self {
            ingester: name(Component::Ingester),
            egress: name(Component::Egress),
            lock: name(Component::Lock),
            bridge: name(Component::Bridge),
        }
    }
}

impl ServiceAccounts {
    /// The component whose service account this is. Two components with one account would be able
    /// to pass for each other, so that is refused by [`KubernetesConfig::check`].
    pub(crate) fn component(&self, account: &str) -> Option<Component> {
        self.all()
            .into_iter()
            .find(|(_, name)| *name == account)
            .map(|(component, _)| component)
    }

    const fn all(&self) -> [(Component, &str); 4] {
        [
            (Component::Ingester, self.ingester.as_str()),
            (Component::Egress, self.egress.as_str()),
            (Component::Lock, self.lock.as_str()),
            (Component::Bridge, self.bridge.as_str()),
        ]
    }
}

const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(300);
/// Longest name of an object (a DNS subdomain).
const NAME: usize = 253;

impl KubernetesConfig {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            LEASE.contains(&self.lease_duration),
            "kubernetes.lease_duration: must be 3 s to 5 min"
        );
        anyhow::ensure!(
            self.bundle_secret != self.bundle_key_secret,
            "kubernetes.bundle_key_secret: must be another Secret than bundle_secret"
        );
        let given = [
            ("namespace", self.namespace.as_deref()),
            ("pod_name", self.pod_name.as_deref()),
            ("bundle_secret", Some(self.bundle_secret.as_str())),
            ("bundle_key_secret", Some(self.bundle_key_secret.as_str())),
        ];
        for (key, name) in given {
            anyhow::ensure!(
                name.is_none_or(is_name),
                "kubernetes.{key}: must be a name of Kubernetes: small letters, digits, - and ."
            );
        }
        let accounts = self.service_accounts.all();
        for (at, (component, name)) in accounts.iter().enumerate() {
            anyhow::ensure!(
                is_name(name),
                "kubernetes.service_accounts.{component}: must be a name of Kubernetes"
            );
            anyhow::ensure!(
                accounts[..at].iter().all(|(_, other)| other != name),
                "kubernetes.service_accounts.{component}: {name:?} is another component's already"
            );
        }
        Ok(())
    }
}

/// Names go into paths of requests: nothing but what Kubernetes allows in them.
fn is_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=NAME).contains(&name.len())
        && name.chars().all(inside)
        && name.starts_with(ends)
        && name.ends_with(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_reach_into_a_path_are_refused() {
        for wrong in ["", "a/b", "..", "A", "a?b", "a%2f", "-a", "a-"] {
            let config = KubernetesConfig {
                bundle_secret: wrong.to_owned(),
                ..KubernetesConfig::default()
            };
            assert!(config.check().is_err(), "{wrong:?}");
        }
        KubernetesConfig::default().check().unwrap();
    }

    #[test]
    fn one_service_account_is_one_component() {
        let mut config = KubernetesConfig::default();
        assert_eq!(
            config.service_accounts.component("zen-egress"),
            Some(Component::Egress)
        );
        assert_eq!(config.service_accounts.component("default"), None);
        config.service_accounts.lock = "zen-egress".to_owned();
        assert!(config.check().is_err());
    }
}

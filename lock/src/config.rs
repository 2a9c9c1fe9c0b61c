//! What an operator may set, with its bounds.

use std::path::PathBuf;

use anyhow::ensure;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::Address;
use zen_seal::Realm;

#[cfg(feature = "kubernetes")]
use crate::kubernetes::KubernetesConfig;

/// Users that may be allowed on the socket at the most.
const MOST_UIDS: usize = 64;
/// Writers that may be named at the most.
const MOST_WRITERS: usize = 64;
/// How a writer's public key begins.
const WRITER: &str = "zenwriter1";
/// The least that an audit log must hold.
const AUDIT_LEAST: ByteSize = ByteSize::kib(64);

/// zen-lock's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The agent next door, or null: no plane; `cluster` is required then.
    pub agent: Option<NeighbourSettings>,
    /// Folder of the audit log and the last good configuration; default `/var/lib/zen/lock`.
    pub state_dir: PathBuf,
    /// Where the plane's ingester and egress ask, `unix:/path` or `address:port` (mutual TLS);
    /// default `unix:/run/zen/lock.sock`.
    pub listen: Address,
    /// Users beside its own and root that may use the socket; default none.
    pub allowed_uids: Vec<u32>,
    /// Folder of age identities, one a file; default `/etc/zen/lock/identities`.
    pub identities_dir: PathBuf,
    /// File name of the identity for new seals; default: the last by name.
    pub active_identity: Option<String>,
    /// Folder of the plane's secrets, `<name>.age`; default none. A name that the control plane
    /// has too is taken from here.
    pub sealed_dir: Option<PathBuf>,
    /// Name of the cluster, whose secrets are opened beside those of the plane; default none.
    pub cluster: Option<String>,
    /// Public keys of the writers who are believed, `zenwriter1…`; none (the default): whoever has
    /// the recipient may write a secret.
    pub writers: Vec<String>,
    /// Who opened what.
    pub audit: AuditSettings,
    /// Secrets for pods of the cluster. Default: none.
    #[cfg(feature = "kubernetes")]
    pub kubernetes: Option<KubernetesConfig>,
}

/// The log of who opened what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// Size at which it is put aside as `audit.jsonl.1`, at least 64 KiB; default 64 MiB.
    pub max_size: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent: Some(NeighbourSettings::default()),
            state_dir: "/var/lib/zen/lock".into(),
            listen: Address::Unix("/run/zen/lock.sock".into()),
            allowed_uids: Vec::new(),
            identities_dir: "/etc/zen/lock/identities".into(),
            active_identity: None,
            sealed_dir: None,
            cluster: None,
            writers: Vec::new(),
            audit: AuditSettings::default(),
            #[cfg(feature = "kubernetes")]
            kubernetes: None,
        }
    }
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            max_size: ByteSize::mib(64),
        }
    }
}

impl Config {
    /// Refuses what cannot work, by the name of its key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.agent.is_some() || self.cluster.is_some(),
            "cluster: must name the cluster where there is no agent"
        );
        ensure!(
            self.agent.is_some() || matches!(self.listen, Address::Unix(_)),
            "listen: without an agent there is no certificate to show over TCP; use unix:/path"
        );
        ensure!(
            self.allowed_uids.len() <= MOST_UIDS,
            "allowed_uids: at most {MOST_UIDS} user ids"
        );
        ensure!(
            self.writers.len() <= MOST_WRITERS,
            "writers: at most {MOST_WRITERS} keys"
        );
        ensure!(
            self.writers.iter().all(|key| key.starts_with(WRITER)),
            "writers: a public key begins with {WRITER}"
        );
        ensure!(
            self.audit.max_size >= AUDIT_LEAST,
            "audit.max_size: {} is less than {AUDIT_LEAST}",
            self.audit.max_size
        );
        #[cfg(feature = "kubernetes")]
        if let Some(kubernetes) = &self.kubernetes {
            kubernetes.check()?;
        }
        self.cluster_realm().map(|_realm| ())
    }

    /// The realm of the cluster, if it has a name.
    pub(crate) fn cluster_realm(&self) -> anyhow::Result<Option<Realm>> {
        let Some(name) = &self.cluster else {
            return Ok(None);
        };
        let realm = format!("cluster:{name}").parse();
        realm.map(Some).map_err(|_not_a_name| {
            anyhow::anyhow!("cluster: {name:?} is no name (lower-case letters, digits, `-`, `.`)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        assert!(Config::default().check().is_ok());
        let alone = Config {
            agent: None,
            cluster: Some("home".to_owned()),
            ..Config::default()
        };
        assert!(alone.check().is_ok());
        let wrong = [
            (
                "cluster: ",
                Config {
                    cluster: None,
                    ..alone.clone()
                },
            ),
            (
                "cluster: ",
                Config {
                    cluster: Some("No Name".to_owned()),
                    ..Config::default()
                },
            ),
            (
                "listen: ",
                Config {
                    listen: Address::Tcp("0.0.0.0:7446".to_owned()),
                    ..alone
                },
            ),
            (
                "writers: ",
                Config {
                    writers: vec!["age1x".to_owned()],
                    ..Config::default()
                },
            ),
            (
                "audit.max_size: ",
                Config {
                    audit: AuditSettings {
                        max_size: ByteSize(1),
                    },
                    ..Config::default()
                },
            ),
        ];
        for (key, config) in wrong {
            let refused = config.check().unwrap_err().to_string();
            assert!(refused.starts_with(key), "{refused}");
        }
    }
}

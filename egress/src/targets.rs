//! The configuration as the delivery path needs it: targets and flows, looked up by id, parsed
//! once for each snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use prost::Message;
use tokio::sync::watch;
use zen_chassis::backoff::Backoff;
use zen_chassis::neighbour::Neighbour;
use zen_proto::agent::v1::Slice;
use zen_proto::ids::{FlowId, TargetId};
use zen_proto::limits;
use zen_proto::snapshot::v1::{self as snapshot, Snapshot, TargetAuth};

use crate::attempt::RetryRule;

/// Where deliveries go.
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) tenant_id: String,
    pub(crate) name: String,
    /// What is needed to call it, or why it cannot be called.
    pub(crate) reach: Result<Reach, String>,
    /// Time for one attempt.
    pub(crate) timeout: Duration,
    /// Attempts under way at once; nothing means the egress's default.
    pub(crate) concurrency: Option<usize>,
    pub(crate) signing_secrets: Vec<String>,
    pub(crate) auth: Option<TargetAuth>,
    /// Stands for the whole of its configuration: changes when anything of it does.
    pub(crate) fingerprint: u64,
}

/// What a connection to a target needs.
pub(crate) struct Reach {
    pub(crate) uri: Uri,
    pub(crate) allowed_networks: Arc<[IpNet]>,
    /// PEM of a private CA; empty means public roots.
    pub(crate) ca_pem: String,
}

/// One flow, as far as delivery is concerned.
pub(crate) struct Flow {
    pub(crate) tenant_id: String,
    pub(crate) enabled: bool,
    pub(crate) retry: RetryRule,
}

/// Every target and flow of the plane.
#[derive(Default)]
pub(crate) struct Directory {
    /// Whether there is any configuration at all yet.
    pub(crate) known: bool,
    targets: HashMap<TargetId, Arc<Target>>,
    flows: HashMap<FlowId, Arc<Flow>>,
}

impl Directory {
    /// Reads a snapshot. What has no usable id is left out, with a warning: nothing can name it.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let mut directory = Self {
            known: true,
            ..Self::default()
        };
        for target in &snapshot.targets {
            match Target::new(target) {
                Ok(target) => {
                    directory.targets.insert(target.id, Arc::new(target));
                }
                Err(error) => tracing::warn!(%error, "target left out"),
            }
        }
        for flow in &snapshot.flows {
            match flow.id.parse() {
                Ok(id) => {
                    directory.flows.insert(id, Arc::new(Flow::new(flow)));
                }
                Err(error) => tracing::warn!(%error, "flow left out"),
            }
        }
        directory
    }

    pub(crate) fn target(&self, id: TargetId) -> Option<&Arc<Target>> {
        self.targets.get(&id)
    }

    /// The targets of one tenant, or of all if it is empty, in the order of their ids.
    pub(crate) fn targets_of(&self, tenant_id: &str) -> Vec<&Arc<Target>> {
        let is_of = |target: &&Arc<Target>| tenant_id.is_empty() || target.tenant_id == tenant_id;
        let mut targets: Vec<_> = self.targets.values().filter(is_of).collect();
        targets.sort_unstable_by_key(|target| target.id);
        targets
    }

    pub(crate) fn flow(&self, id: FlowId) -> Option<&Arc<Flow>> {
        self.flows.get(&id)
    }
}

impl Target {
    fn new(target: &snapshot::Target) -> Result<Self, zen_proto::ids::IdError> {
        Ok(Self {
            id: target.id.parse()?,
            tenant_id: target.tenant_id.clone(),
            name: target.name.clone(),
            reach: Reach::new(target),
            timeout: match target.timeout_ms {
                0 => limits::ATTEMPT_TIMEOUT,
                ms => Duration::from_millis(ms.into()),
            },
            concurrency: usize::try_from(target.max_concurrency)
                .ok()
                .filter(|most| *most > 0),
            signing_secrets: target.signing_secrets.clone(),
            auth: target.auth.clone(),
            fingerprint: fingerprint(target),
        })
    }
}

impl Reach {
    fn new(target: &snapshot::Target) -> Result<Self, String> {
        // Parsed as browsers do, so that what is checked is what is called.
        let url = url::Url::parse(&target.url).map_err(|e| format!("url: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "url: the scheme {} is neither http nor https",
                url.scheme()
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url: it may hold no user or password".to_owned());
        }
        let uri = url
            .as_str()
            .parse()
            .map_err(|e: http::uri::InvalidUri| format!("url: {e}"))?;
        let allowed_networks = target
            .allowed_networks
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("allowed_networks: {text:?} is no CIDR"))
            })
            .collect::<Result<Vec<IpNet>, String>>()?
            .into();
        Ok(Self {
            uri,
            allowed_networks,
            ca_pem: target.ca_pem.clone(),
        })
    }
}

impl Flow {
    fn new(flow: &snapshot::Flow) -> Self {
        let policy = flow.retry.unwrap_or_default();
        let or = |ms: u32, default| {
            if ms == 0 {
                default
            } else {
                Duration::from_millis(ms.into())
            }
        };
        Self {
            tenant_id: flow.tenant_id.clone(),
            enabled: flow.enabled,
            retry: RetryRule {
                max_attempts: match policy.max_attempts {
                    0 => limits::MAX_ATTEMPTS,
                    most => most,
                },
                pauses: Backoff {
                    initial: or(policy.initial_backoff_ms, limits::INITIAL_BACKOFF),
                    max: or(policy.max_backoff_ms, limits::MAX_BACKOFF),
                },
            },
        }
    }
}

/// Keeps the directory in step with the slice.
pub(crate) async fn follow(
    mut slice: watch::Receiver<Option<Arc<Slice>>>,
    directory: watch::Sender<Arc<Directory>>,
) {
    loop {
        let read = Neighbour::snapshot(&slice.borrow_and_update()).map(Directory::new);
        if let Some(read) = read {
            directory.send_replace(Arc::new(read));
        }
        if slice.changed().await.is_err() {
            return;
        }
    }
}

fn fingerprint(target: &snapshot::Target) -> u64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &target.encode_to_vec());
    digest
        .as_ref()
        .iter()
        .take(8)
        .fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(url: &str) -> Result<Reach, String> {
        Reach::new(&snapshot::Target {
            url: url.to_owned(),
            ..snapshot::Target::default()
        })
    }

    #[test]
    fn only_plain_web_addresses_are_targets() {
        for url in [
            "http://a.example/x?y=1",
            "https://[::1]:8443/",
            "http://10.0.0.1",
        ] {
            assert!(reach(url).is_ok(), "{url}");
        }
        for url in [
            "ftp://a/",
            "file:///etc/passwd",
            "http://user:pw@a/",
            "",
            "/x",
            "http://",
        ] {
            assert!(reach(url).is_err(), "{url}");
        }
    }

    #[test]
    fn numbers_in_disguise_become_the_address_they_are() {
        assert_eq!(
            reach("http://0x7f.1/").unwrap().uri.host(),
            Some("127.0.0.1")
        );
        assert_eq!(
            reach("http://2130706433/").unwrap().uri.host(),
            Some("127.0.0.1")
        );
    }

    #[test]
    fn any_change_of_a_target_changes_its_fingerprint() {
        let one = snapshot::Target {
            name: "a".to_owned(),
            ..snapshot::Target::default()
        };
        let other = snapshot::Target {
            timeout_ms: 5,
            ..one.clone()
        };
        assert_eq!(fingerprint(&one), fingerprint(&one.clone()));
        assert_ne!(fingerprint(&one), fingerprint(&other));
    }

    #[test]
    fn zeros_in_a_flow_mean_the_defaults() {
        let flow = Flow::new(&snapshot::Flow::default());
        assert_eq!(flow.retry.max_attempts, 5);
        assert_eq!(flow.retry.pauses.initial, Duration::from_secs(1));
        assert_eq!(flow.retry.pauses.max, Duration::from_secs(60));
    }
}

//! What an operator may set about Kubernetes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::authority::Lives;
use super::inject::is_name;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest life of a certificate; for tests.
const SHORTEST: Duration = Duration::from_secs(10);
/// Between the making of an authority and its use by default.
const NOTICE: Duration = Duration::from_secs(600);

/// Settings of a zen-lock that serves pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Where the API server and pods ask, TLS by zen-lock's own authority; default `0.0.0.0:7447`.
    pub listen: SocketAddr,
    /// zen-lock's own namespace. Default: that of the pod's service account, or of the kubeconfig's
    /// context.
    pub namespace: Option<String>,
    /// Name of its Service, under which pods reach it; default `zen-lock`.
    pub service: String,
    /// Port of that Service for pods and webhooks; default 7447.
    pub port: u16,
    /// How to reach the API server; default: as a pod of the cluster does.
    pub kubeconfig: Option<PathBuf>,
    /// Image of the init container that is put into pods; required.
    pub image: String,
    /// User of that container where the pod names none or root, or null, which leaves it to the
    /// cluster (OpenShift); default 65532.
    pub run_as_user: Option<i64>,
    /// Name of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration whose CA
    /// bundle is kept; default `zen-lock`.
    pub webhook: String,
    /// The agent's service account in the same namespace, which may have bundles opened; default
    /// `zen-agent`.
    pub agent_service_account: String,
    /// Life of zen-lock's own authority; another follows at two thirds, and both are trusted until
    /// the older ends. Pods are given it when they are admitted, so it should outlive them; default
    /// 10 years.
    #[serde(with = "humantime_serde")]
    pub authority_validity: Duration,
    /// Life of the certificate it shows, renewed at half; default 30 days.
    #[serde(with = "humantime_serde")]
    pub certificate_validity: Duration,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 7447)),
            namespace: None,
            service: "zen-lock".to_owned(),
            port: 7447,
            kubeconfig: None,
            image: String::new(),
            run_as_user: Some(65532),
            webhook: "zen-lock".to_owned(),
            agent_service_account: "zen-agent".to_owned(),
            authority_validity: 3650 * DAY,
            certificate_validity: 30 * DAY,
        }
    }
}

impl KubernetesConfig {
    /// Refuses what cannot work, by the name of its key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.image.is_empty(),
            "kubernetes.image: must name the image of zen-lock, for the init containers of pods"
        );
        let names = [
            ("namespace", self.namespace.as_deref()),
            ("service", Some(self.service.as_str())),
            ("webhook", Some(self.webhook.as_str())),
            (
                "agent_service_account",
                Some(self.agent_service_account.as_str()),
            ),
        ];
        for (key, name) in names {
            ensure!(
                name.is_none_or(is_name),
                "kubernetes.{key}: must be a name of Kubernetes: small letters, digits, - and ."
            );
        }
        ensure!(
            self.certificate_validity >= SHORTEST,
            "kubernetes.certificate_validity: must be at least 10 s"
        );
        ensure!(
            self.authority_validity >= self.certificate_validity,
            "kubernetes.authority_validity: must be at least certificate_validity"
        );
        Ok(())
    }

    pub(super) fn lives(&self) -> Lives {
        Lives {
            authority: self.authority_validity,
            certificate: self.certificate_validity,
            notice: NOTICE.min(self.authority_validity / 10),
        }
    }
}

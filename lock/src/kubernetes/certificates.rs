//! Keeps zen-lock's authority where all of its replicas find it (a Secret of its own namespace),
//! shows the certificate in force, and tells the API server and the agent whom to trust.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use zen_chassis::chain::Chain;
use zen_chassis::ready::Condition;
use zen_chassis::{Clock, Random, Stage};

use super::authority::{Authorities, AuthorityError, Lives};
use super::cluster::{
    APPLY, ApiError, Cluster, MERGE, MUTATING, STEPS, Trouble, VALIDATING, config_map_path,
    secret_path,
};
use super::settings::KubernetesConfig;

/// The Secret of the authority and its key; the ConfigMap for the agent.
pub(super) const SECRET: &str = "zen-lock-authority";
const KEY: &str = "authority.json";
pub(super) const CONFIG_MAP: &str = "zen-lock-ca";
/// Pause between looks.
const LOOK: Duration = Duration::from_secs(5);
/// The same until everything is in place for the first time.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// What is in force. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Shown(Arc<ArcSwapOption<Certificates>>);

struct Certificates {
    /// By the authority's id.
    by_id: HashMap<String, Arc<CertifiedKey>>,
    current: Arc<CertifiedKey>,
    current_ca_pem: String,
}

impl Shown {
    /// The authority that pods are given, PEM; none before the first.
    pub(super) fn ca_pem(&self) -> Option<String> {
        let now = self.0.load();
        now.as_ref().map(|now| now.current_ca_pem.clone())
    }

    /// TLS 1.3 with whatever certificate is in force at each handshake.
    pub(super) fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn show(&self, all: &Authorities, now_ms: u64, lives: Lives) -> Result<(), AuthorityError> {
        let Some(current) = all.current(now_ms, lives) else {
            return Ok(());
        };
        let provider = aws_lc_rs::default_provider();
        let mut by_id = HashMap::new();
        for one in all.all() {
            let (certificate, key) = one.shown()?;
            let chain = vec![certificate];
            let certified = CertifiedKey::from_der(chain, key, &provider);
            by_id.insert(one.id()?, Arc::new(certified.map_err(AuthorityError::Key)?));
        }
        let Some(certified) = by_id.get(&current.id()?).cloned() else {
            return Ok(());
        };
        self.0.store(Some(Arc::new(Certificates {
            by_id,
            current: certified,
            current_ca_pem: current.ca_pem().to_owned(),
        })));
        Ok(())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = self.0.load();
        let now = now.as_ref()?;
        let id = hello.server_name().and_then(|name| name.split('.').next());
        let special = id.and_then(|id| now.by_id.get(id));
        Some(Arc::clone(special.unwrap_or(&now.current)))
    }
}

/// Keeps all of it as it should be.
pub(super) struct Keeper {
    cluster: Cluster,
    shown: Shown,
    hosts: Vec<String>,
    webhook: String,
    lives: Lives,
    clock: Clock,
    random: Random,
    condition: Condition,
}

impl Keeper {
    pub(super) fn new(
        cluster: &Cluster,
        shown: &Shown,
        settings: &KubernetesConfig,
        stage: &Stage,
        condition: Condition,
    ) -> Self {
        let (service, namespace) = (&settings.service, &cluster.namespace);
        let mut hosts: Vec<_> = [".svc", ".svc.cluster.local", ""]
            .iter()
            .map(|end| format!("{service}.{namespace}{end}"))
            .collect();
        // Where names of the cluster mean nothing.
        hosts.push("localhost".to_owned());
        Self {
            cluster: cluster.clone(),
            shown: shown.clone(),
            hosts,
            webhook: settings.webhook.clone(),
            lives: settings.lives(),
            clock: stage.clock.clone(),
            random: stage.random.clone(),
            condition,
        }
    }

    /// Looks again and again until shutdown.
    pub(super) async fn keep(self, stage: Stage) -> anyhow::Result<()> {
        let mut troubles: [Trouble; 4] = Default::default();
        let mut complete = false;
        loop {
            let looked = self.look(&mut troubles);
            let Some(done) = stage.shutdown.run_until_cancelled(looked).await else {
                return Ok(());
            };
            if done && !complete {
                complete = true;
                self.condition.ready();
            }
            let pause = if complete { LOOK } else { FIRST_LOOK };
            tokio::select! {
                () = stage.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look; whether everything is in place.
    async fn look(&self, troubles: &mut [Trouble; 4]) -> bool {
        let [authority, mutating, validating, config_map] = troubles;
        let kept = self.authorities().await;
        let Some(all) = authority.note("keep the authority", kept).flatten() else {
            return false;
        };
        if let Err(error) = self.shown.show(&all, self.clock.unix_ms(), self.lives) {
            tracing::error!(error = %Chain(&error), "the stored authority cannot be used: delete Secret {SECRET}");
            return false;
        }
        let bundle = all.bundle_pem();
        let trusted = self.trusted(MUTATING, &bundle).await;
        let mutating = mutating.note("patch the CA bundle", trusted);
        let trusted = self.trusted(VALIDATING, &bundle).await;
        let validating = validating.note("patch the CA bundle", trusted);
        let published = self.publish(&bundle).await;
        let published = config_map.note("publish the authority", published);
        mutating.is_some() && validating.is_some() && published.is_some()
    }

    /// What all replicas go by; nothing if another wrote in between, which the next look shows.
    async fn authorities(&self) -> Result<Option<Authorities>, ApiError> {
        let path = secret_path(&self.cluster.namespace, SECRET);
        let stored = self.cluster.get(&path).await?;
        let held = stored.as_ref().and_then(held);
        let before = held.clone().unwrap_or_default();
        let now_ms = self.clock.unix_ms();
        let renewed = before.renewed(&self.hosts, now_ms, self.lives);
        let renewed = match renewed {
            Ok(Some(renewed)) => renewed,
            Ok(None) => return Ok(held),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "authority cannot be renewed");
                return Ok(held);
            }
        };
        let text = serde_json::to_vec(&renewed).unwrap_or_default();
        let data = json!({ KEY: STANDARD.encode(text) });
        let version = stored
            .as_ref()
            .map(|s| s["metadata"]["resourceVersion"].clone());
        let written = match version {
            Some(version) => {
                let patch = json!({ "metadata": { "resourceVersion": version }, "data": data });
                self.cluster.patch(&path, MERGE, &patch).await
            }
            None => {
                let manager = format!("zen-lock-{}", hex::encode(self.random.bytes::<6>()));
                let object = json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                    "metadata": { "name": SECRET, "namespace": self.cluster.namespace },
                    "data": data,
                });
                self.cluster.make(&path, &manager, &object).await
            }
        };
        match written {
            Ok(_) => {
                tracing::info!("authority or certificate renewed");
                Ok(Some(renewed))
            }
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the API server trust the bundle in a webhook configuration; one that is not there is
    /// the operator's choice.
    async fn trusted(&self, list: &str, bundle: &str) -> Result<(), ApiError> {
        let path = format!("{list}/{}", self.webhook);
        let Some(configuration) = self.cluster.get(&path).await? else {
            return Ok(());
        };
        let wanted = Value::from(STANDARD.encode(bundle));
        let webhooks = configuration["webhooks"].as_array();
        let stale = webhooks.into_iter().flatten().enumerate();
        let stale = stale.filter(|(_, webhook)| webhook["clientConfig"]["caBundle"] != wanted);
        let mut steps: Vec<_> = stale
            .map(|(place, _)| {
                let path = format!("/webhooks/{place}/clientConfig/caBundle");
                json!({ "op": "add", "path": path, "value": wanted })
            })
            .collect();
        if steps.is_empty() {
            return Ok(());
        }
        let version = &configuration["metadata"]["resourceVersion"];
        let test = json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version });
        steps.insert(0, test);
        match self.cluster.patch(&path, STEPS, &steps.into()).await {
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    async fn publish(&self, bundle: &str) -> Result<(), ApiError> {
        let path = config_map_path(&self.cluster.namespace, CONFIG_MAP);
        let there = self.cluster.get(&path).await?;
        if there.is_some_and(|there| there["data"]["ca.pem"] == *bundle) {
            return Ok(());
        }
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": CONFIG_MAP, "namespace": self.cluster.namespace },
            "data": { "ca.pem": bundle },
        });
        self.cluster.patch(&path, APPLY, &object).await.map(|_| ())
    }
}

/// What a Secret holds; nothing if it is not ours to read.
fn held(secret: &Value) -> Option<Authorities> {
    let encoded = secret.pointer(&format!("/data/{KEY}"))?.as_str()?;
    serde_json::from_slice(&STANDARD.decode(encoded).ok()?).ok()
}

//! Writes on every ZenLock whether it opens and why not, and seals it again when there is a newer key.
//!
//! Each replica does all of it: what is right is the same for both, a status is written only where it
//! differs, and a secret is exchanged only if nobody else wrote in between. So none needs to lead.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use zen_chassis::chain::Chain;
use zen_chassis::{Clock, Stage};
use zen_proto::codes::SecretCode;
use zen_seal::{Realm, Recipient, Unsealed, reseal};

use super::cluster::{ApiError, Cluster, MERGE, STEPS, zenlock_path};
use super::zenlocks;
use crate::core::Core;
use crate::keyring::Identities;

/// Everything is looked at anew after this long, whatever the watch says.
const AGAIN: Duration = Duration::from_secs(600);
/// Pause after the watch broke.
const PAUSE: Duration = Duration::from_secs(2);
/// Of the one condition.
const OPENED: &str = "Opened";

/// How a ZenLock was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Current,
    OldKey,
    Unopened,
}

type All = Arc<Mutex<HashMap<(String, String), Found>>>;

/// Keeps every ZenLock's status, and its seal.
pub(super) struct Controller {
    core: Core,
    cluster: Cluster,
    clock: Clock,
    all: All,
    keys: watch::Receiver<Arc<Identities>>,
    realms: watch::Receiver<Vec<Realm>>,
}

impl Controller {
    pub(super) fn new(core: &Core, cluster: &Cluster, stage: &Stage) -> Self {
        let all = All::default();
        observe(&stage.meter, &all);
        Self {
            core: core.clone(),
            cluster: cluster.clone(),
            clock: stage.clock.clone(),
            all,
            keys: core.opener.keyring().watch(),
            realms: core.realms.clone(),
        }
    }

    /// Works until shutdown.
    pub(super) async fn keep(mut self, stage: Stage) -> anyhow::Result<()> {
        loop {
            let (mut keys, mut realms) = (self.keys.clone(), self.realms.clone());
            keys.mark_unchanged();
            realms.mark_unchanged();
            tokio::select! {
                () = stage.shutdown.cancelled() => return Ok(()),
                // Another key or realm: all of them are judged anew.
                Ok(()) = keys.changed() => {}
                Ok(()) = realms.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
                () = self.follow() => {}
            }
        }
    }

    /// Looks at every ZenLock there is and at each that changes, until the watch breaks.
    async fn follow(&mut self) {
        let kind = GroupVersionKind::gvk("security.zen-mesh.io", "v1", "ZenLock");
        let resource = ApiResource::from_gvk_with_plural(&kind, "zenlocks");
        let api: Api<DynamicObject> = Api::all_with(self.cluster.client(), &resource);
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => self.all.lock().clear(),
                Ok(Event::InitApply(object) | Event::Apply(object)) => self.look(&object).await,
                Ok(Event::Delete(object)) => {
                    self.all.lock().remove(&key(&object));
                }
                Ok(Event::InitDone) => {}
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "ZenLocks are not watched");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }

    async fn look(&self, object: &DynamicObject) {
        let (namespace, name) = key(object);
        let Ok(zenlock) = serde_json::to_value(object) else {
            return;
        };
        let core = self.core.clone();
        let (n, m, found) = (namespace.clone(), name.clone(), zenlock.clone());
        let work = move || zenlocks::open(&core, &n, &m, &found);
        let Some(opened) = self.core.pool.run(work).await else {
            return;
        };
        let active = self.core.opener.keyring().now().active();
        let found = judged(&opened, active.as_ref());
        self.all.lock().insert(key(object), found);
        let done = match (found, active) {
            // The status follows with the event of the change.
            (Found::OldKey, Some(active)) => self.seal_again(&zenlock, active).await,
            _ => self.tell(&zenlock, &opened).await,
        };
        match done {
            Ok(()) => {}
            // Another replica was quicker; its change comes as an event.
            Err(error) if error.is_conflict() => {}
            Err(error) => {
                tracing::warn!(namespace, name, error = %Chain(&error), "ZenLock not written");
            }
        }
    }

    async fn seal_again(&self, zenlock: &Value, active: Recipient) -> Result<(), ApiError> {
        let identities = self.core.opener.keyring().now();
        let (sealed, now_ms) = (zenlocks::sealed(zenlock).to_owned(), self.clock.unix_ms());
        let work = move || reseal(sealed.as_bytes(), identities.all(), &[active], now_ms);
        let again = match self.core.pool.run(work).await {
            Some(Ok(again)) => again,
            Some(Err(error)) => {
                tracing::error!(error = %Chain(&error), "ZenLock not sealed again");
                self.core.metrics.resealed("failed");
                return Ok(());
            }
            None => return Ok(()),
        };
        let version = &zenlock["metadata"]["resourceVersion"];
        let steps = json!([
            { "op": "test", "path": "/metadata/resourceVersion", "value": version },
            { "op": "replace", "path": "/spec/sealed", "value": again },
        ]);
        let path = path(zenlock);
        let patched = self.cluster.patch(&path, STEPS, &steps).await;
        if patched.is_ok() {
            self.core.metrics.resealed("sent");
        }
        patched.map(|_| ())
    }

    async fn tell(
        &self,
        zenlock: &Value,
        opened: &Result<Unsealed, SecretCode>,
    ) -> Result<(), ApiError> {
        let status = status(zenlock, opened, &stamp(self.clock.unix_ms()));
        if zenlock["status"] == status {
            return Ok(());
        }
        let path = format!("{}/status", path(zenlock));
        // What is not said any more must go.
        let mut patch = status;
        for old in zenlock["status"].as_object().into_iter().flatten() {
            if patch.get(old.0).is_none() {
                patch[old.0.as_str()] = Value::Null;
            }
        }
        let patch = json!({ "status": patch });
        self.cluster.patch(&path, MERGE, &patch).await.map(|_| ())
    }
}

fn judged(opened: &Result<Unsealed, SecretCode>, active: Option<&Recipient>) -> Found {
    match opened {
        Err(_) => Found::Unopened,
        Ok(opened) => {
            let active = active.map(Recipient::key_id);
            let current = opened
                .seal
                .key_ids
                .iter()
                .all(|id| Some(id) == active.as_ref());
            if current {
                Found::Current
            } else {
                Found::OldKey
            }
        }
    }
}

/// What people are told. The moment of the condition stays while its status does.
fn status(zenlock: &Value, opened: &Result<Unsealed, SecretCode>, now: &str) -> Value {
    let generation = &zenlock["metadata"]["generation"];
    let (word, reason, message) = match opened {
        Ok(opened) if opened.secret.service_accounts.is_empty() => (
            "True",
            "Opened",
            "names no service account, so that no pod may have it",
        ),
        Ok(_) => ("True", "Opened", "pods of its service accounts may have it"),
        Err(code) => ("False", code.code(), code.remedy()),
    };
    let before = zenlock.pointer("/status/conditions/0");
    let since = before
        .filter(|before| before["status"] == word)
        .and_then(|before| before["lastTransitionTime"].as_str())
        .unwrap_or(now);
    let mut status = json!({
        "observedGeneration": generation,
        "conditions": [{
            "type": OPENED,
            "status": word,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }],
    });
    if let Ok(opened) = opened {
        let secret = &opened.secret;
        status["version"] = secret.version.clone().into();
        status["keys"] = secret.values.keys().cloned().collect();
        status["keyIds"] = opened.seal.key_ids.clone().into();
        status["serviceAccounts"] = secret.service_accounts.clone().into();
        status["sealedAt"] = stamp(opened.seal.sealed_at_ms).into();
        if let Some(writer) = &opened.writer {
            status["writer"] = writer.key().into();
        }
    }
    status
}

fn stamp(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or_default();
    let moment = OffsetDateTime::from_unix_timestamp(seconds);
    let moment = moment.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

fn key(object: &DynamicObject) -> (String, String) {
    let metadata = &object.metadata;
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    (text(&metadata.namespace), text(&metadata.name))
}

fn path(zenlock: &Value) -> String {
    let text = |key: &str| zenlock["metadata"][key].as_str().unwrap_or_default();
    zenlock_path(text("namespace"), text("name"))
}

fn observe(meter: &Meter, all: &All) {
    let gauge = |name: &'static str, text: &'static str, found: Option<Found>| {
        let all = all.clone();
        meter
            .u64_observable_gauge(name)
            .with_description(text)
            .with_callback(move |gauge| {
                let all = all.lock();
                let counted = all.values().filter(|one| found.is_none_or(|f| f == **one));
                gauge.observe(counted.count() as u64, &[]);
            })
            .build();
    };
    gauge("zen_lock_zenlocks", "ZenLocks of the cluster", None);
    gauge(
        "zen_lock_zenlocks_unopened",
        "ZenLocks that do not open",
        Some(Found::Unopened),
    );
    gauge(
        "zen_lock_zenlocks_reseal_pending",
        "ZenLocks still to be sealed for the newest key",
        Some(Found::OldKey),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_moment_while_its_status_stays() {
        let before = json!({
            "metadata": { "generation": 2 },
            "status": { "conditions": [{ "status": "False", "lastTransitionTime": "then" }] },
        });
        let still = status(&before, &Err(SecretCode::Damaged), "now");
        assert_eq!(still["conditions"][0]["lastTransitionTime"], "then");
        assert_eq!(still["conditions"][0]["reason"], "SECRET_DAMAGED");
        let first = status(&json!({}), &Err(SecretCode::Damaged), "now");
        assert_eq!(first["conditions"][0]["lastTransitionTime"], "now");
    }
}

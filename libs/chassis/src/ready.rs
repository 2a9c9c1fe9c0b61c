//! Readiness as named conditions. A component takes a condition for each thing that must hold
//! before it serves; `/readyz` lists those that do not, with their reasons.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The conditions of one component. Cheap to clone.
#[derive(Clone)]
pub struct Readiness(Arc<watch::Sender<BTreeMap<String, String>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Readiness {
    /// A new condition that does not hold yet, for `reason`. It belongs to whoever keeps it; if it
    /// is dropped it no longer counts.
    #[must_use]
    pub fn condition(&self, name: &str, reason: &str) -> Condition {
        let condition = Condition {
            name: name.to_owned(),
            all: self.clone(),
        };
        condition.not_ready(reason);
        condition
    }

    /// What does not hold yet: name and reason, sorted by name.
    #[must_use]
    pub fn pending(&self) -> Vec<(String, String)> {
        self.0
            .borrow()
            .iter()
            .map(|(name, reason)| (name.clone(), reason.clone()))
            .collect()
    }

    /// Whether every condition holds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Wakes at every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.0.subscribe()
    }

    /// Waits until every condition holds.
    pub async fn wait(&self) {
        let mut changes = self.changes();
        // The sender lives in `self`, so waiting cannot fail while we are here.
        let _held = changes.wait_for(BTreeMap::is_empty).await;
    }
}

/// One thing that must hold. May be taken back and given again.
pub struct Condition {
    name: String,
    all: Readiness,
}

impl Condition {
    /// It holds.
    pub fn ready(&self) {
        self.all
            .0
            .send_if_modified(|pending| pending.remove(&self.name).is_some());
    }

    /// It does not hold, for `reason`: one line, a stable code first where there is one.
    pub fn not_ready(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.all.0.send_if_modified(|pending| {
            pending.insert(self.name.clone(), reason.clone()).as_deref() != Some(&*reason)
        });
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.ready();
    }
}

//! A plane's zen-lock as the API shows it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::lock::{self, Lock};

/// A plane's zen-lock: its keys, and what is sealed to which.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LockView {
    /// age public keys it opens with, the one for new seals first.
    pub(crate) recipients: Vec<String>,
    /// Secrets that open, by the key they are sealed to.
    pub(crate) usage: Vec<LockKeyView>,
    /// Secrets that do not open, at most 100.
    pub(crate) unopened: Vec<UnopenedView>,
    /// Secrets still to be sealed to the newest key.
    pub(crate) to_reseal: u32,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LockKeyView {
    pub(crate) key_id: String,
    pub(crate) secrets: u32,
}

/// A secret that does not open.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UnopenedView {
    pub(crate) name: String,
    pub(crate) code: String,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

impl From<Lock> for LockView {
    fn from(lock: Lock) -> Self {
        let unopened = lock.unopened.into_iter().map(|secret| UnopenedView {
            remedy: lock::remedy(&secret.code),
            name: secret.name,
            code: secret.code,
        });
        let usage = lock.usage.into_iter().map(|used| LockKeyView {
            key_id: used.key_id,
            secrets: used.secrets,
        });
        Self {
            recipients: lock.recipients,
            usage: usage.collect(),
            unopened: unopened.collect(),
            to_reseal: lock.to_reseal,
        }
    }
}

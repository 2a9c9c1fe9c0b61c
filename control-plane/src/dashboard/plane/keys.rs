//! The keys of a plane's zen-lock: what is sealed to which, how far sealing again is, and what does
//! not open.

use crate::dashboard::parts::{Pill, Tone, grouped};
use crate::manage::LockView;
use crate::secret::key_ids;

/// zen-lock as the plane's page shows it.
pub(super) struct Keys {
    pub(super) keys: Vec<Key>,
    pub(super) unopened: Vec<Unopened>,
    /// Secrets that open.
    pub(super) opened: u64,
    /// Of these, still to be sealed to the newest key.
    pub(super) to_reseal: u64,
    /// Those that are.
    pub(super) resealed: u64,
    pub(super) progress: String,
}

/// One key.
pub(super) struct Key {
    pub(super) id: String,
    /// The public half; empty if zen-lock does not tell it.
    pub(super) recipient: String,
    pub(super) pill: Pill,
    pub(super) secrets: String,
}

/// A secret that does not open.
pub(super) struct Unopened {
    pub(super) name: String,
    pub(super) code: String,
    pub(super) remedy: &'static str,
}

/// The keys that zen-lock holds, then those that secrets are sealed to besides.
pub(super) fn of(lock: &LockView) -> Keys {
    let secrets = |id: &str| {
        let found = lock.usage.iter().find(|used| used.key_id == id);
        grouped(found.map_or(0, |used| u64::from(used.secrets)))
    };
    let mut keys: Vec<Key> = Vec::new();
    for (place, recipient) in lock.recipients.iter().enumerate() {
        let id = key_ids(std::slice::from_ref(recipient)).concat();
        let pill = match place {
            0 => Pill::new(Tone::Ok, "For new seals"),
            _ => Pill::new(Tone::Idle, "Opens only"),
        };
        let secrets = secrets(&id);
        let recipient = recipient.clone();
        keys.push(Key {
            id,
            recipient,
            pill,
            secrets,
        });
    }
    for used in &lock.usage {
        if !keys.iter().any(|key| key.id == used.key_id) {
            keys.push(Key {
                id: used.key_id.clone(),
                recipient: String::new(),
                pill: Pill::new(Tone::Warn, "Not told"),
                secrets: grouped(u64::from(used.secrets)),
            });
        }
    }
    let opened: u64 = lock.usage.iter().map(|used| u64::from(used.secrets)).sum();
    let to_reseal = u64::from(lock.to_reseal);
    let resealed = opened.saturating_sub(to_reseal);
    Keys {
        keys,
        unopened: lock
            .unopened
            .iter()
            .map(|secret| Unopened {
                name: secret.name.clone(),
                code: secret.code.clone(),
                remedy: secret.remedy,
            })
            .collect(),
        progress: format!("{} of {}", grouped(resealed), grouped(opened)),
        opened,
        to_reseal,
        resealed,
    }
}

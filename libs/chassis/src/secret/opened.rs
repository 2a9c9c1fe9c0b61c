//! What zen-lock opened, in memory alone: looked up by whoever uses it, filled and emptied by one
//! task, the [`LockClient`](super::LockClient).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::watch;
use zen_proto::codes::SecretCode;
use zen_proto::purpose::Purpose;

use super::{Secret, SecretRef};

/// A value that a component's configuration names, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wanted {
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) purpose: Purpose,
}

impl Wanted {
    /// What a reference wants of zen-lock; nothing if it names a file, or nothing at all.
    #[must_use]
    pub fn parse(reference: &str, purpose: Purpose) -> Option<Self> {
        match reference.parse().ok()? {
            SecretRef::File(_) => None,
            parsed @ SecretRef::Lock { .. } => Some(Self::of(&parsed, purpose)),
        }
    }

    pub(super) fn of(reference: &SecretRef, purpose: Purpose) -> Self {
        let (name, key) = match reference {
            SecretRef::File(name) => (name.clone(), None),
            SecretRef::Lock { name, key } => (name.clone(), key.clone()),
        };
        Self { name, key, purpose }
    }

    fn reference(&self) -> SecretRef {
        SecretRef::Lock {
            name: self.name.clone(),
            key: self.key.clone(),
        }
    }
}

/// What is known of one value.
#[derive(Default)]
struct Slot {
    /// The value and its version, as last opened.
    held: Option<(Secret, String)>,
    /// What zen-lock said last, if it was not the value.
    refused: Option<SecretCode>,
}

/// The values. Clones are the same values.
#[derive(Clone)]
pub struct Opened(Arc<Shared>);

struct Shared {
    slots: RwLock<HashMap<Wanted, Slot>>,
    /// Counts the changes.
    generation: watch::Sender<u64>,
    /// Whether everything that was wanted was asked for once.
    asked: watch::Sender<bool>,
}

impl Default for Opened {
    fn default() -> Self {
        Self(Arc::new(Shared {
            slots: RwLock::default(),
            generation: watch::Sender::new(0),
            asked: watch::Sender::new(false),
        }))
    }
}

impl Opened {
    /// A value as it was opened last.
    ///
    /// # Errors
    /// What zen-lock said instead; [`SecretCode::LockUnreachable`] before it said anything.
    pub fn get(&self, wanted: &Wanted) -> Result<Secret, SecretCode> {
        let slots = self.0.slots.read();
        match slots.get(wanted) {
            Some(Slot {
                held: Some((secret, _)),
                ..
            }) => Ok(secret.clone()),
            Some(slot) => Err(slot.refused.unwrap_or(SecretCode::LockUnreachable)),
            None => Err(SecretCode::LockUnreachable),
        }
    }

    /// To wait for a value that came, changed or went.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Waits until everything that was wanted was asked for once.
    pub async fn asked_once(&self) {
        // The sender lives in `self`.
        let mut asked = self.0.asked.subscribe();
        let _held = asked.wait_for(|asked| *asked).await;
    }

    /// For `/debug/state`: references, purposes, codes; no value.
    #[must_use]
    pub fn view(&self) -> serde_json::Value {
        let slots = self.0.slots.read();
        let mut all: Vec<_> = slots.iter().collect();
        all.sort_unstable_by_key(|(wanted, _)| *wanted);
        let view = |(wanted, slot): (&Wanted, &Slot)| {
            json!({
                "secret": wanted.reference().to_string(),
                "purpose": wanted.purpose.as_str(),
                "held": slot.held.as_ref().map(|(_, version)| version),
                "code": slot.refused.map(SecretCode::code),
            })
        };
        all.into_iter().map(view).collect()
    }

    /// Drops every value that is not wanted any more.
    pub(super) fn keep_only(&self, wanted: &HashSet<Wanted>) {
        let before = {
            let mut slots = self.0.slots.write();
            let before = slots.len();
            slots.retain(|held, _| wanted.contains(held));
            before - slots.len()
        };
        if before > 0 {
            self.changed();
        }
    }

    /// The version that is held.
    pub(super) fn version(&self, wanted: &Wanted) -> Option<String> {
        let slots = self.0.slots.read();
        let (_, version) = slots.get(wanted)?.held.as_ref()?;
        Some(version.clone())
    }

    /// What zen-lock said last, if it was not the value.
    pub(super) fn refused(&self, wanted: &Wanted) -> Option<SecretCode> {
        self.0.slots.read().get(wanted)?.refused
    }

    /// zen-lock opened it: with another value, or with the one that is held.
    pub(super) fn open(&self, wanted: &Wanted, new: Option<(Secret, String)>) {
        let changed = {
            let mut slots = self.0.slots.write();
            let slot = slots.entry(wanted.clone()).or_default();
            slot.refused = None;
            let changed = new.is_some();
            if changed {
                slot.held = new;
            }
            changed
        };
        if changed {
            self.changed();
        }
    }

    /// zen-lock said no, or nothing. A secret that is gone, or not allowed any more, is dropped at
    /// once; one that does not open any more, or cannot be asked for, stays as it was opened last.
    pub(super) fn refuse(&self, wanted: &Wanted, code: SecretCode) {
        let gone = matches!(
            code,
            SecretCode::Unknown | SecretCode::KeyUnknown | SecretCode::NotAllowed
        );
        let changed = {
            let mut slots = self.0.slots.write();
            let slot = slots.entry(wanted.clone()).or_default();
            let news = slot.refused.replace(code) != Some(code);
            let dropped = gone && slot.held.take().is_some();
            dropped || (news && slot.held.is_none())
        };
        if changed {
            self.changed();
        }
    }

    /// Everything was asked for.
    pub(super) fn asked(&self) {
        self.0
            .asked
            .send_if_modified(|asked| !std::mem::replace(asked, true));
    }

    fn changed(&self) {
        self.0.generation.send_modify(|generation| *generation += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(reference: &str) -> Wanted {
        Wanted::parse(reference, Purpose::TargetAuth).unwrap()
    }

    fn value(text: &str) -> Option<(Secret, String)> {
        Some((
            text.as_bytes().to_vec().into(),
            format!("version of {text}"),
        ))
    }

    #[test]
    fn what_is_not_wanted_any_more_is_gone_from_memory() {
        let opened = Opened::default();
        let (kept, dropped) = (wanted("lock:kept"), wanted("lock:dropped/key"));
        opened.open(&kept, value("a"));
        opened.open(&dropped, value("b"));
        let bytes = Arc::downgrade(&opened.get(&dropped).unwrap_or_else(|_| panic!()).0);
        assert!(bytes.upgrade().is_some());
        let mut changes = opened.changes();
        opened.keep_only(&HashSet::from([kept.clone()]));
        // Nobody holds the bytes: they were wiped as they were given back.
        assert!(bytes.upgrade().is_none());
        assert_eq!(
            opened.get(&dropped).err(),
            Some(SecretCode::LockUnreachable)
        );
        assert!(opened.get(&kept).is_ok() && changes.has_changed().unwrap());
        changes.mark_unchanged();
        opened.keep_only(&HashSet::from([kept]));
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn a_value_for_one_purpose_is_not_had_for_another() {
        let opened = Opened::default();
        opened.open(&wanted("lock:a"), value("a"));
        let other = Wanted::parse("lock:a", Purpose::TargetSigning).unwrap();
        assert!(opened.get(&other).is_err());
        assert!(opened.get(&wanted("lock:a/key")).is_err());
    }

    #[test]
    fn what_is_held_outlives_a_zen_lock_that_is_away_and_not_one_that_says_no() {
        let away = [
            SecretCode::LockUnreachable,
            SecretCode::NoIdentity,
            SecretCode::WrongRecipient,
            SecretCode::Damaged,
            SecretCode::CallerUnknown,
        ];
        let no = [
            SecretCode::Unknown,
            SecretCode::KeyUnknown,
            SecretCode::NotAllowed,
        ];
        for (codes, stays) in [(away.as_slice(), true), (no.as_slice(), false)] {
            for code in codes {
                let opened = Opened::default();
                let wanted = wanted("lock:a");
                opened.open(&wanted, value("a"));
                opened.refuse(&wanted, *code);
                assert_eq!(opened.get(&wanted).is_ok(), stays, "{code}");
                assert_eq!(opened.refused(&wanted), Some(*code));
                assert_eq!(opened.version(&wanted).is_some(), stays);
                // Opened again, and unchanged.
                opened.open(&wanted, None);
                assert_eq!(opened.refused(&wanted), None);
            }
        }
    }

    #[test]
    fn no_value_is_shown() {
        let opened = Opened::default();
        opened.open(&wanted("lock:a"), value("plain"));
        opened.refuse(&wanted("lock:b"), SecretCode::Unknown);
        let view = opened.view();
        assert_eq!(view[0]["held"], "version of plain");
        assert_eq!(view[1]["code"], "SECRET_UNKNOWN");
        assert!(!view.to_string().contains("\"plain\""));
    }
}

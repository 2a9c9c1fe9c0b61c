//! What a plane's zen-lock says of its keys and of the secrets it serves, and what that means for
//! one secret. Pure.

use std::collections::BTreeSet;

use zen_proto::codes::SecretCode;
use zen_proto::component::Component;
use zen_proto::limits;
use zen_proto::session::v1::{ComponentStatus, KeyUsage, LockStatus, UnopenedSecret};
use zen_seal::Recipient;

use crate::plane::Report;
use crate::secret::is_name;

/// Keys that one zen-lock is heard of at the most.
const KEYS: usize = 64;
/// Secrets that do not open that are told of at the most; beyond them, nothing is known.
const UNOPENED: usize = 100;
/// Longest code and key id.
const WORD: usize = 64;
/// Time in which a changed secret is known to zen-lock or not, Unix milliseconds.
const SETTLING: u64 = 60_000;

/// What is known of a plane's zen-lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock {
    /// age public keys it opens with, the one for new seals first.
    pub(crate) recipients: Vec<String>,
    /// Secrets that open, by key.
    pub(crate) usage: Vec<KeyUsage>,
    /// Secrets that do not, each with a code.
    pub(crate) unopened: Vec<UnopenedSecret>,
    /// Secrets still to be sealed to the newest key.
    pub(crate) to_reseal: u32,
    /// The configuration that it has.
    applied_revision: u64,
}

/// Whether a secret opens in its plane, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// zen-lock opens it.
    Opens,
    /// zen-lock cannot open it: a code of [`SecretCode`].
    Unopened(String),
    /// zen-lock has not been heard of since the secret was stored.
    Waiting,
    /// Nothing is known: no zen-lock, or no session.
    Unknown,
}

/// What is asked about one secret.
pub(crate) struct Asked<'a> {
    pub(crate) name: &'a str,
    pub(crate) recipients: &'a [String],
    pub(crate) updated_at: u64,
    /// The revision that was last published to the plane.
    pub(crate) published_revision: u64,
    pub(crate) last_heartbeat_at: u64,
}

/// What the components of a plane say of its zen-lock; none if it has none. Of several instances
/// the first that is ready speaks, and what any of them cannot open counts.
pub(crate) fn of(report: &Report) -> Option<Lock> {
    let said = || {
        let components = report.components.iter();
        components.filter_map(|said| Some((said, said.lock.as_ref()?)))
    };
    let (speaks, lock) = said()
        .find(|(said, _)| said.ready)
        .or_else(|| said().next())?;
    let mut unopened = Vec::new();
    let mut seen = BTreeSet::new();
    for secret in said().flat_map(|(_, lock)| &lock.unopened) {
        if seen.insert(&secret.name) {
            unopened.push(secret.clone());
        }
    }
    Some(Lock {
        recipients: lock.recipients.clone(),
        usage: lock.usage.clone(),
        unopened,
        to_reseal: lock.to_reseal,
        applied_revision: speaks.applied_revision,
    })
}

/// Whether the plane says what it runs, and no zen-lock is among it.
pub(crate) fn is_absent(report: &Report) -> bool {
    let lock = Component::Lock.as_str();
    let mut components = report.components.iter().map(|said| &said.component);
    !report.components.is_empty() && !components.any(|component| component == lock)
}

impl Lock {
    /// Whether it opens the secret.
    pub(crate) fn state(&self, asked: &Asked<'_>) -> State {
        let heard = asked.last_heartbeat_at;
        let behind = self.applied_revision < asked.published_revision
            && asked.updated_at.saturating_add(SETTLING) > heard;
        if behind || asked.updated_at > heard {
            return State::Waiting;
        }
        match self.refusal(asked.name) {
            Some(code) => State::Unopened(code.to_owned()),
            None if self.unopened.len() >= UNOPENED => State::Unknown,
            None => State::Opens,
        }
    }

    /// Why it does not open the secret of this name, if it said so.
    pub(crate) fn refusal(&self, name: &str) -> Option<&str> {
        let found = self.unopened.iter().find(|secret| secret.name == name);
        found.map(|secret| secret.code.as_str())
    }

    /// Whether the secret is not sealed for the newest key; none if no key is known.
    pub(crate) fn is_old(&self, asked: &Asked<'_>) -> Option<bool> {
        let newest = self.recipients.first()?;
        Some(!asked.recipients.contains(newest))
    }
}

/// What to do about a code of zen-lock; empty if this version does not know it.
pub(crate) fn remedy(code: &str) -> &'static str {
    let code = code.parse::<SecretCode>();
    code.map_or("", SecretCode::remedy)
}

/// Cuts what a component says of secrets to what is kept: only zen-lock speaks of them, only of
/// keys that are keys, in bounded words.
pub(crate) fn bound(said: &mut ComponentStatus) {
    if said.component != Component::Lock.as_str() {
        said.lock = None;
    }
    let Some(LockStatus {
        recipients,
        usage,
        unopened,
        ..
    }) = &mut said.lock
    else {
        return;
    };
    recipients.truncate(limits::SECRET_RECIPIENTS);
    recipients.retain(|text| {
        text.parse::<Recipient>()
            .is_ok_and(|key| key.to_string() == *text)
    });
    let is_word = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (1..=WORD).contains(&text.len()) && text.bytes().all(plain)
    };
    usage.truncate(KEYS);
    usage.retain(|used| is_word(&used.key_id));
    unopened.truncate(UNOPENED);
    unopened.retain(|secret| is_word(&secret.code) && is_name(&secret.name));
}

#[cfg(test)]
mod tests {
    use zen_seal::Identity;

    use super::*;

    fn component(name: &str, lock: LockStatus) -> ComponentStatus {
        ComponentStatus {
            component: name.to_owned(),
            ready: true,
            applied_revision: 3,
            lock: Some(lock),
            ..ComponentStatus::default()
        }
    }

    fn unopened(name: &str) -> UnopenedSecret {
        UnopenedSecret {
            name: name.to_owned(),
            code: "SECRET_DAMAGED".to_owned(),
        }
    }

    fn said(secrets: &[&str]) -> LockStatus {
        LockStatus {
            recipients: vec!["age1new".to_owned(), "age1old".to_owned()],
            unopened: secrets.iter().map(|name| unopened(name)).collect(),
            ..LockStatus::default()
        }
    }

    fn lock(instances: &[&[&str]]) -> Lock {
        let instances = instances.iter().map(|names| component("lock", said(names)));
        let report = Report {
            components: instances.collect(),
            ..Report::default()
        };
        of(&report).unwrap()
    }

    fn asked<'a>(name: &'a str, recipients: &'a [String]) -> Asked<'a> {
        Asked {
            name,
            recipients,
            updated_at: 1_000,
            published_revision: 3,
            last_heartbeat_at: 2_000,
        }
    }

    #[test]
    fn what_any_instance_cannot_open_does_not_open() {
        let lock = lock(&[&[], &["github"]]);
        let damaged = State::Unopened("SECRET_DAMAGED".to_owned());
        assert_eq!(lock.state(&asked("github", &[])), damaged);
        assert_eq!(lock.state(&asked("stripe", &[])), State::Opens);
    }

    #[test]
    fn nothing_is_claimed_before_zen_lock_can_know_it() {
        let lock = lock(&[&[]]);
        let asked = |updated_at, published_revision| Asked {
            updated_at,
            published_revision,
            ..asked("github", &[])
        };
        assert_eq!(lock.state(&asked(2_001, 3)), State::Waiting);
        assert_eq!(lock.state(&asked(1_000, 4)), State::Waiting);
        // Something else was published: that the old secret opens is still true.
        let later = Asked {
            last_heartbeat_at: 1_000 + SETTLING,
            ..asked(1_000, 4)
        };
        assert_eq!(lock.state(&later), State::Opens);
    }

    #[test]
    fn a_secret_is_old_unless_it_is_sealed_for_the_newest_key() {
        let lock = lock(&[&[]]);
        let (old, new) = (["age1old".to_owned()], ["age1new".to_owned()]);
        assert_eq!(lock.is_old(&asked("x", &old)), Some(true));
        assert_eq!(lock.is_old(&asked("x", &new)), Some(false));
        assert_eq!(Lock::default().is_old(&asked("x", &new)), None);
    }

    #[test]
    fn a_full_list_of_refusals_leaves_the_rest_unknown() {
        let names: Vec<_> = (0..UNOPENED).map(|at| format!("s{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(lock(&[&names]).state(&asked("x", &[])), State::Unknown);
    }

    #[test]
    fn only_zen_lock_speaks_of_keys_and_only_in_bounded_words() {
        let mut egress = component("egress", said(&["x"]));
        bound(&mut egress);
        assert_eq!(egress.lock, None);
        let key = Identity::generate().recipient().to_string();
        let mut status = said(&[]);
        status.recipients = vec!["<b>".to_owned(), key.clone()];
        status.unopened = vec![unopened("x"); UNOPENED + 1];
        status.unopened[0].code = "<b>".to_owned();
        let mut lock = component("lock", status);
        bound(&mut lock);
        let kept = lock.lock.unwrap();
        assert_eq!(kept.recipients, [key]);
        assert_eq!(kept.unopened.len(), UNOPENED - 1);
    }
}

//! Secrets that targets need. Those in files are remembered for a few seconds, so that a busy
//! target does not read a file for each attempt and a rotated secret is soon in use; those that
//! zen-lock opens are in memory anyway, and not a moment longer than the configuration names them.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use zen_chassis::secret::{Secret, SecretError, SecretStore, Wanted};
use zen_proto::purpose::Purpose;
use zen_proto::snapshot::v1::{Snapshot, TargetAuth, target_auth};

use crate::targets::Target;

/// Milliseconds that a secret's file is not read again.
const FRESH_MS: u64 = 5_000;
/// Files remembered at once.
const REMEMBERED: usize = 1024;
/// How a secret in a file is named.
const FILE: &str = "file:";

/// The secrets of this egress.
pub(crate) struct Secrets {
    store: SecretStore,
    read: Mutex<HashMap<String, (Secret, u64)>>,
}

impl Secrets {
    pub(crate) fn new(store: SecretStore) -> Self {
        Self {
            store,
            read: Mutex::new(HashMap::new()),
        }
    }

    /// A secret by its reference, for this purpose, at `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// See [`SecretError`].
    pub(crate) fn get(
        &self,
        reference: &str,
        purpose: Purpose,
        now_ms: u64,
    ) -> Result<Secret, SecretError> {
        if !reference.starts_with(FILE) {
            return self.store.read(reference, purpose);
        }
        if let Some((secret, read_ms)) = self.read.lock().get(reference)
            && now_ms.abs_diff(*read_ms) < FRESH_MS
        {
            return Ok(secret.clone());
        }
        let secret = self.store.read(reference, purpose)?;
        let mut read = self.read.lock();
        if read.len() >= REMEMBERED {
            read.clear();
        }
        read.insert(reference.to_owned(), (secret.clone(), now_ms));
        Ok(secret)
    }

    /// Whether a target has a secret of which zen-lock did not say anything yet: an attempt could
    /// only fail, and would count.
    pub(crate) fn awaited(&self, target: &Target) -> bool {
        named(&target.signing_secrets, target.auth.as_ref())
            .any(|(reference, purpose)| self.store.is_awaited(reference, purpose))
    }
}

/// What the targets of a snapshot want of zen-lock.
pub(crate) fn wanted(snapshot: &Snapshot) -> HashSet<Wanted> {
    snapshot
        .targets
        .iter()
        .flat_map(|target| named(&target.signing_secrets, target.auth.as_ref()))
        .filter_map(|(reference, purpose)| Wanted::parse(reference, purpose))
        .collect()
}

/// The secrets that a target names, each with what it is for.
fn named<'a>(
    signing: &'a [String],
    auth: Option<&'a TargetAuth>,
) -> impl Iterator<Item = (&'a str, Purpose)> {
    let signing = signing
        .iter()
        .map(|reference| (reference.as_str(), Purpose::TargetSigning));
    let auth = auth.and_then(|auth| auth.kind.as_ref()).map(|kind| {
        let (target_auth::Kind::Bearer(reference) | target_auth::Kind::Basic(reference)) = kind;
        (reference.as_str(), Purpose::TargetAuth)
    });
    signing.chain(auth)
}

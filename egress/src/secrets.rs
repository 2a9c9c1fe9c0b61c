//! Secrets that targets need, read from files and remembered for a few seconds, so that a busy
//! target does not read a file for each attempt and a rotated secret is soon in use.

use std::collections::HashMap;

use parking_lot::Mutex;
use zen_chassis::secret::{Secret, SecretError, SecretStore};

/// Milliseconds that a secret is used without looking again.
const FRESH_MS: u64 = 5_000;
/// Secrets remembered at once.
const REMEMBERED: usize = 1024;

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

    /// A secret by its reference, at `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// See [`SecretError`].
    pub(crate) fn get(&self, reference: &str, now_ms: u64) -> Result<Secret, SecretError> {
        if let Some((secret, read_ms)) = self.read.lock().get(reference)
            && now_ms.abs_diff(*read_ms) < FRESH_MS
        {
            return Ok(secret.clone());
        }
        let secret = self.store.read(reference)?;
        let mut read = self.read.lock();
        if read.len() >= REMEMBERED {
            read.clear();
        }
        read.insert(reference.to_owned(), (secret.clone(), now_ms));
        Ok(secret)
    }
}

//! Looks for the enrolment bundle where an operator puts it, and notices when it changes.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::time::Instant;
use zen_chassis::chain::Chain;

use crate::store::{Content, Entry, Store, StoreError};

/// A sealed bundle with the key that opens it, or alone if zen-lock is to open it.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) bundle: Content,
    pub(crate) identity: Option<Content>,
    /// SHA-256 over both.
    pub(crate) hash: [u8; 32],
}

impl Sealed {
    /// What is there now, if both halves are, or if the bundle may be `alone`.
    pub(crate) async fn read(store: &dyn Store, alone: bool) -> Result<Option<Self>, StoreError> {
        let Some(bundle) = store.read(Entry::Bundle).await? else {
            return Ok(None);
        };
        let identity = store.read(Entry::BundleIdentity).await?;
        if identity.is_none() && !alone {
            return Ok(None);
        }
        let mut context = Context::new(&SHA256);
        context.update(&bundle.len().to_be_bytes());
        context.update(&bundle);
        if let Some(identity) = &identity {
            context.update(b"+");
            context.update(identity);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Ok(Some(Self {
            bundle,
            identity,
            hash,
        }))
    }
}

/// A change of what lies there.
pub(crate) enum Change {
    /// A bundle that was not there before.
    Found(Sealed),
    /// No bundle any more.
    Gone,
}

/// Notices each change once.
pub(crate) struct BundleWatch {
    poll: Duration,
    /// Whether a bundle is one without its key.
    alone: bool,
    next_look: Instant,
    known: Option<[u8; 32]>,
    /// Whether the last look failed, so that it is told once.
    failing: bool,
}

impl BundleWatch {
    pub(crate) fn new(poll: Duration, alone: bool) -> Self {
        Self {
            poll,
            alone,
            next_look: Instant::now(),
            known: None,
            failing: false,
        }
    }

    /// What was there was removed by us: that is no change.
    pub(crate) const fn forget(&mut self) {
        self.known = None;
    }

    /// The next change. Dropping the wait loses nothing.
    pub(crate) async fn changed(&mut self, store: &dyn Store) -> Change {
        loop {
            tokio::time::sleep_until(self.next_look).await;
            let seen = Sealed::read(store, self.alone).await;
            self.next_look = Instant::now() + self.poll;
            match seen {
                Ok(Some(sealed)) if self.known != Some(sealed.hash) => {
                    self.known = Some(sealed.hash);
                    self.failing = false;
                    return Change::Found(sealed);
                }
                Ok(None) if self.known.is_some() => {
                    self.known = None;
                    return Change::Gone;
                }
                Ok(_) => self.failing = false,
                Err(error) if !self.failing => {
                    self.failing = true;
                    tracing::warn!(error = %Chain(&error), "bundle cannot be read");
                }
                Err(_) => {}
            }
        }
    }
}

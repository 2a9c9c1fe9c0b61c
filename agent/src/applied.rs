//! The last good snapshot: as it is stored, and what the plane has in force now.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use zen_chassis::chain::Chain;
use zen_chassis::clock::{from_unix_ms, to_unix_ms};
use zen_proto::snapshot::v1::Snapshot;
use zeroize::Zeroizing;

use crate::identity::PlaneIdentity;
use crate::session::snapshot::{self, SnapshotError};
use crate::store::{Entry, Store, StoreError};

/// First bytes of the stored form; the time of receipt (8 bytes, big endian, Unix milliseconds)
/// and the compressed `SignedSnapshot` follow.
const MAGIC: &[u8; 8] = b"zensnap1";
const HEAD: usize = MAGIC.len() + 8;

/// A snapshot that was believed.
pub(crate) struct Applied {
    pub(crate) snapshot: Snapshot,
    /// SHA-256 of the encoded snapshot.
    pub(crate) digest: Vec<u8>,
}

/// What the plane holds now. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Held {
    pub(crate) identity: Option<Arc<PlaneIdentity>>,
    pub(crate) applied: Option<Arc<Applied>>,
}

impl Held {
    /// Of the applied snapshot; 0 without one.
    pub(crate) fn revision(&self) -> u64 {
        self.applied
            .as_ref()
            .map_or(0, |applied| applied.snapshot.revision)
    }
}

/// What the plane holds now, for whoever waits for changes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Desk(Arc<watch::Sender<Held>>);

impl Desk {
    pub(crate) fn new(held: Held) -> Self {
        Self(Arc::new(watch::Sender::new(held)))
    }

    pub(crate) fn now(&self) -> Held {
        self.0.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Held> {
        self.0.subscribe()
    }

    /// A new identity is in force; a snapshot of another plane is not the new one's.
    pub(crate) fn set_identity(&self, identity: Arc<PlaneIdentity>) {
        self.0.send_modify(|held| {
            let plane = identity.stored.plane_id.to_string();
            held.applied
                .take_if(|applied| applied.snapshot.plane_id != plane);
            held.identity = Some(identity);
        });
    }

    pub(crate) fn set_applied(&self, applied: Applied) {
        self.0
            .send_modify(|held| held.applied = Some(Arc::new(applied)));
    }

    pub(crate) fn clear(&self) {
        self.replace(Held::default());
    }

    pub(crate) fn replace(&self, held: Held) {
        self.0.send_replace(held);
    }

    /// Waits until an identity that was there is there no more.
    pub(crate) async fn cleared(&self) {
        let mut held = self.watch();
        // The sender lives in `self`: waiting cannot fail.
        for there in [true, false] {
            let _met = held.wait_for(|held| held.identity.is_some() == there).await;
        }
    }
}

/// Takes a compressed snapshot that just came: believe → compare with the one before → store.
/// Nothing newer than the applied one is there: the answer is nothing, and nothing is stored but
/// the same with another signature.
pub(crate) async fn accept(
    compressed: Vec<u8>,
    held: &Held,
    identity: &PlaneIdentity,
    store: &dyn Store,
    now: SystemTime,
) -> Result<Option<Applied>, SnapshotError> {
    let signed = snapshot::unpack(&compressed)?;
    let plane = identity.stored.plane_id;
    let believed = snapshot::believe(&signed, plane, &identity.trust, now)?;
    let new = Applied {
        snapshot: believed,
        digest: signed.digest.to_vec(),
    };
    if let Some(before) = &held.applied
        && new.snapshot.revision <= before.snapshot.revision
    {
        let same =
            (new.snapshot.revision, &new.digest) == (before.snapshot.revision, &before.digest);
        let (offered, applied) = (new.snapshot.revision, before.snapshot.revision);
        // The very same again, after a lost `Applied`, is no fault; nor is it signed anew, by a root
        // that outlives the one before.
        return if same {
            store
                .write(Entry::Snapshot, stored_form(&compressed, now))
                .await?;
            Ok(None)
        } else {
            Err(SnapshotError::Stale { offered, applied })
        };
    }
    store
        .write(Entry::Snapshot, stored_form(&compressed, now))
        .await?;
    Ok(Some(new))
}

/// The last good snapshot, judged as of the time it was received. One that cannot be used is
/// reported and passed over: the control plane sends another.
pub(crate) async fn load(
    store: &dyn Store,
    identity: &PlaneIdentity,
) -> Result<Option<Applied>, StoreError> {
    let Some(content) = store.read(Entry::Snapshot).await? else {
        return Ok(None);
    };
    let Some((received, compressed)) = parse_stored_form(&content) else {
        tracing::warn!("last good snapshot is damaged and passed over");
        return Ok(None);
    };
    let believed = snapshot::unpack(compressed).and_then(|signed| {
        let plane = identity.stored.plane_id;
        let snapshot = snapshot::believe(&signed, plane, &identity.trust, received)?;
        Ok(Applied {
            snapshot,
            digest: signed.digest.to_vec(),
        })
    });
    match believed {
        Ok(applied) => Ok(Some(applied)),
        Err(error) => {
            let code = error.code();
            tracing::warn!(code, error = %Chain(&error), "last good snapshot is passed over");
            Ok(None)
        }
    }
}

fn stored_form(compressed: &[u8], received: SystemTime) -> Zeroizing<Vec<u8>> {
    let mut content = Vec::with_capacity(HEAD + compressed.len());
    content.extend_from_slice(MAGIC);
    content.extend_from_slice(&to_unix_ms(received).to_be_bytes());
    content.extend_from_slice(compressed);
    Zeroizing::new(content)
}

fn parse_stored_form(content: &[u8]) -> Option<(SystemTime, &[u8])> {
    let rest = content.strip_prefix(MAGIC)?;
    let (time, compressed) = rest.split_first_chunk::<8>()?;
    Some((from_unix_ms(u64::from_be_bytes(*time)), compressed))
}

//! The agent's entries as Secrets of its own, for as long as it holds the lease. Each operation
//! runs to its end or to the end of the term, whichever comes first, also if nobody waits for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use zen_chassis::CancellationToken;
use zen_proto::ids::PlaneId;
use zeroize::Zeroizing;

use super::api::{Api, FIELD_MANAGER, Thing};
use super::fault::{Area, Board, Fault, Kind};
use super::parts::{Head, SLOTS};
use super::watch::Bundles;
use crate::store::{Content, Entry, Store, StoreError};

/// The Secret with pending keys.
pub(crate) const PENDING: &str = "zen-agent-pending";
/// The Secret with the identity.
pub(crate) const IDENTITY: &str = "zen-agent-identity";
/// The ConfigMap with what components trust.
pub(crate) const TRUST: &str = "zen-trust-bundle";
/// Key of a snapshot's part.
const PART_KEY: &str = "part";
/// Time for one request, with tries.
const LIMIT: Duration = Duration::from_secs(20);
/// Tries against others who change the same object.
const CONFLICTS: u32 = 5;

/// The Secret of a slot.
pub(crate) fn snapshot(slot: u8) -> String {
    format!("zen-agent-snapshot-{slot}")
}

/// Why an operation came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the lease is not held any more")]
    NotHeld,
    #[error("Secret {0} was changed by another; it is read again")]
    Overtaken(String),
    #[error("Secret {0} changes at every try, or is refused")]
    Contended(String),
    #[error("the content is too large for the Secrets it goes into")]
    TooLarge,
    #[error("{0}")]
    Api(#[from] Fault),
}

/// What stood in a Secret when this agent last read or wrote it.
#[derive(Clone, PartialEq, Eq)]
struct Known {
    version: Option<String>,
    digest: [u8; 32],
}

/// The store of one term.
pub(crate) struct SecretStore {
    inner: Arc<Inner>,
    /// Held by the operation under way, also when nobody waits for it any more.
    turn: Arc<tokio::sync::Mutex<()>>,
    term: CancellationToken,
}

struct Inner {
    api: Api,
    board: Board,
    bundles: Bundles,
    known: Mutex<HashMap<String, Known>>,
    /// The head as it stands, and whether slots it does not name are known to be empty.
    head: Mutex<(Option<Head>, bool)>,
    /// Cancelled when somebody else wrote what only this agent writes.
    overtaken: CancellationToken,
}

impl SecretStore {
    /// `term` ends every operation; `overtaken` is cancelled when the state must be read again.
    pub(crate) fn new(
        api: Api,
        board: Board,
        bundles: Bundles,
        term: CancellationToken,
        overtaken: CancellationToken,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                api,
                board,
                bundles,
                known: Mutex::default(),
                head: Mutex::default(),
                overtaken,
            }),
            turn: Arc::default(),
            term,
        }
    }

    /// Waits until nothing is under way.
    pub(crate) async fn settled(&self) {
        let _turn = self.turn.lock().await;
    }

    /// Runs an operation after all those before it.
    fn in_turn<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (turn, term) = (Arc::clone(&self.turn), self.term.clone());
        Box::pin(async move {
            let mut waiting = Box::pin(turn.lock_owned());
            // Its place in the queue is taken now, whenever the task gets to run.
            let at_once = match futures::poll!(&mut waiting) {
                Poll::Ready(turn) => Some(turn),
                Poll::Pending => None,
            };
            let done = tokio::spawn(async move {
                let in_turn = async {
                    let _turn = match at_once {
                        Some(turn) => turn,
                        None => waiting.await,
                    };
                    operation.await
                };
                tokio::select! {
                    biased;
                    () = term.cancelled() => Err(Failure::NotHeld),
                    outcome = in_turn => outcome,
                }
            });
            match done.await {
                Ok(outcome) => outcome.map_err(|failure| StoreError(Box::new(failure))),
                Err(error) => Err(StoreError(Box::new(error))),
            }
        })
    }
}

impl Store for SecretStore {
    fn read(&self, entry: Entry) -> BoxFuture<'_, Result<Option<Content>, StoreError>> {
        let inner = Arc::clone(&self.inner);
        match entry {
            // They lie here already, and may be asked for at any time.
            Entry::Bundle | Entry::BundleIdentity => Box::pin(async move {
                let read = inner.bundles.half(entry).read().await;
                let fail = |fault| StoreError(Box::new(Failure::Api(fault)));
                Ok(read.map_err(fail)?.map(|half| half.content))
            }),
            Entry::Pending => {
                self.in_turn(async move { inner.read(PENDING, "pending.json").await })
            }
            Entry::Identity => {
                self.in_turn(async move { inner.read(IDENTITY, "identity.json").await })
            }
            Entry::Snapshot => self.in_turn(async move { inner.read_snapshot().await }),
        }
    }

    fn write(&self, entry: Entry, content: Content) -> BoxFuture<'_, Result<(), StoreError>> {
        let inner = Arc::clone(&self.inner);
        match entry {
            Entry::Bundle | Entry::BundleIdentity => Box::pin(async {
                // An operator puts them there, never the agent.
                let fault = Fault::new(Kind::Garbled, "enrolment Secrets are not written");
                Err(StoreError(Box::new(Failure::Api(fault))))
            }),
            Entry::Pending => self.in_turn(async move {
                let body = Body::entry("pending.json", content);
                inner.write(PENDING, body).await
            }),
            Entry::Identity => self.in_turn(async move {
                let body = Body::entry("identity.json", content);
                inner.write(IDENTITY, body).await
            }),
            Entry::Snapshot => self.in_turn(async move { inner.write_snapshot(&content).await }),
        }
    }

    fn remove(&self, entry: Entry) -> BoxFuture<'_, Result<(), StoreError>> {
        let inner = Arc::clone(&self.inner);
        self.in_turn(async move {
            match entry {
                Entry::Bundle | Entry::BundleIdentity => inner.remove_half(entry).await,
                Entry::Pending => inner.remove(PENDING).await,
                Entry::Identity => inner.remove(IDENTITY).await,
                Entry::Snapshot => inner.remove_snapshot().await,
            }
        })
    }

    fn retire(&self, plane: PlaneId) -> BoxFuture<'_, Result<(), StoreError>> {
        let inner = Arc::clone(&self.inner);
        self.in_turn(async move {
            let trust = Thing::config_map(TRUST);
            inner.asked(|| inner.api.delete(&trust, None)).await?;
            let bundle = inner.bundles.half(Entry::Bundle).read().await?;
            let plane = plane.to_string();
            if bundle.is_some_and(|half| half.plane.as_ref() == Some(&plane)) {
                inner.remove_half(Entry::Bundle).await?;
                inner.remove_half(Entry::BundleIdentity).await?;
            }
            Ok(())
        })
    }
}

/// What goes into a Secret.
struct Body {
    key: &'static str,
    content: Content,
    annotations: BTreeMap<String, String>,
}

impl Body {
    const fn entry(key: &'static str, content: Content) -> Self {
        Self {
            key,
            content,
            annotations: BTreeMap::new(),
        }
    }

    fn digest(&self) -> [u8; 32] {
        sha256(&self.content)
    }

    fn secret(&self, name: &str, version: Option<String>) -> Secret {
        let labels = [
            ("app.kubernetes.io/name", "zen-agent"),
            ("app.kubernetes.io/managed-by", FIELD_MANAGER),
        ];
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(
                    labels
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .into(),
                ),
                annotations: (!self.annotations.is_empty()).then(|| self.annotations.clone()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some([(self.key.to_owned(), ByteString(self.content.to_vec()))].into()),
            ..Secret::default()
        }
    }
}

impl Inner {
    /// A request with tries; how it went is noted.
    async fn asked<T, F>(&self, request: impl FnMut() -> F + Send) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let outcome = self.api.persist(LIMIT, request).await;
        match &outcome {
            // Settled between those who write, not with the operator.
            Err(fault) if fault.is_conflict() => {}
            outcome => self.board.note(Area::State, outcome),
        }
        outcome
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, Fault> {
        let thing = Thing::secret(name);
        self.asked(|| self.api.get(&thing)).await
    }

    async fn read(&self, name: &str, key: &str) -> Result<Option<Content>, Failure> {
        let secret = self.get(name).await?;
        let version = secret.as_ref().and_then(version_of);
        let content = secret.and_then(|secret| content_of(secret, key));
        match &content {
            Some(content) => self.know(name, version, sha256(content)),
            None => self.forget(name),
        }
        Ok(content)
    }

    /// Writes over what was there, unless that is something this agent has never seen: then another
    /// acted, and the state must be read anew.
    async fn write(&self, name: &str, body: Body) -> Result<(), Failure> {
        let thing = Thing::secret(name);
        let mut known = self.known.lock().get(name).cloned();
        for _ in 0..CONFLICTS {
            let version = known.as_ref().and_then(|known| known.version.clone());
            let secret = body.secret(name, version.clone());
            match self
                .asked(|| self.api.apply::<Secret>(&thing, &secret))
                .await
            {
                Ok(written) => {
                    self.know(name, version_of(&written), body.digest());
                    return Ok(());
                }
                // With a version of what is there no more, servers say different things.
                Err(fault) if fault.is_conflict() || version.is_some() && fault.is_odd() => {
                    tracing::debug!(%fault, "looking at what is there");
                }
                Err(fault) => return Err(fault.into()),
            }
            let now = self.get(name).await?;
            let version = now.as_ref().and_then(version_of);
            let digest = now
                .and_then(|secret| content_of(secret, body.key))
                .map(|content| sha256(&content));
            let is_ours = match digest {
                // Somebody removed it: it is needed, and made again.
                None => true,
                Some(digest) => {
                    // A write whose answer was lost, or a new label on it.
                    digest == body.digest()
                        || known.as_ref().is_some_and(|known| known.digest == digest)
                }
            };
            if !is_ours {
                self.overtaken.cancel();
                return Err(Failure::Overtaken(name.to_owned()));
            }
            known = Some(Known {
                version,
                digest: digest.unwrap_or_else(|| body.digest()),
            });
        }
        Err(Failure::Contended(name.to_owned()))
    }

    async fn remove(&self, name: &str) -> Result<(), Failure> {
        let thing = Thing::secret(name);
        self.asked(|| self.api.delete(&thing, None)).await?;
        self.forget(name);
        Ok(())
    }

    async fn read_snapshot(&self) -> Result<Option<Content>, Failure> {
        let first = snapshot(0);
        let Some(secret) = self.get(&first).await? else {
            self.forget(&first);
            return Ok(None);
        };
        let version = version_of(&secret);
        let head = secret.metadata.annotations.as_ref().and_then(Head::read);
        let part = content_of(secret, PART_KEY).unwrap_or_default();
        self.know(&first, version, sha256(&part));
        let Some(head) = head else {
            tracing::warn!(
                secret = first,
                "last good snapshot is damaged and passed over"
            );
            return Ok(None);
        };
        let mut whole = Zeroizing::new(part.to_vec());
        for slot in &head.slots[1..] {
            let secret = self.get(&snapshot(*slot)).await?;
            let part = secret.and_then(|secret| content_of(secret, PART_KEY));
            whole.extend_from_slice(&part.unwrap_or_default());
        }
        let is_whole = head.is(&whole);
        self.head.lock().0 = Some(head);
        if !is_whole {
            tracing::warn!("last good snapshot is torn and passed over");
            return Ok(None);
        }
        Ok(Some(whole))
    }

    /// The parts first, the head last, and then what is left of the one before goes.
    async fn write_snapshot(&self, content: &[u8]) -> Result<(), Failure> {
        let before = self.head.lock().0.clone();
        let used = before.as_ref().map_or(&[][..], |head| &head.slots);
        let head = Head::of(content, used).ok_or(Failure::TooLarge)?;
        for (place, slot) in head.slots.iter().enumerate().skip(1) {
            let name = snapshot(*slot);
            let thing = Thing::secret(&name);
            let secret = part(content, &head, place).secret(&name, None);
            self.asked(|| self.api.apply::<Secret>(&thing, &secret))
                .await?;
        }
        let first = Body {
            annotations: head.annotations(),
            ..part(content, &head, 0)
        };
        self.write(&snapshot(0), first).await?;
        let swept = {
            let mut state = self.head.lock();
            state.0 = Some(head.clone());
            state.1
        };
        // What an earlier term began with a large one may lie anywhere: looked after once.
        let everywhere = !swept && (head.slots.len() > 1 || used.len() > 1);
        let surplus: Vec<u8> = (1..SLOTS)
            .filter(|slot| !head.slots.contains(slot))
            .filter(|slot| everywhere || used.contains(slot))
            .collect();
        match self.sweep(&surplus).await {
            Ok(()) => self.head.lock().1 = swept || everywhere,
            Err(fault) => {
                self.head.lock().1 = false;
                tracing::debug!(%fault, "parts of an older snapshot stay for now");
            }
        }
        Ok(())
    }

    /// The head first: without it the parts are nothing.
    async fn remove_snapshot(&self) -> Result<(), Failure> {
        let slots: Vec<u8> = (0..SLOTS).collect();
        self.sweep(&slots).await?;
        self.forget(&snapshot(0));
        *self.head.lock() = (None, true);
        Ok(())
    }

    async fn sweep(&self, slots: &[u8]) -> Result<(), Fault> {
        for slot in slots {
            let thing = Thing::secret(&snapshot(*slot));
            self.asked(|| self.api.delete(&thing, None)).await?;
        }
        Ok(())
    }

    /// Removes an enrolment Secret as it was seen; one that was applied anew meanwhile stays.
    async fn remove_half(&self, entry: Entry) -> Result<(), Failure> {
        let half = self.bundles.half(entry);
        let Some(seen) = half.read().await? else {
            return Ok(());
        };
        let thing = Thing::secret(half.name());
        self.asked(|| self.api.delete(&thing, Some(&seen.version)))
            .await?;
        half.removed(&seen.version);
        Ok(())
    }

    fn know(&self, name: &str, version: Option<String>, digest: [u8; 32]) {
        let known = Known { version, digest };
        self.known.lock().insert(name.to_owned(), known);
    }

    fn forget(&self, name: &str) {
        self.known.lock().remove(name);
    }
}

fn part(content: &[u8], head: &Head, place: usize) -> Body {
    Body::entry(
        PART_KEY,
        Zeroizing::new(content[head.range(place)].to_vec()),
    )
}

fn version_of(secret: &Secret) -> Option<String> {
    secret.metadata.resource_version.clone()
}

/// The content under `key`, taken out of the Secret.
pub(crate) fn content_of(mut secret: Secret, key: &str) -> Option<Content> {
    let found = secret.data.as_mut()?.remove(key)?;
    Some(Zeroizing::new(found.0))
}

fn sha256(content: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, content).as_ref());
    out
}

/// The store of an agent that does not hold the lease.
pub(crate) struct NotHeld;

impl Store for NotHeld {
    fn read(&self, _: Entry) -> BoxFuture<'_, Result<Option<Content>, StoreError>> {
        Box::pin(async { Err(StoreError(Box::new(Failure::NotHeld))) })
    }

    fn write(&self, _: Entry, _: Content) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError(Box::new(Failure::NotHeld))) })
    }

    fn remove(&self, _: Entry) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError(Box::new(Failure::NotHeld))) })
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;

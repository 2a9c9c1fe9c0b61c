//! The two enrolment Secrets, followed by a watch each: whoever looks for a bundle reads what lies
//! here, and the API server is asked nothing for it. One Secret a watch, so that a right on that
//! name is enough.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use tokio::sync::watch;
use zen_chassis::Random;
use zen_chassis::backoff::Backoff;

use super::api::Api;
use super::fault::{Area, Board, Fault, Kind};
use super::settings::KubernetesConfig;
use super::store::content_of;
use crate::store::{Content, Entry};

/// Seconds that one watch lasts; a connection that died without a word is noticed soon after.
const LASTS: u32 = 60;
/// Time that a reader waits for the first answer.
const FIRST: Duration = Duration::from_secs(5);
/// Where the plane of a bundle stands.
const PLANE: &str = "zen-mesh.io/plane-id";

/// Half of a bundle as it lies in its Secret.
#[derive(Clone)]
pub(crate) struct Half {
    pub(crate) content: Content,
    pub(crate) version: String,
    /// The plane it is said to be for.
    pub(crate) plane: Option<String>,
}

/// One followed Secret. Clones are the same.
#[derive(Clone)]
pub(crate) struct Followed(Arc<Inner>);

struct Inner {
    name: String,
    key: &'static str,
    area: Area,
    /// Nothing until the API server answered.
    seen: watch::Sender<Option<Option<Half>>>,
    fault: Mutex<Option<Fault>>,
}

/// Both of them.
#[derive(Clone)]
pub(crate) struct Bundles {
    bundle: Followed,
    identity: Followed,
}

impl Bundles {
    pub(crate) fn new(settings: &KubernetesConfig) -> Self {
        let followed = |name: &String, key, area| {
            Followed(Arc::new(Inner {
                name: name.clone(),
                key,
                area,
                seen: watch::Sender::new(None),
                fault: Mutex::default(),
            }))
        };
        Self {
            bundle: followed(&settings.bundle_secret, "bundle.age", Area::BundleWatch),
            identity: followed(
                &settings.bundle_key_secret,
                "identity.txt",
                Area::BundleKeyWatch,
            ),
        }
    }

    /// The half that an entry is.
    pub(crate) const fn half(&self, entry: Entry) -> &Followed {
        match entry {
            Entry::BundleIdentity => &self.identity,
            _ => &self.bundle,
        }
    }

    /// Follows both, without end.
    pub(crate) async fn follow(&self, api: &Api, board: &Board, random: &Random) {
        tokio::join!(
            self.bundle.follow(api, board, random),
            self.identity.follow(api, board, random),
        );
    }
}

impl Followed {
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// What lies there, as far as is known; a fault only as long as nothing is known.
    pub(crate) async fn read(&self) -> Result<Option<Half>, Fault> {
        let mut seen = self.0.seen.subscribe();
        // The sender lives in `self`.
        let known = tokio::time::timeout(FIRST, seen.wait_for(Option::is_some)).await;
        if let Ok(Ok(known)) = known {
            return Ok(known.clone().flatten());
        }
        let fault = self.0.fault.lock().clone();
        Err(fault.unwrap_or_else(|| {
            let what = format!("watch secrets {}: no answer yet", self.0.name);
            Fault::new(Kind::NoAnswer, &what)
        }))
    }

    /// It was removed as of `version`; the watch will say so too.
    pub(crate) fn removed(&self, version: &str) {
        self.0.seen.send_if_modified(|seen| {
            let is_it = matches!(seen, Some(Some(half)) if half.version == version);
            if is_it {
                *seen = Some(None);
            }
            is_it
        });
    }

    async fn follow(&self, api: &Api, board: &Board, random: &Random) {
        let config = watcher::Config::default()
            .fields(&format!("metadata.name={}", self.0.name))
            .timeout(LASTS);
        let secrets = kube::Api::<Secret>::namespaced(api.client(), api.namespace());
        let begin = || watcher(secrets.clone(), config.clone()).boxed();
        let mut events = begin();
        let mut failed = 0;
        let mut listed = None;
        loop {
            api.may_ask().await;
            match events.next().await {
                Some(Ok(event)) => {
                    failed = 0;
                    self.take(event, &mut listed, board);
                }
                Some(Err(error)) => {
                    if is_expired(&error) {
                        // Too far behind. Said in the stream, the watcher lists anew by itself;
                        // said with the answer's status, it would ask the same for ever.
                        events = begin();
                    } else {
                        failed += 1;
                        self.tell(&error, board);
                    }
                    let pause = Backoff::FAR.pause(failed.max(1), random.fraction());
                    tokio::time::sleep(pause).await;
                }
                // It has no end.
                None => return,
            }
        }
    }

    fn take(&self, event: Event<Secret>, listed: &mut Option<Half>, board: &Board) {
        match event {
            Event::Init => *listed = None,
            Event::InitApply(secret) => *listed = self.half(secret),
            Event::InitDone => {
                self.show(listed.take());
                board.well(self.0.area);
            }
            Event::Apply(secret) => {
                self.show(self.half(secret));
                board.well(self.0.area);
            }
            Event::Delete(secret) => {
                if secret.metadata.name.as_ref() == Some(&self.0.name) {
                    self.show(None);
                }
            }
        }
    }

    fn show(&self, half: Option<Half>) {
        *self.0.fault.lock() = None;
        self.0.seen.send_replace(Some(half));
    }

    fn half(&self, secret: Secret) -> Option<Half> {
        let meta = &secret.metadata;
        if meta.name.as_ref() != Some(&self.0.name) || meta.deletion_timestamp.is_some() {
            return None;
        }
        let plane = meta
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(PLANE).cloned());
        let version = meta.resource_version.clone().unwrap_or_default();
        Some(Half {
            content: content_of(secret, self.0.key)?,
            version,
            plane,
        })
    }

    fn tell(&self, error: &watcher::Error, board: &Board) {
        let verb = match error {
            watcher::Error::InitialListFailed(_) => "list",
            _ => "watch",
        };
        let (kind, what) = judge(error);
        let fault = Fault::new(kind, &format!("{verb} secrets {}: {what}", self.0.name));
        board.fault(self.0.area, &fault);
        *self.0.fault.lock() = Some(fault);
    }
}

fn judge(error: &watcher::Error) -> (Kind, String) {
    use watcher::Error as E;
    match error {
        E::InitialListFailed(error) | E::WatchStartFailed(error) | E::WatchFailed(error) => {
            match error {
                kube::Error::Api(status) => (
                    Kind::Status(status.code),
                    format!("answered {}: {}", status.code, status.message),
                ),
                kube::Error::SerdeError(_) => {
                    // Its words may quote a Secret.
                    (Kind::Garbled, "the answer cannot be read".to_owned())
                }
                error => (Kind::NoAnswer, super::api::words(error)),
            }
        }
        E::WatchError(status) => (
            Kind::Status(status.code),
            format!("answered {}: {}", status.code, status.message),
        ),
        E::NoResourceVersion => (Kind::Garbled, error.to_string()),
    }
}

fn is_expired(error: &watcher::Error) -> bool {
    judge(error).0 == Kind::Status(410)
}

//! What zen-lock knows of the secrets it serves, found out before anybody asks: which key each is
//! sealed to, and which do not open. For its status, its metrics and `/debug/state`; never content.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use tokio::sync::watch;
use zen_chassis::CancellationToken;
use zen_proto::codes::SecretCode;
use zen_proto::purpose::Purpose;
use zen_proto::session::v1::{KeyUsage, LockStatus, UnopenedSecret};
use zen_seal::Recipient;

use crate::core::Core;
use crate::keyring::Keyring;
use crate::sources::{Found, Place, Sources};

/// Pause between looks; the folder says nothing of its changes.
const LOOK: Duration = Duration::from_secs(5);
/// Secrets looked at in one go, so that questions come in between.
const GO: usize = 16;
/// Secrets that do not open, named in a status.
const NAMED: usize = 100;

/// What a look at one secret showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opens {
    /// The key that opens it.
    pub(crate) key_id: String,
    pub(crate) version: String,
    pub(crate) purposes: Vec<Purpose>,
}

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) shadows: bool,
    pub(crate) state: Result<Opens, SecretCode>,
}

/// All of them, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) entries: BTreeMap<String, Entry>,
    /// The key for new seals when it was made.
    pub(crate) active: Option<String>,
}

impl Survey {
    /// Those of the control plane that are sealed to an older key.
    pub(crate) fn to_reseal(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|(name, entry)| {
            let key = entry.state.as_ref().ok().map(|opens| &opens.key_id);
            let of_slice = matches!(entry.place, Place::Slice { .. });
            (of_slice && key.is_some() && key != self.active.as_ref()).then_some(name.as_str())
        })
    }

    /// Those that do not open.
    pub(crate) fn unopened(&self) -> impl Iterator<Item = (&str, SecretCode)> {
        let entries = self.entries.iter();
        entries.filter_map(|(name, entry)| Some((name.as_str(), *entry.state.as_ref().err()?)))
    }

    /// As the control plane is told.
    pub(crate) fn to_wire(&self, recipients: &[Recipient]) -> LockStatus {
        let mut usage = BTreeMap::<&str, u32>::new();
        for opens in self.entries.values().flat_map(|entry| &entry.state) {
            *usage.entry(&opens.key_id).or_default() += 1;
        }
        let usage = usage.into_iter().map(|(key_id, secrets)| KeyUsage {
            key_id: key_id.to_owned(),
            secrets,
        });
        let unopened = self.unopened().take(NAMED);
        LockStatus {
            recipients: recipients.iter().map(ToString::to_string).collect(),
            usage: usage.collect(),
            unopened: unopened
                .map(|(name, code)| UnopenedSecret {
                    name: name.to_owned(),
                    code: code.code().to_owned(),
                })
                .collect(),
            to_reseal: u32::try_from(self.to_reseal().count()).unwrap_or(u32::MAX),
        }
    }

    /// As `/debug/state` shows it.
    pub(crate) fn view(&self) -> serde_json::Value {
        let entry = |(name, entry): (&String, &Entry)| {
            let mut view = json!({ "from": entry.place.as_str() });
            if entry.shadows {
                view["instead_of"] = json!("the control plane's of this name");
            }
            match &entry.state {
                Ok(opens) => {
                    let purposes = opens.purposes.iter().map(|purpose| purpose.as_str());
                    view["key_id"] = json!(opens.key_id);
                    view["version"] = json!(opens.version);
                    view["purposes"] = purposes.collect();
                }
                Err(code) => view["code"] = json!(code.code()),
            }
            (name.clone(), view)
        };
        self.entries.iter().map(entry).collect()
    }
}

/// SHA-256 of a ciphertext.
type Hash = [u8; 32];
/// What was found out of a ciphertext under the keys of then.
type Seen = (Hash, Result<Opens, SecretCode>);
type Known = HashMap<String, Seen>;

/// Keeps a [`Survey`] as the secrets are.
pub(crate) struct Surveyor {
    core: Core,
    sources: Sources,
    known: Known,
    survey: watch::Sender<Arc<Survey>>,
}

impl Surveyor {
    pub(crate) fn new(core: Core, sources: Sources) -> (Self, watch::Receiver<Arc<Survey>>) {
        let (sender, survey) = watch::channel(Arc::default());
        let surveyor = Self {
            core,
            sources,
            known: Known::new(),
            survey: sender,
        };
        (surveyor, survey)
    }

    /// Looks at each change and again and again until shutdown.
    pub(crate) async fn keep(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut keys = self.core.opener.keyring().watch();
        let mut realms = self.core.realms.clone();
        let mut slices = self.sources.slices();
        keys.mark_unchanged();
        loop {
            let looked = shutdown.run_until_cancelled(self.look()).await;
            if looked.is_none() {
                return Ok(());
            }
            let another_slice = async {
                let changed = match &mut slices {
                    Some(slices) => slices.changed().await.is_ok(),
                    None => false,
                };
                // The agent's link ends with the stage.
                if !changed {
                    std::future::pending().await
                }
            };
            let forget = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Ok(()) = keys.changed() => true,
                Ok(()) = realms.changed() => true,
                () = another_slice => false,
                () = tokio::time::sleep(LOOK) => false,
            };
            if forget {
                self.known.clear();
            }
        }
    }

    async fn look(&mut self) {
        let active = active(self.core.opener.keyring());
        let sources = self.sources.clone();
        let Some(all) = self.core.pool.run(move || sources.all()).await else {
            return;
        };
        let mut survey = Survey {
            entries: BTreeMap::new(),
            active,
        };
        let mut known = Known::with_capacity(all.len());
        let all: Vec<_> = all.into_iter().collect();
        for some in all.chunks(GO) {
            let before = some
                .iter()
                .map(|(name, _)| self.known.remove(name))
                .collect::<Vec<_>>();
            let (core, some) = (self.core.clone(), some.to_vec());
            let work = move || looked_at(&core, some, before);
            let Some(some) = self.core.pool.run(work).await else {
                return;
            };
            for (name, entry, hash) in some {
                if let Some(hash) = hash {
                    known.insert(name.clone(), (hash, entry.state.clone()));
                }
                survey.entries.insert(name, entry);
            }
        }
        self.known = known;
        tell(&self.survey.borrow(), &survey);
        self.survey.send_if_modified(|shown| {
            let changed = **shown != survey;
            if changed {
                *shown = Arc::new(survey);
            }
            changed
        });
    }
}

/// Opens those that are not known. Blocking.
fn looked_at(
    core: &Core,
    some: Vec<(String, Found)>,
    before: Vec<Option<Seen>>,
) -> Vec<(String, Entry, Option<Hash>)> {
    let realms = core.realms.borrow().clone();
    let look = |((name, found), before): ((String, Found), Option<Seen>)| {
        let hash = found.sealed.as_ref().ok().map(|sealed| hash(sealed));
        let state = match (before, &found.sealed) {
            (Some((known, state)), Ok(_)) if Some(known) == hash => state,
            (_, Ok(sealed)) => core
                .opener
                .open(sealed, &realms, None, &name)
                .map(|opened| Opens {
                    key_id: opened.opened_with,
                    version: opened.secret.version.clone(),
                    purposes: opened.secret.purposes.clone(),
                }),
            (_, Err(code)) => Err(*code),
        };
        let entry = Entry {
            place: found.place,
            shadows: found.shadows,
            state,
        };
        (name, entry, hash)
    };
    some.into_iter().zip(before).map(look).collect()
}

/// Logs what is news.
fn tell(before: &Survey, now: &Survey) {
    for (name, entry) in &now.entries {
        let known = before.entries.get(name);
        if entry.shadows && !known.is_some_and(|known| known.shadows) {
            tracing::warn!(name, "taken from sealed_dir, not from the control plane");
        }
        let state = |entry: &Entry| entry.state.as_ref().err().copied();
        match (known.and_then(state), state(entry)) {
            (before, Some(code)) if before != Some(code) => {
                tracing::error!(name, %code, remedy = code.remedy(), "secret does not open");
            }
            (Some(_), None) => tracing::info!(name, "secret opens now"),
            _ => {}
        }
    }
}

/// Id of the key for new seals.
pub(crate) fn active(keyring: &Keyring) -> Option<String> {
    keyring.now().active().map(|recipient| recipient.key_id())
}

fn hash(sealed: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, sealed.as_bytes()).as_ref());
    hash
}

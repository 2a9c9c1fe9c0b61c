//! Once there is a newer key, the control plane's secrets are sealed again for it, a few a second,
//! and handed up through the agent. Questions are answered all the while, from the old ciphertext
//! or the new. Those in `sealed_dir` are not written by zen-lock: its status says which key they need.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Status};
use zen_chassis::Stage;
use zen_chassis::backoff::Backoff;
use zen_chassis::neighbour::Upward;
use zen_proto::session::v1::Resealed;
use zen_seal::{Recipient, reseal, unseal};

use crate::core::Core;
use crate::sources::{Found, Place, Sources};
use crate::status::Survey;

/// Pause between two secrets: 50 a second.
const PACE: Duration = Duration::from_millis(20);
/// Time for the control plane's answer, which is the next slice, before a secret is handed up again.
const SLICE: Duration = Duration::from_secs(30);
/// Time for the agent to take one.
const TAKEN: Duration = Duration::from_secs(15);

/// Seals again.
pub(crate) struct Resealer {
    pub(crate) core: Core,
    pub(crate) sources: Sources,
    pub(crate) survey: watch::Receiver<Arc<Survey>>,
    pub(crate) upward: Upward,
    pub(crate) stage: Stage,
}

/// What was handed up and for which key, and when to do so again if nothing came of it. By id.
type Sent = HashMap<String, (u64, String, Instant)>;

impl Resealer {
    /// Works whenever there is something to seal again, until shutdown.
    pub(crate) async fn keep(mut self) -> anyhow::Result<()> {
        let shutdown = self.stage.shutdown.clone();
        let mut sent = Sent::new();
        let mut failed = 0;
        loop {
            let round = shutdown.run_until_cancelled(self.round(&mut sent)).await;
            let pause = match round {
                None => return Ok(()),
                Some(Ok(())) => {
                    failed = 0;
                    SLICE
                }
                Some(Err(status)) => {
                    failed += 1;
                    let reason = status.message();
                    tracing::warn!(reason, "a secret sealed again is not taken; trying later");
                    Backoff::FAR.pause(failed, self.stage.random.fraction())
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                // The surveyor lives as long as the stage. After a failure only time helps.
                Ok(()) = self.survey.changed(), if failed == 0 => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Everything once that is to be sealed again and was not just handed up.
    async fn round(&mut self, sent: &mut Sent) -> Result<(), Status> {
        let survey = self.survey.borrow_and_update().clone();
        let Some(active) = self.core.opener.keyring().now().active() else {
            return Ok(());
        };
        let key = active.key_id();
        // Looked at with keys of before: another look is under way.
        if survey.active.as_ref() != Some(&key) {
            return Ok(());
        }
        let names: Vec<_> = survey.to_reseal().map(ToOwned::to_owned).collect();
        if names.is_empty() {
            sent.clear();
            return Ok(());
        }
        let sources = self.sources.clone();
        let Some(all) = self.core.pool.run(move || sources.all()).await else {
            return Ok(());
        };
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for name in names {
            let Some(Found {
                place: Place::Slice { id, version },
                sealed: Ok(sealed),
                ..
            }) = all.get(&name)
            else {
                continue;
            };
            let just_sent = sent.get(id).is_some_and(|(of, to, again)| {
                of == version && *to == key && Instant::now() < *again
            });
            if just_sent {
                continue;
            }
            pace.tick().await;
            let Some(resealed) = self.sealed_again(&name, sealed, &active).await else {
                continue;
            };
            let resealed = Resealed {
                secret_id: id.clone(),
                version: *version,
                sealed: resealed,
                recipients: vec![active.to_string()],
            };
            self.hand_up(resealed).await?;
            let again = Instant::now() + SLICE;
            sent.insert(id.clone(), (*version, key.clone(), again));
        }
        Ok(())
    }

    /// Nothing if it is done already, or cannot be done.
    async fn sealed_again(&self, name: &str, sealed: &Arc<str>, to: &Recipient) -> Option<String> {
        let identities = self.core.opener.keyring().now();
        let (sealed, recipients) = (Arc::clone(sealed), vec![to.clone()]);
        let now_ms = self.core.clock.unix_ms();
        let work = move || {
            // It may have come back since it was looked at.
            let newest = identities.all().get(..1).unwrap_or_default();
            let done = unseal(sealed.as_bytes(), newest).is_ok();
            (!done).then(|| reseal(sealed.as_bytes(), identities.all(), &recipients, now_ms))
        };
        match self.core.pool.run(work).await?? {
            Ok(resealed) => Some(resealed),
            Err(error) => {
                self.core.metrics.resealed("failed");
                tracing::error!(name, %error, "secret is not sealed again");
                None
            }
        }
    }

    /// # Errors
    /// When it is worth a later try.
    async fn hand_up(&self, resealed: Resealed) -> Result<(), Status> {
        let id = resealed.secret_id.clone();
        let handed = tokio::time::timeout(TAKEN, self.upward.hand_in(resealed)).await;
        let late = |_late| Err(Status::unavailable("the agent gave no answer"));
        match handed.unwrap_or_else(late) {
            Ok(()) => {
                self.core.metrics.resealed("sent");
                Ok(())
            }
            Err(status) if status.code() == Code::InvalidArgument => {
                self.core.metrics.resealed("failed");
                let reason = status.message();
                tracing::error!(id, reason, "a secret sealed again is refused by the agent");
                Ok(())
            }
            Err(status) => Err(status),
        }
    }
}

//! Keeps [`Opened`] as the configuration names secrets and zen-lock opens them. Asks at each slice,
//! and again and again; while zen-lock is away, what is held stays.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;
use zen_proto::agent::v1::Slice;
use zen_proto::codes::SecretCode;
use zen_proto::component::Component;
use zen_proto::lock::v1::lock_service_client::LockServiceClient;
use zen_proto::lock::v1::{OpenRequest, OpenResponse};
use zen_proto::snapshot::v1::Snapshot;
use zeroize::Zeroize;

use super::opened::{Opened, Wanted};
use super::{LARGEST_SECRET, Secret};
use crate::backoff::Backoff;
use crate::neighbour::{Neighbour, Way};
use crate::net::Address;
use crate::stage::Stage;

/// Pause between looks whether a value changed.
const AGAIN: Duration = Duration::from_secs(30);
/// Pauses while a value is missing.
const MISSING: Backoff = Backoff {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(10),
};
/// Time for one question, the connection included.
const ANSWER: Duration = Duration::from_secs(5);
/// Questions under way at once.
const AT_ONCE: usize = 16;
/// Largest answer: a value and a few words.
const MESSAGE: usize = LARGEST_SECRET + 4 * 1024;
/// Metadata that carries the code of a refusal.
const CODE: &str = "zen-code";

/// The one who asks zen-lock.
pub struct LockClient {
    way: Way,
    opened: Opened,
    stage: Stage,
}

impl LockClient {
    /// Prepares the way to zen-lock; nothing is dialled yet.
    ///
    /// # Errors
    /// When a socket's path cannot be written as an address.
    pub fn new(
        address: &Address,
        neighbour: &Neighbour,
        stage: &Stage,
    ) -> Result<Self, tonic::transport::Error> {
        let opened = Opened::default();
        let shown = opened.clone();
        stage.views.add("lock", move || shown.view());
        Ok(Self {
            way: neighbour.way(Component::Lock, address)?,
            opened,
            stage: stage.clone(),
        })
    }

    /// Where the values are found.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.opened.clone()
    }

    /// Keeps every value that `wants` names of the newest slice, until shutdown.
    ///
    /// # Errors
    /// None; the answer is that of a task.
    pub async fn keep(
        self,
        mut slices: watch::Receiver<Option<Arc<Slice>>>,
        wants: impl Fn(&Snapshot) -> HashSet<Wanted> + Send,
    ) -> anyhow::Result<()> {
        let mut missed = 0;
        loop {
            let slice = slices.borrow_and_update().clone();
            let wanted = Neighbour::snapshot(&slice).map(&wants).unwrap_or_default();
            // At once, before anybody is asked: what is not named any more is not needed.
            self.opened.keep_only(&wanted);
            tokio::select! {
                () = self.stage.shutdown.cancelled() => return Ok(()),
                // What was answered by then is kept; the rest is asked for anew.
                Ok(()) = slices.changed() => continue,
                complete = self.ask_for(&wanted) => {
                    missed = if complete { 0 } else { missed + 1 };
                }
            }
            if slice.is_some() {
                self.opened.asked();
            }
            let pause = match missed {
                0 => AGAIN,
                missed => MISSING.pause(missed, self.stage.random.fraction()),
            };
            let another_slice = async {
                // The agent's link ends with the stage.
                if slices.changed().await.is_err() {
                    std::future::pending().await
                }
            };
            tokio::select! {
                () = self.stage.shutdown.cancelled() => return Ok(()),
                () = another_slice => missed = 0,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks for all of them once; whether each was opened.
    async fn ask_for(&self, wanted: &HashSet<Wanted>) -> bool {
        if wanted.is_empty() {
            return true;
        }
        if !self.way.is_open() {
            for one in wanted {
                self.refused(one, SecretCode::LockUnreachable);
            }
            return false;
        }
        let client = LockServiceClient::new(self.way.channel()).max_decoding_message_size(MESSAGE);
        let mut asked = FuturesUnordered::new();
        let mut complete = true;
        for one in wanted {
            if asked.len() >= AT_ONCE {
                complete &= asked.next().await.unwrap_or(true);
            }
            asked.push(self.ask(client.clone(), one));
        }
        while let Some(opened) = asked.next().await {
            complete &= opened;
        }
        complete
    }

    async fn ask(&self, mut client: LockServiceClient<Channel>, wanted: &Wanted) -> bool {
        let known_version = self.opened.version(wanted).unwrap_or_default();
        let question = OpenRequest {
            name: wanted.name.clone(),
            key: wanted.key.clone().unwrap_or_default(),
            purpose: wanted.purpose.as_str().to_owned(),
            known_version: known_version.clone(),
        };
        let answer = match tokio::time::timeout(ANSWER, client.open(question)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return self.refused(wanted, code(&status)),
            Err(_late) => return self.refused(wanted, SecretCode::LockUnreachable),
        };
        let OpenResponse { value, version, .. } = answer;
        if self.opened.refused(wanted).is_some() {
            tracing::info!(secret = wanted.name, purpose = %wanted.purpose, "secret is open");
        }
        let same = value.is_empty() && version == known_version;
        let new = (!same).then(|| (taken(value), version));
        self.opened.open(wanted, new);
        true
    }

    fn refused(&self, wanted: &Wanted, code: SecretCode) -> bool {
        if self.opened.refused(wanted) != Some(code) {
            let (secret, purpose) = (&wanted.name, wanted.purpose);
            let held = self.opened.version(wanted).is_some();
            let remedy = code.remedy();
            tracing::warn!(secret, %purpose, %code, held, remedy, "secret is not opened");
        }
        self.opened.refuse(wanted, code);
        false
    }
}

/// The value out of the message's buffer, which is wiped where nobody else has a part of it.
fn taken(value: Bytes) -> Secret {
    let secret = Secret::from(value.to_vec());
    if let Ok(mut buffer) = value.try_into_mut() {
        buffer.as_mut().zeroize();
    }
    secret
}

/// What a refusal says. One without a code comes from the way, not from zen-lock.
fn code(status: &Status) -> SecretCode {
    let code = status.metadata().get(CODE);
    let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
    code.unwrap_or(SecretCode::LockUnreachable)
}

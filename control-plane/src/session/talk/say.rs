//! What the control plane says in a session.

use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use tokio::time::Instant;
use zen_chassis::chain::Chain;
use zen_chassis::clock::millis;
use zen_identity::{chain_to_pem, csr_public_key_sha256, csr_spki};
use zen_proto::query::v1::{PlaneCaRotated, Query, answer, query};
use zen_proto::session::v1::{
    ControlMessage, GoAway, PlaneCa, RenewPlaneCa, Retired, TrustBundle, Welcome, control_message,
};
use zen_proto::snapshot::v1::Snapshot;

use super::{End, Talk};
use crate::config::addresses;
use crate::digest::fingerprint;
use crate::session::chunks;
use crate::store::{EventKind, Issued, NewEvent};

/// When an agent comes back after the control plane stopped, at the earliest.
const COME_BACK: Duration = Duration::from_millis(200);
/// Sessions that are opened in a second without anybody noticing: agents that are sent away
/// together come back at this pace.
const PACE: f64 = 500.0;
/// They come back within this span, however many they are.
const SPAN: std::ops::RangeInclusive<f64> = 1.0..=10.0;
/// When an agent comes back to a control plane that could not take it, about.
const COME_BACK_UNREADY: Duration = Duration::from_secs(3);
/// Pause before the snapshot is read again, after the store failed.
const NEWS_AGAIN: Duration = Duration::from_secs(2);
/// When a session that was replaced may be tried again: by then its owner knows better.
const COME_BACK_REPLACED: Duration = Duration::from_secs(30);
/// Time for the last word.
const GOODBYE: Duration = Duration::from_secs(1);
/// An applied revision beyond this is nonsense.
const LARGEST_REVISION: u64 = 1 << 62;

impl Talk {
    /// Sends one message; an agent that takes nothing for as long as it may be silent is lost.
    async fn say(&self, message: control_message::Message) -> Result<(), End> {
        let message = ControlMessage {
            message: Some(message),
        };
        let sent = self.out.send(Box::new(message));
        match tokio::time::timeout(self.control.times.heartbeat_lost, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(End::Closed),
            Err(_elapsed) => Err(End::Lost),
        }
    }

    pub(super) async fn say_welcome(&self) -> Result<(), End> {
        let interval = millis(self.control.times.heartbeat_interval);
        let addresses: Vec<_> = addresses(&self.control.agents_advertise)
            .map(str::to_owned)
            .collect();
        self.say(control_message::Message::Welcome(Welcome {
            server_time_ms: self.control.stage.clock.unix_ms(),
            heartbeat_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX),
            control_plane_version: env!("CARGO_PKG_VERSION").to_owned(),
            // One alone is the bundle's, or leads through something that only the plane knows.
            addresses: if addresses.len() > 1 {
                addresses
            } else {
                Vec::new()
            },
        }))
        .await
    }

    /// The published snapshot, if the agent has another one, and whom to trust, if that is news.
    pub(super) async fn say_news(&mut self) -> Result<(), End> {
        let (control, plane) = (self.control.clone(), self.plane.id);
        self.news_due = None;
        let published = match control.store.published(plane).await {
            Ok(published) => published,
            Err(error) => {
                tracing::warn!(%plane, error = %Chain(&error), "cannot read the snapshot");
                self.news_due = Some(Instant::now() + NEWS_AGAIN);
                return Ok(());
            }
        };
        let mut revoked = Vec::new();
        if let Some(published) = published {
            if self.applied > published.revision && self.applied < LARGEST_REVISION {
                control.touched.overtake(plane, self.applied);
            } else if self.sign_anew || ![self.applied, self.sent].contains(&published.revision) {
                self.sign_anew = false;
                let signed = control.authority.sign_snapshot(plane, &published);
                let signed = signed.map_err(|error| {
                    tracing::error!(%plane, error = %Chain(&error), "cannot sign the snapshot");
                    End::Closed
                })?;
                // Compression of a large plane's snapshot takes a while.
                let cut = tokio::task::spawn_blocking(move || chunks::cut(&signed)).await;
                let Ok(Ok(pieces)) = cut else {
                    return Err(End::Closed);
                };
                for piece in pieces {
                    self.say(control_message::Message::Snapshot(piece)).await?;
                }
                self.sent = published.revision;
            }
            if let Ok(snapshot) = Snapshot::decode(published.snapshot.as_slice()) {
                revoked = snapshot.revoked_plane_ids;
            }
        }
        self.say_trust(revoked).await
    }

    async fn say_trust(&mut self, revoked: Vec<String>) -> Result<(), End> {
        let roots = self.control.authority.trust_bundle_pem();
        if self.revoked.as_ref() == Some(&revoked) && self.roots.as_ref() == Some(&roots) {
            return Ok(());
        }
        let bundle = TrustBundle {
            roots_pem: roots.to_string(),
            revoked_plane_ids: revoked.clone(),
        };
        self.say(control_message::Message::TrustBundle(bundle))
            .await?;
        self.revoked = Some(revoked);
        self.roots = Some(roots);
        Ok(())
    }

    /// Has the plane ask for a new CA.
    pub(super) async fn say_renew(&mut self) -> Result<(), End> {
        self.renew_due = None;
        self.renew_asked = Some(Instant::now());
        // First the snapshot with a signature of today: the one that is kept there may lead to a
        // root that will be gone.
        self.sign_anew = true;
        self.say_news().await?;
        self.say(control_message::Message::RenewPlaneCa(RenewPlaneCa {}))
            .await
    }

    /// When a plane whose CA is of an earlier root is told to renew it: not all planes at once.
    pub(super) fn renewal_at(&self) -> Instant {
        let (live, random) = (&self.control.live, &self.control.stage.random);
        Instant::now() + paced(live.sessions(), random.fraction())
    }

    pub(super) async fn say_question(
        &self,
        query_id: String,
        question: query::Question,
        timeout: Duration,
    ) -> Result<(), End> {
        let timeout_ms = u32::try_from(millis(timeout)).unwrap_or(u32::MAX);
        let query = Query {
            query_id,
            timeout_ms,
            question: Some(question),
        };
        self.say(control_message::Message::Query(query)).await
    }

    /// Renews the plane's CA, for the key it has or for that key's successor.
    pub(super) async fn renew(&mut self, csr: &[u8]) -> Result<(), End> {
        let (chain, refusal) = match self.renewed(csr).await {
            Ok(chain) => {
                for reply in self.rotations.drain(..) {
                    // Whoever asked may have given up.
                    let _taken = reply.send(answer::Answer::PlaneCaRotated(PlaneCaRotated {}));
                }
                (chain, String::new())
            }
            Err(refusal) => {
                tracing::warn!(plane = %self.plane.id, %refusal, "plane CA not renewed");
                (Vec::new(), refusal)
            }
        };
        self.say(control_message::Message::PlaneCa(PlaneCa {
            chain,
            refusal,
        }))
        .await
    }

    async fn renewed(&self, csr: &[u8]) -> Result<Vec<Bytes>, String> {
        let (control, plane) = (&self.control, &self.plane);
        let refused = |error: zen_identity::CsrError| format!("CSR_INVALID: {error}");
        let key_sha256 = csr_public_key_sha256(csr).map_err(refused)?;
        let spki = csr_spki(csr).map_err(refused)?;
        let at = control.stage.clock.unix_ms();
        let now = control.stage.clock.now();
        let chain = control
            .authority
            .sign_plane_ca(csr, plane.tenant, plane.id, now)
            .map_err(|error| format!("ISSUE_FAILED: {}", Chain(&error)))?;
        let chain_pem = chain_to_pem(&chain);
        let issued = Issued {
            plane: plane.id,
            key_sha256,
            spki,
            chain_pem,
            at,
        };
        control
            .store
            .renew_identity(&issued)
            .await
            .map_err(|error| format!("STORE_FAILED: {}", Chain(&error)))?;
        let event = NewEvent {
            key_fingerprint: Some(fingerprint(&key_sha256)),
            ..self.event(EventKind::CertificateRenewed, "plane CA renewed")
        };
        self.keep(&event).await;
        Ok(chain
            .iter()
            .map(|der| Bytes::copy_from_slice(der))
            .collect())
    }

    /// Tells the agent why the session ends, if there is something it can do about it.
    pub(super) async fn say_goodbye(&self, end: End) {
        let reason = end.words().to_owned();
        let come_back = match end {
            End::Closed | End::Lost => return,
            End::Retired => {
                return self
                    .say_last(control_message::Message::Retired(Retired { reason }))
                    .await;
            }
            End::Replaced | End::Protocol => COME_BACK_REPLACED,
            End::Certificate => Duration::ZERO,
            End::Shutdown => {
                let (live, random) = (&self.control.live, &self.control.stage.random);
                paced(live.sessions(), random.fraction())
            }
            End::Unready | End::Crowded => self.control.stage.random.jitter(COME_BACK_UNREADY, 0.5),
        };
        let come_back_after_ms = u32::try_from(millis(come_back)).unwrap_or(u32::MAX);
        self.say_last(control_message::Message::GoAway(GoAway {
            come_back_after_ms,
            reason,
        }))
        .await;
    }

    /// The agent may be gone already: then it hears it when it comes back.
    async fn say_last(&self, message: control_message::Message) {
        let _told = tokio::time::timeout(GOODBYE, self.say(message)).await;
    }
}

/// When one of so many agents comes back: not all at once, and none after the span.
fn paced(sessions: usize, fraction: f64) -> Duration {
    let sessions = f64::from(u32::try_from(sessions).unwrap_or(u32::MAX));
    let span = (sessions / PACE).clamp(*SPAN.start(), *SPAN.end());
    COME_BACK + Duration::from_secs_f64(span * fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_come_back_at_a_pace_and_all_within_eleven_seconds() {
        assert_eq!(paced(1, 0.0), COME_BACK);
        assert_eq!(paced(10, 1.0), COME_BACK + Duration::from_secs(1));
        assert_eq!(paced(2_000, 0.5), COME_BACK + Duration::from_secs(2));
        assert_eq!(paced(1_000_000, 1.0), COME_BACK + Duration::from_secs(10));
    }
}

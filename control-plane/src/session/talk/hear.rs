//! What the agent says in a session, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use zen_chassis::chain::Chain;
use zen_proto::component::Component;
use zen_proto::ids::PlaneId;
use zen_proto::query::v1::Answer;
use zen_proto::session::v1::{AgentMessage, ComponentStatus, Heartbeat, Rejected, agent_message};

use super::{End, Talk, WORDS};
use crate::live::Place;
use crate::plane::{PlaneKind, Rejection};
use crate::roots::Said;
use crate::session::notes;
use crate::store::{EventKind, Heard, NewEvent, StoreError};

/// What is heard is written down this often.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// A plane that was told to renew its CA is not told again before.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// An address nobody has reported for this long is forgotten.
const FORGET_ADDRESS: Duration = Duration::from_secs(15 * 60);
/// A session this long gives the plane its recoveries back.
const LONG_SESSION: Duration = Duration::from_secs(60 * 60);

impl Talk {
    /// Takes one message.
    pub(super) async fn hear(&mut self, place: &Place, message: AgentMessage) -> Result<(), End> {
        match message.message {
            Some(agent_message::Message::Heartbeat(heartbeat)) => {
                self.last_heard = Instant::now();
                self.beat = true;
                self.hear_heartbeat(place, heartbeat).await
            }
            Some(agent_message::Message::Applied(applied)) => {
                self.applied = applied.revision;
                place.update(|report| {
                    report.applied_revision = applied.revision;
                    report.rejected = None;
                });
                self.write_heard().await;
                Ok(())
            }
            Some(agent_message::Message::Rejected(rejected)) => {
                self.hear_rejected(place, rejected).await;
                Ok(())
            }
            Some(agent_message::Message::Answer(Answer { query_id, answer })) => {
                if let (Some(reply), Some(answer)) = (self.questions.remove(&query_id), answer) {
                    // Whoever asked may have given up.
                    let _taken = reply.send(answer);
                }
                Ok(())
            }
            Some(agent_message::Message::PlaneCaRequest(asked)) => self.renew(&asked.csr).await,
            Some(agent_message::Message::Resealed(resealed)) => {
                self.hear_resealed(resealed).await;
                Ok(())
            }
            Some(agent_message::Message::Hello(_)) => Err(End::Protocol),
            // A newer agent may say what this version does not know.
            None => Ok(()),
        }
    }

    async fn hear_heartbeat(&mut self, place: &Place, said: Heartbeat) -> Result<(), End> {
        if self.control.authority.identity().check(&self.peer).is_err() {
            return Err(End::Certificate);
        }
        let mut components = notes::bounded(said.components);
        self.applied = said.applied_revision;
        if let Err(error) = self.write_down(&components).await {
            // What the plane says is said again at the next heartbeat.
            self.notes.forget();
            self.addresses.clear();
            tracing::warn!(plane = %self.plane.id, error = %Chain(&error), "cannot keep a heartbeat");
        }
        self.hear_roots(&components).await;
        // Counters are kept in the store; held here too, they would double a large plane's memory.
        components
            .iter_mut()
            .for_each(|component| component.counters = Vec::new());
        let at = self.control.stage.clock.unix_ms();
        place.update(|report| {
            report.last_heartbeat_at = Some(at);
            report.applied_revision = said.applied_revision;
            report.components = components;
        });
        if self
            .last_written
            .is_none_or(|written| written.elapsed() >= WRITE_EVERY)
        {
            self.write_heard().await;
        }
        if !self.forgiven && self.began.elapsed() >= LONG_SESSION {
            self.forgiven = self
                .control
                .store
                .forgive_recoveries(self.plane.id)
                .await
                .is_ok();
        }
        Ok(())
    }

    /// Keeps which roots the plane has, and has it renew its CA if that is of an earlier root.
    async fn hear_roots(&mut self, said: &[ComponentStatus]) {
        let control = Arc::clone(&self.control);
        let signs = control.authority.signs_sha256();
        let behind = |status: &ComponentStatus| {
            let mut trusted = status.trusted_roots.iter();
            status.component == Component::Agent.as_str()
                && trusted.any(|root| root[..] == signs)
                && status.certificate_root[..] != signs
        };
        let agent_behind = said.iter().any(behind);
        let said = Said::of(
            said.iter()
                .map(|status| (&status.trusted_roots[..], &status.certificate_root[..])),
        );
        let lately = self
            .renew_asked
            .is_some_and(|asked| asked.elapsed() < RENEW_AGAIN);
        if agent_behind && self.renew_due.is_none() && !lately {
            self.renew_due = Some(self.renewal_at());
        }
        if self.said_roots.as_ref() == Some(&said) {
            return;
        }
        let at = control.stage.clock.unix_ms();
        match control
            .store
            .keep_said_roots(self.plane.id, &said, at)
            .await
        {
            Ok(()) => self.said_roots = Some(said),
            Err(error) => {
                tracing::warn!(plane = %self.plane.id, error = %Chain(&error), "cannot keep a plane's roots");
            }
        }
    }

    /// Keeps addresses and counters that are not as they were.
    async fn write_down(&mut self, said: &[ComponentStatus]) -> Result<(), StoreError> {
        let (control, id) = (Arc::clone(&self.control), self.plane.id);
        let at = control.stage.clock.unix_ms();
        for restarted in self.notes.restarted(said) {
            let notes::Restarted {
                component,
                instance,
                boot_id,
            } = restarted;
            control
                .store
                .fold_counts(id, &component, &instance, &boot_id)
                .await?;
        }
        if self.notes.first_event(said) {
            let detail = "an event was accepted or delivered for the first time";
            let event = self.event(EventKind::FirstEvent, detail);
            control.store.first_event(&event).await?;
        }
        let counted = self.notes.counted(said);
        if !counted.is_empty() {
            control.store.count(&self.plane, &counted, at).await?;
        }
        let forget = at.saturating_sub(zen_chassis::clock::millis(FORGET_ADDRESS));
        let due = self
            .last_written
            .is_none_or(|written| written.elapsed() >= WRITE_EVERY);
        for component in [Component::Bridge, Component::Ingester] {
            let now = notes::addresses(self.plane.kind, component, said);
            if !due && self.addresses.get(&component) == Some(&now) {
                continue;
            }
            let news = control
                .store
                .report_addresses(id, component, &now, at, forget)
                .await?;
            self.addresses.insert(component, now);
            if news && component == Component::Bridge {
                control.touched.touch(self.users_of_bridges().await?);
            }
        }
        Ok(())
    }

    /// The planes whose snapshots name this plane's bridges.
    async fn users_of_bridges(&self) -> Result<Vec<PlaneId>, StoreError> {
        if self.plane.kind != PlaneKind::Data {
            return Ok(Vec::new());
        }
        let mut users = vec![self.plane.id];
        let using = self.control.store.planes_using(self.plane.id).await?;
        users.extend(
            using
                .into_iter()
                .filter(|plane| !plane.is_retired())
                .map(|plane| plane.id),
        );
        Ok(users)
    }

    async fn hear_rejected(&mut self, place: &Place, said: Rejected) {
        let rejection = Rejection {
            revision: said.revision,
            code: said.code.chars().take(WORDS).collect(),
            detail: said.detail.chars().take(WORDS).collect(),
        };
        let Rejection {
            revision,
            code,
            detail,
        } = &rejection;
        tracing::warn!(plane = %self.plane.id, revision, %code, %detail, "snapshot rejected");
        let event = NewEvent {
            code: Some(code.clone()),
            ..self.event(
                EventKind::SnapshotRejected,
                format!("revision {revision} was rejected: {detail}"),
            )
        };
        self.keep(&event).await;
        place.update(|report| report.rejected = Some(rejection));
    }

    /// Keeps when the plane was last heard of; the first time since it enrolled is an event.
    pub(super) async fn write_heard(&mut self) {
        if !self.beat {
            return;
        }
        let heard = Heard {
            at: self.control.stage.clock.unix_ms(),
            agent_version: &self.agent_version,
            applied_revision: self.applied,
        };
        match self.control.store.heard(self.plane.id, &heard).await {
            Ok(first) => {
                self.last_written = Some(Instant::now());
                if first {
                    self.note(EventKind::FirstHeartbeat, "heard of for the first time")
                        .await;
                }
            }
            Err(error) => {
                tracing::warn!(plane = %self.plane.id, error = %Chain(&error), "cannot keep a heartbeat");
            }
        }
    }
}

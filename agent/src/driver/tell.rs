//! What is done once between two states, and what a state looks like from outside.

use zen_chassis::chain::Chain;

use super::{Driver, WARN_EVERY};
use crate::enrol;
use crate::machine::{Action, State};
use crate::plane::PlaneState;
use crate::refusal::Refusal;
use crate::store::{Entry, StoreError};

impl Driver {
    pub(super) async fn act(&mut self, action: Action) {
        let plane = &self.plane;
        match action {
            Action::TellRefusal(code) => {
                plane.metrics.refused(code);
                let detail = self
                    .work
                    .refusal
                    .as_ref()
                    .map_or("", |refusal| &refusal.detail);
                let again = self.work.told.replace(code) == Some(code);
                if again && !self.work.failed.is_multiple_of(WARN_EVERY) {
                    tracing::debug!(%code, detail, "refused again");
                } else {
                    tracing::warn!(%code, detail, remedy = code.remedy(), "refused");
                    let line = self.work.refusal.as_ref().map(Refusal::line);
                    plane
                        .herald
                        .warn(code.code(), &line.unwrap_or_else(|| code.to_string()));
                }
            }
            Action::TellEnrolled => {
                if let Some(identity) = plane.desk.now().identity {
                    let stored = &identity.stored;
                    tracing::info!(plane = %stored.plane_id, tenant = %stored.tenant_id, "enrolled");
                    let note = format!("enrolled as plane {}", stored.plane_id);
                    plane.herald.tell("Enrolled", &note);
                }
                self.work.bundle = None;
                self.work.refusal = None;
                self.work.told = None;
            }
            Action::TellConnected => {
                if self.work.was_connected {
                    plane.metrics.reconnected();
                }
                self.work.was_connected = true;
                self.work.told = None;
                let address = plane
                    .desk
                    .now()
                    .identity
                    .map(|i| i.stored.session_address.clone());
                tracing::info!(
                    address = address.as_deref(),
                    revision = plane.desk.now().revision(),
                    "connected"
                );
                let to = address.unwrap_or_default();
                let note = format!("connected to the control plane at {to}");
                plane.herald.tell("Connected", &note);
            }
            Action::CloseSession => self.work.session = None,
            Action::RemoveBundle => {
                let Some(sealed) = self.work.sealed.take() else {
                    return;
                };
                match enrol::remove_bundle(&*plane.store, &sealed).await {
                    // The same one, put there once more, shall be seen again.
                    Ok(true) => self.bundles.forget(),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error), "pending key cannot be removed");
                    }
                }
            }
            Action::ForgetIdentity => self.forget().await,
        }
    }

    /// What a retired plane had is removed; until a store that fails has done so, it is tried again
    /// at the next start, where the control plane says the same.
    async fn forget(&self) {
        let plane = &self.plane;
        let held = plane.desk.now().identity;
        plane.desk.clear();
        let mut forgotten = true;
        let mut note = |what: &str, outcome: Result<(), StoreError>| {
            if let Err(error) = outcome {
                forgotten = false;
                tracing::error!(error = %Chain(&error), what, "retired plane cannot be forgotten");
            }
        };
        note("snapshot", plane.store.remove(Entry::Snapshot).await);
        note("pending keys", plane.store.remove(Entry::Pending).await);
        let id = held.map(|identity| identity.stored.plane_id);
        if let Some(id) = id {
            note("what lies beside", plane.store.retire(id).await);
        }
        // Last: as long as it is there, the next start comes here again.
        note("identity", plane.store.remove(Entry::Identity).await);
        if forgotten {
            let plane_id = id.map(|id| id.to_string());
            tracing::info!(
                plane = plane_id,
                "plane retired and forgotten; waiting for a new bundle"
            );
            plane.herald.tell(
                "Retired",
                "the plane was retired; its identity is removed, and a new bundle is waited for",
            );
        }
    }

    /// Shows the state: readiness, metrics, whoever embeds the agent.
    pub(super) fn show(&self) {
        let state = self.machine.state();
        let held = self.plane.desk.now();
        let refusal = self.work.refusal.clone();
        match state {
            State::WaitingForBundle => self.enrolment.not_ready("waiting for a bundle"),
            State::Opening | State::Redeeming if held.identity.is_none() => {
                // A try after a transient refusal still says what is in the way.
                let line = refusal.as_ref().map(Refusal::line);
                self.enrolment
                    .not_ready(line.unwrap_or_else(|| "redeeming the bundle".to_owned()));
            }
            State::Recovering if refusal.is_none() => {
                self.enrolment
                    .not_ready("the identity expired; a new one is asked for");
            }
            State::Refused(_) | State::Retired | State::Recovering => {
                let line = refusal.as_ref().map(Refusal::line);
                self.enrolment
                    .not_ready(line.unwrap_or_else(|| state.to_string()));
            }
            State::Opening
            | State::Redeeming
            | State::Enrolled
            | State::Connecting
            | State::Connected => self.enrolment.ready(),
        }
        self.plane
            .metrics
            .standing(held.identity.is_some(), state == State::Connected);
        self.plane.state.send_if_modified(|shown| {
            let stored = held.identity.as_ref().map(|identity| &identity.stored);
            let next = PlaneState {
                state,
                tenant: stored.map(|stored| stored.tenant_id),
                plane: stored.map(|stored| stored.plane_id),
                revision: held.revision(),
                refusal,
            };
            let changed = *shown != next;
            *shown = next;
            changed
        });
    }
}

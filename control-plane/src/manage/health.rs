//! How targets are, as their planes' egresses say.

use serde::Serialize;
use utoipa::ToSchema;
use zen_proto::ids::{PlaneId, TargetId};
use zen_proto::session::v1::{TargetHealth, TargetState};

use super::ask::text;
use super::shown_time;
use crate::control::Control;

/// A target's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct HealthView {
    /// `ok`, `failing`, `paused`, or `unknown`: the plane has no session or no egress.
    pub(crate) state: &'static str,
    /// When the first of its failures in a row was.
    pub(crate) since: Option<String>,
    /// Of the newest failure.
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    /// Deliveries that wait for it, as long as it is not well.
    pub(crate) waiting: u64,
}

/// A target that is not well, as its plane shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct UnwellView {
    pub(crate) target_id: String,
    pub(crate) name: Option<String>,
    /// The egress that says so.
    pub(crate) instance: String,
    /// `failing`, `open` (nobody answers: left alone for a while), `half_open` (being tried) or
    /// `paused` (it answered 410).
    pub(crate) state: &'static str,
    pub(crate) since: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) waiting: u64,
}

impl HealthView {
    const fn of_none(state: &'static str) -> Self {
        Self {
            state,
            since: None,
            code: None,
            detail: None,
            waiting: 0,
        }
    }
}

impl Control {
    /// The target's health by what its plane last said; of several egresses the worst.
    pub(super) fn target_health(&self, plane: PlaneId, target: TargetId) -> HealthView {
        let id = target.to_string();
        let heard = self.live.read(plane, |connected, report| {
            let egresses = report
                .components
                .iter()
                .filter(|component| component.component == "egress");
            let mut known = false;
            let mut found: Option<TargetHealth> = None;
            for health in egresses.inspect(|_| known = true).flat_map(|e| &e.targets) {
                let worse = found.as_ref().is_none_or(|found| {
                    (health.state, health.waiting) > (found.state, found.waiting)
                });
                if health.target_id == id && worse {
                    found = Some(health.clone());
                }
            }
            (connected && known, found)
        });
        match heard {
            Some((true, Some(health))) => HealthView {
                state: match health.state() {
                    TargetState::Paused => "paused",
                    _ => "failing",
                },
                since: (health.since_ms > 0).then(|| shown_time(health.since_ms)),
                code: text(health.code),
                detail: text(health.detail),
                waiting: health.waiting,
            },
            Some((true, None)) => HealthView::of_none("ok"),
            Some((false, _)) | None => HealthView::of_none("unknown"),
        }
    }
}

/// A target that an egress told of.
pub(super) fn unwell(instance: &str, health: TargetHealth) -> UnwellView {
    UnwellView {
        state: match health.state() {
            TargetState::Open => "open",
            TargetState::HalfOpen => "half_open",
            TargetState::Paused => "paused",
            TargetState::Failing | TargetState::Unspecified => "failing",
        },
        target_id: health.target_id,
        name: text(health.name),
        instance: instance.to_owned(),
        since: (health.since_ms > 0).then(|| shown_time(health.since_ms)),
        code: text(health.code),
        detail: text(health.detail),
        waiting: health.waiting,
    }
}

//! What came to pass over time: counters per minute, gathered into steps.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};
use zen_proto::ids::PlaneId;

use super::shown_time;
use crate::control::Control;
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Increments, MINUTE_MS, MinutesOf, Span};

/// Points of one series at the most.
const POINTS: u64 = 1500;
/// Minutes shown unless asked otherwise.
const HOUR: u64 = 60;
/// Longest step, in seconds.
const STEP: u32 = 24 * 60 * 60;

/// Which time is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SeriesAsked {
    /// Where it begins, RFC 3339; an hour before the end unless given.
    pub(crate) from: Option<String>,
    /// Where it ends, RFC 3339; now unless given.
    pub(crate) until: Option<String>,
    /// Seconds of one point, whole minutes; 60 unless given. At most 1,500 points are shown.
    #[param(minimum = 60, maximum = 86400, multiple_of = 60)]
    pub(crate) step: Option<u32>,
}

/// Counts over time. There is a point for every step; one in which nothing happened has zeros.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SeriesView {
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) step_seconds: u64,
    pub(crate) points: Vec<PointView>,
}

/// What came to pass within one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PointView {
    /// Where the step begins.
    pub(crate) at: String,
    /// Events.
    pub(crate) accepted: u64,
    /// Deliveries.
    pub(crate) delivered: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) refused: u64,
    pub(crate) expired: u64,
}

impl SeriesAsked {
    /// The minutes that are wanted.
    ///
    /// # Errors
    /// 400 for what is no time, or too much of it.
    fn span(&self, now_ms: u64) -> Result<Span, Problem> {
        let step = self.step.unwrap_or(60);
        if !(60..=STEP).contains(&step) || !step.is_multiple_of(60) {
            let wrong = format!("step: 60 to {STEP} seconds, whole minutes");
            return Err(Problem::query(wrong));
        }
        let step = u64::from(step / 60);
        let until = minute("until", self.until.as_deref())?;
        // The present minute has begun and is shown.
        let until = until.unwrap_or(now_ms / MINUTE_MS + 1);
        let from = minute("from", self.from.as_deref())?;
        let from = from.unwrap_or_else(|| until.saturating_sub(HOUR.max(step)));
        // Points stand where they always stand, whenever somebody looks.
        let from = from / step * step;
        if from >= until {
            return Err(Problem::query("from: must be before until"));
        }
        if (until - from).div_ceil(step) > POINTS {
            let wrong = format!("step: at most {POINTS} points; take a longer step");
            return Err(Problem::query(wrong));
        }
        Ok(Span { from, until, step })
    }
}

/// A time in a query, in minutes since 1970.
fn minute(name: &str, text: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let minutes = time.and_then(|time| u64::try_from(time.unix_timestamp() / 60).ok());
    minutes
        .map(Some)
        .ok_or_else(|| Problem::query(format!("{name}: a time such as 2026-01-31T09:30:00Z")))
}

impl Control {
    /// What a plane has counted over time.
    pub(crate) async fn plane_series(
        &self,
        caller: &Principal,
        id: PlaneId,
        asked: &SeriesAsked,
    ) -> Result<SeriesView, Problem> {
        caller.may(Operation::PlaneRead)?;
        let span = asked.span(self.stage.clock.unix_ms())?;
        let plane = self.managed_plane(caller, id).await?;
        self.series(MinutesOf::Plane(plane.id), span).await
    }

    /// What all planes have counted over time of the tenant's events.
    pub(crate) async fn tenant_series(
        &self,
        caller: &Principal,
        asked: &SeriesAsked,
    ) -> Result<SeriesView, Problem> {
        caller.may(Operation::PlaneRead)?;
        let span = asked.span(self.stage.clock.unix_ms())?;
        self.series(MinutesOf::Tenant(caller.tenant), span).await
    }

    async fn series(&self, of: MinutesOf, span: Span) -> Result<SeriesView, Problem> {
        let counted = self.store.minutes(of, span).await?;
        let slots = (span.from..span.until).step_by(usize::try_from(span.step).unwrap_or(1));
        let points = slots.map(|minute| point(minute, counted.get(&minute)));
        Ok(SeriesView {
            from: shown_time(span.from * MINUTE_MS),
            until: shown_time(span.until * MINUTE_MS),
            step_seconds: span.step * 60,
            points: points.collect(),
        })
    }
}

fn point(minute: u64, counted: Option<&Increments>) -> PointView {
    let counted = counted.copied().unwrap_or_default();
    PointView {
        at: shown_time(minute * MINUTE_MS),
        accepted: counted.accepted,
        delivered: counted.delivered,
        failed_attempts: counted.failed_attempts,
        dead_lettered: counted.dead_lettered,
        refused: counted.refused,
        expired: counted.expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: &str, until: &str, step: u32) -> Result<Span, Problem> {
        let asked = SeriesAsked {
            from: Some(from.to_owned()),
            until: Some(until.to_owned()),
            step: Some(step),
        };
        asked.span(1_700_000_000_000)
    }

    #[test]
    fn the_last_hour_is_shown_unless_asked_otherwise() {
        let now = 1_700_000_000_000;
        let span = SeriesAsked::default().span(now).unwrap();
        assert_eq!((span.until, span.step), (now / MINUTE_MS + 1, 1));
        assert_eq!(span.until - span.from, 60);
    }

    #[test]
    fn points_stand_at_whole_steps_and_are_bounded() {
        let day = asked("2026-01-01T00:30:00Z", "2026-01-02T00:00:00Z", 3600).unwrap();
        assert_eq!(day.from % 60, 0);
        for (from, until, step) in [
            ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", 60),
            ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 60),
            ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", 61),
            ("1800-01-01T00:00:00Z", "2026-01-01T01:00:00Z", 86_400),
            ("yesterday", "2026-01-01T01:00:00Z", 60),
        ] {
            let problem = asked(from, until, step).err().unwrap();
            assert_eq!(problem.code, "QUERY_INVALID", "{from} {until} {step}");
        }
    }
}

//! What a caller can do, noun by noun: the API's handlers and the pages are thin over these methods
//! of [`Control`]. Everything lies in the caller's scope.

mod bundles;
mod deliveries;
mod endpoints;
mod flows;
mod planes;
mod read;
mod targets;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zen_proto::ids::PlaneId;

pub(crate) use deliveries::{DeadLettersAsked, DeliveriesAsked};

use crate::control::Control;
use crate::plane::{Plane, PlaneKind};
use crate::problem::Problem;
use crate::store::{Principal, Scope};

/// One page of a list, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// For `?cursor=`; none on the last page.
    pub(crate) next_cursor: Option<String>,
}

/// A time as the API shows it: RFC 3339, UTC, milliseconds.
pub(crate) fn shown_time(unix_ms: u64) -> String {
    let nanoseconds = i128::from(unix_ms) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    // Only a time beyond the year 9999 has no text.
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

impl Control {
    /// What the caller may see and change.
    pub(crate) const fn scope(&self, caller: &Principal) -> Scope {
        caller.scope(self.operator_tenant)
    }

    /// The plane that is managed: the caller's own, or the operator's for who may.
    async fn managed_plane(&self, caller: &Principal, id: PlaneId) -> Result<Plane, Problem> {
        let found = self.store.plane(self.scope(caller), id).await?;
        found.ok_or_else(|| Problem::no_such("plane", id))
    }

    /// The plane in which the caller puts something: its own, or any data plane; in service.
    async fn usable_plane(&self, caller: &Principal, text: &str) -> Result<Plane, Problem> {
        let wrong = |detail: String| Problem::field("plane_id", detail);
        let id: PlaneId = text
            .parse()
            .map_err(|e: zen_proto::ids::IdError| wrong(e.to_string()))?;
        let found = self.store.any_plane(id).await?;
        let scope = self.scope(caller);
        let usable = |plane: &Plane| {
            plane.kind == PlaneKind::Data || [scope.tenant, scope.also].contains(&plane.tenant)
        };
        let plane = found
            .filter(usable)
            .ok_or_else(|| wrong(format!("there is no plane {id}")))?;
        in_service(plane)
    }
}

/// The plane, unless it was retired.
fn in_service(plane: Plane) -> Result<Plane, Problem> {
    if plane.is_retired() {
        return Err(Problem::retired(format!("plane {} was retired", plane.id)));
    }
    Ok(plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(shown_time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }
}

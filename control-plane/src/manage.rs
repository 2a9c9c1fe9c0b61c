//! What a caller can do, noun by noun: the API's handlers and the pages are thin over these methods
//! of [`Control`]. Everything lies in the caller's scope.

mod account;
mod api_keys;
mod ask;
mod audit;
mod bundles;
mod choices;
mod deliveries;
mod endpoints;
mod flows;
mod health;
mod lists;
mod overview;
mod planes;
mod read;
mod replays;
mod roots;
mod secrets;
mod series;
mod targets;
mod tenants;
mod trials;
mod users;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zen_proto::ids::PlaneId;

pub(crate) use account::{
    CodeBody, OwnSessionsView, PasswordChangeBody, PasswordProofBody, RecoveryCodesView,
    TotpBegunView,
};
pub(crate) use api_keys::{ApiKeyBody, ApiKeyView, NewApiKeyView};
pub(crate) use audit::{AuditAsked, AuditKept, CheckedView, EntryView};
pub(crate) use bundles::{BundleBody, BundleView};
pub(crate) use choices::{Names, PlaneChoice};
pub(crate) use deliveries::{
    AttemptView, DeadLettersAsked, DeliveriesAsked, DeliveryAsked, DeliveryView,
};
pub(crate) use endpoints::{EndpointView, EndpointsAsked};
pub(crate) use flows::{FlowView, FlowsAsked};
pub(crate) use lists::{Listed, PageAsked};
pub(crate) use overview::{FailingView, OverviewView, PlaneCountsView};
pub(crate) use planes::{ComponentView, EventView, LockView, PlaneBody, PlaneView, PlanesAsked};
pub(crate) use read::read;
pub(crate) use replays::{ReplayBody, ReplayView};
pub(crate) use roots::{RootId, RootRemoveAsked, RootSignBody, RootView, RootsView};
pub(crate) use secrets::{SecretRemovalAsked, SecretUseView, SecretView, SecretsAsked};
pub(crate) use series::{PointView, SeriesAsked, SeriesView};
pub(crate) use targets::{TargetView, TargetsAsked};

pub(crate) use tenants::{MeView, NewTenantView, TenantBody, TenantSettingsBody, TenantView};
pub(crate) use trials::{HopView, ProbeView, TestCallView, TestEventView};
pub(crate) use users::{InvitedView, UserBody, UserView};

use crate::control::Control;
use crate::plane::{Plane, PlaneKind};
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::Scope;

/// A time as the API shows it: RFC 3339, UTC, milliseconds.
pub(crate) fn shown_time(unix_ms: u64) -> String {
    let nanoseconds = i128::from(unix_ms) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    // Only a time beyond the year 9999 has no text.
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Reads an id that was kept or shown by this process.
fn read_id<I: std::str::FromStr<Err: ToString>>(text: &str) -> Result<I, Problem> {
    text.parse()
        .map_err(|error: I::Err| Problem::query(error.to_string()))
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

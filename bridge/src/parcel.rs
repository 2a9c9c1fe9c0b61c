//! The checks a parcel passes before it is stored. Pure: time and configuration come in.

use prost::Message;
use zen_proto::ids::{DeliveryId, PlaneId, TenantId};
use zen_proto::limits;
use zen_proto::relay::v1::Parcel;

use crate::served::{Publisher, Served};

/// The version of parcels this build knows.
const VERSION: u32 = 1;
/// What a batch adds around a parcel on its way to the egress, generously.
const FRAMING: usize = 4 * 1024;

/// Why a parcel was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The plane is not served here, or not yet.
    PlaneUnknown,
    /// The parcel's tenant is not the plane's, or not the publisher's.
    TenantMismatch,
    /// Its time was over when it came.
    ParcelExpired,
    /// The lane holds all it may, or its disk takes nothing at the moment.
    LaneFull,
    /// Unknown version, malformed ids, or too large.
    ParcelInvalid,
}

impl Refusal {
    /// Every refusal, in the order of their numbers.
    pub(crate) const ALL: [Self; 5] = [
        Self::PlaneUnknown,
        Self::TenantMismatch,
        Self::ParcelExpired,
        Self::LaneFull,
        Self::ParcelInvalid,
    ];

    /// The stable code of the wire.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::PlaneUnknown => "PLANE_UNKNOWN",
            Self::TenantMismatch => "TENANT_MISMATCH",
            Self::ParcelExpired => "PARCEL_EXPIRED",
            Self::LaneFull => "LANE_FULL",
            Self::ParcelInvalid => "PARCEL_INVALID",
        }
    }

    /// Whether the publisher shall try again.
    pub(crate) const fn retry(self) -> bool {
        matches!(self, Self::PlaneUnknown | Self::LaneFull)
    }
}

/// Whether the parcel may go on, and into which plane's lane.
pub(crate) fn check(
    parcel: &Parcel,
    publisher: Publisher,
    served: &Served,
    now_ms: u64,
) -> Result<PlaneId, Refusal> {
    if parcel.version != VERSION || parcel.encoded_len() > limits::DELIVERY_MESSAGE - FRAMING {
        return Err(Refusal::ParcelInvalid);
    }
    let invalid = |_| Refusal::ParcelInvalid;
    parcel.delivery_id.parse::<DeliveryId>().map_err(invalid)?;
    let tenant: TenantId = parcel.tenant_id.parse().map_err(invalid)?;
    let plane: PlaneId = parcel.plane_id.parse().map_err(invalid)?;
    if parcel.expires_at_ms <= now_ms {
        return Err(Refusal::ParcelExpired);
    }
    if matches!(publisher, Publisher::EdgePlane(own) if own != tenant) {
        return Err(Refusal::TenantMismatch);
    }
    match served.tenant_of(plane) {
        None => Err(Refusal::PlaneUnknown),
        Some(owner) if owner != tenant => Err(Refusal::TenantMismatch),
        Some(_) => Ok(plane),
    }
}

#[cfg(test)]
#[path = "parcel/tests.rs"]
mod tests;

//! Whom this bridge serves, as the configuration says, and the judgement of a peer by it. Pure.

use std::collections::HashMap;

use zen_identity::SpiffeId;
use zen_proto::component::Component;
use zen_proto::ids::{PlaneId, TenantId};
use zen_proto::snapshot::v1::Snapshot;

/// The planes whose egresses may attach and to which may be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    /// The data plane this bridge stands in; none before there is a configuration.
    own: Option<(TenantId, PlaneId)>,
    planes: HashMap<PlaneId, TenantId>,
}

/// Somebody who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// An ingester of the bridge's own data plane: to every served plane.
    DataPlane,
    /// An ingester of an edge plane: to served planes of its own tenant.
    EdgePlane(TenantId),
}

/// Why a peer may not do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwelcome {
    /// There is no configuration to judge by.
    #[error("this bridge has no configuration yet")]
    NotConfigured,
    /// It is authentic, but not the component for this call.
    #[error("this call is not for that component")]
    WrongComponent,
    /// The plane is not served here, or not yet.
    #[error("this bridge does not serve that plane")]
    PlaneUnknown,
    /// The plane is served for another tenant.
    #[error("the plane belongs to another tenant")]
    TenantMismatch,
}

impl Unwelcome {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NotConfigured => "NOT_CONFIGURED",
            Self::WrongComponent => "COMPONENT_REFUSED",
            Self::PlaneUnknown => "PLANE_UNKNOWN",
            Self::TenantMismatch => "TENANT_MISMATCH",
        }
    }
}

impl Served {
    /// What a snapshot says. An entry that does not parse is left out and logged.
    pub(crate) fn from_snapshot(snapshot: &Snapshot) -> Self {
        let own = snapshot
            .tenant_id
            .parse()
            .ok()
            .zip(snapshot.plane_id.parse().ok());
        let mut planes = HashMap::with_capacity(snapshot.served_planes.len());
        for entry in &snapshot.served_planes {
            match (entry.plane_id.parse(), entry.tenant_id.parse()) {
                (Ok(plane), Ok(tenant)) => {
                    planes.insert(plane, tenant);
                }
                _ => tracing::warn!(
                    plane = entry.plane_id,
                    tenant = entry.tenant_id,
                    "served plane left out, its ids do not parse"
                ),
            }
        }
        for revoked in &snapshot.revoked_plane_ids {
            if let Ok(plane) = revoked.parse::<PlaneId>() {
                planes.remove(&plane);
            }
        }
        Self { own, planes }
    }

    /// How many planes are served.
    pub(crate) fn len(&self) -> usize {
        self.planes.len()
    }

    /// The tenant a plane is served for.
    pub(crate) fn tenant_of(&self, plane: PlaneId) -> Option<TenantId> {
        self.planes.get(&plane).copied()
    }

    /// Whether the peer may publish, and for whom.
    pub(crate) fn publisher(&self, peer: &SpiffeId) -> Result<Publisher, Unwelcome> {
        let (tenant, plane) = Self::plane_of(peer, Component::Ingester)?;
        match self.own {
            None => Err(Unwelcome::NotConfigured),
            Some(own) if own == (tenant, plane) => Ok(Publisher::DataPlane),
            Some(_) => self
                .belongs(tenant, plane)
                .map(|()| Publisher::EdgePlane(tenant)),
        }
    }

    /// Whether the peer may attach, and to which plane's lane.
    pub(crate) fn attached(&self, peer: &SpiffeId) -> Result<PlaneId, Unwelcome> {
        let (tenant, plane) = Self::plane_of(peer, Component::Egress)?;
        if self.own.is_none() {
            return Err(Unwelcome::NotConfigured);
        }
        self.belongs(tenant, plane).map(|()| plane)
    }

    fn plane_of(peer: &SpiffeId, wanted: Component) -> Result<(TenantId, PlaneId), Unwelcome> {
        match peer {
            SpiffeId::Component {
                tenant,
                plane,
                component,
                ..
            } if *component == wanted => Ok((*tenant, *plane)),
            _ => Err(Unwelcome::WrongComponent),
        }
    }

    fn belongs(&self, tenant: TenantId, plane: PlaneId) -> Result<(), Unwelcome> {
        match self.tenant_of(plane) {
            None => Err(Unwelcome::PlaneUnknown),
            Some(owner) if owner != tenant => Err(Unwelcome::TenantMismatch),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "served/tests.rs"]
mod tests;

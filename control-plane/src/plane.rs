//! A plane as the control plane knows it, and how its status is judged.

use std::fmt;
use std::str::FromStr;

use zen_proto::ids::{PlaneId, TenantId};
use zen_proto::session::v1::{ComponentStatus, LinkHealth, TargetHealth};

/// Whether a plane belongs to a tenant or carries many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PlaneKind {
    /// In a tenant's own network.
    Edge,
    /// The operator's, for many tenants.
    Data,
}

impl PlaneKind {
    /// The one word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Data => "data",
        }
    }
}

impl fmt::Display for PlaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no kind of plane.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a kind of plane (edge, data)")]
pub(crate) struct UnknownKind(String);

impl FromStr for PlaneKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        match text {
            "edge" => Ok(Self::Edge),
            "data" => Ok(Self::Data),
            other => Err(UnknownKind(other.to_owned())),
        }
    }
}

/// A plane as it is kept. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    pub(crate) id: PlaneId,
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) kind: PlaneKind,
    /// Edge planes: the data plane it uses.
    pub(crate) data_plane: Option<PlaneId>,
    pub(crate) created_at: u64,
    /// When a bundle of it was last redeemed.
    pub(crate) enrolled_at: Option<u64>,
    pub(crate) retired_at: Option<u64>,
    /// Counts the changes made by people.
    pub(crate) version: u64,
    /// Written coarsely; what is live stands in the session's state.
    pub(crate) last_heartbeat_at: Option<u64>,
    pub(crate) agent_version: Option<String>,
    pub(crate) applied_revision: u64,
    /// Recoveries since the last long session.
    pub(crate) recoveries: u64,
}

impl Plane {
    /// Whether it was taken out of service for good.
    pub(crate) const fn is_retired(&self) -> bool {
        self.retired_at.is_some()
    }

    /// The data plane whose bridges it uses: its own if it is one.
    pub(crate) const fn bridged_by(&self) -> Option<PlaneId> {
        match self.kind {
            PlaneKind::Data => Some(self.id),
            PlaneKind::Edge => self.data_plane,
        }
    }
}

/// What is known of a plane from its session. Kept after the session's end as what was last heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) last_heartbeat_at: Option<u64>,
    pub(crate) agent_version: String,
    pub(crate) applied_revision: u64,
    pub(crate) components: Vec<ComponentStatus>,
    pub(crate) rejected: Option<Rejection>,
}

/// That a plane did not take a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) revision: u64,
    pub(crate) code: String,
    pub(crate) detail: String,
}

/// A plane's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    NeverEnrolled,
    Connected,
    Degraded,
    NotConnected,
    Retired,
}

impl Status {
    /// The word, as the API shows it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NeverEnrolled => "never_enrolled",
            Self::Connected => "connected",
            Self::Degraded => "degraded",
            Self::NotConnected => "not_connected",
            Self::Retired => "retired",
        }
    }
}

/// The text is no state of a plane.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a state of a plane (never_enrolled, connected, degraded, not_connected, retired)"
)]
pub(crate) struct UnknownStatus(String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let all = [
            Self::NeverEnrolled,
            Self::Connected,
            Self::Degraded,
            Self::NotConnected,
            Self::Retired,
        ];
        let found = all.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// Judges a plane's status, and says why it is not simply connected (empty if there is nothing to
/// say). `connected` is whether its session is open and was heard of in time.
pub(crate) fn status(
    plane: &Plane,
    connected: bool,
    report: Option<&Report>,
    published_revision: u64,
) -> (Status, String) {
    if plane.is_retired() {
        return (Status::Retired, String::new());
    }
    if plane.enrolled_at.is_none() {
        return (
            Status::NeverEnrolled,
            "run the plane's install command".to_owned(),
        );
    }
    let Some(report) = report.filter(|_| connected) else {
        return (Status::NotConnected, "the agent has no session".to_owned());
    };
    if let Some(rejected) = report
        .rejected
        .as_ref()
        .filter(|r| r.revision == published_revision)
    {
        let Rejection {
            revision,
            code,
            detail,
        } = rejected;
        return (
            Status::Degraded,
            format!("snapshot {revision} was rejected: {code}: {detail}"),
        );
    }
    let mut unwell: Vec<String> = report.components.iter().filter_map(complaint).collect();
    unwell.extend(report.components.iter().flat_map(apart));
    // A data plane's targets are its tenants': what they answer is no fault of the plane.
    if plane.kind == PlaneKind::Edge {
        unwell.extend(troubles(report));
    }
    if unwell.is_empty() {
        (Status::Connected, String::new())
    } else {
        (Status::Degraded, unwell.join("; "))
    }
}

fn complaint(component: &ComponentStatus) -> Option<String> {
    let ComponentStatus {
        component,
        instance,
        ready,
        pending,
        ..
    } = component;
    (!ready).then(|| {
        format!(
            "{component} {instance} is not ready: {}",
            pending.join(", ")
        )
    })
}

/// Peers that a component does not reach.
fn apart(component: &ComponentStatus) -> impl Iterator<Item = String> {
    let ComponentStatus {
        component,
        instance,
        links,
        ..
    } = component;
    links.iter().map(move |link| {
        let LinkHealth {
            to,
            address,
            detail,
            ..
        } = link;
        format!("{component} {instance} does not reach {to} {address}: {detail}")
    })
}

/// Targets named in a status at the most.
const NAMED: usize = 3;

/// What is wrong with targets, the first few by name.
fn troubles(report: &Report) -> Vec<String> {
    let all = || report.components.iter().flat_map(|said| &said.targets);
    let mut told: Vec<String> = all().take(NAMED).map(trouble).collect();
    let more = all().count().saturating_sub(NAMED);
    if more > 0 {
        told.push(format!("{more} more targets are not well"));
    }
    told
}

/// One target's trouble in words; its page has the details.
fn trouble(health: &TargetHealth) -> String {
    let name = if health.name.is_empty() {
        &health.target_id
    } else {
        &health.name
    };
    let detail = &health.detail;
    let does = match health.code.as_str() {
        "TARGET_UNREACHABLE" if detail.to_lowercase().contains("refused") => "refuses connections",
        "TARGET_UNREACHABLE" => "cannot be reached",
        "TARGET_TIMEOUT" => "does not answer in time",
        "TARGET_TLS_FAILED" => "fails the TLS handshake",
        "TARGET_CONNECTION_LOST" => "breaks connections off",
        "TARGET_GONE" => "answered 410 and rests until it is changed",
        "TARGET_ADDRESS_REFUSED" => "has an address that may not be called",
        "TARGET_INVALID" => "has a configuration that cannot be used",
        "SECRET_UNREADABLE" => "needs a secret that cannot be read",
        "TARGET_ERROR" | "TARGET_REJECTED" | "TARGET_REDIRECTED" => {
            return format!("target {name} answers {detail}");
        }
        code if code.starts_with("SECRET_") => {
            return format!("target {name} needs a secret that is not to be had ({code})");
        }
        code => return format!("target {name} fails: {code}"),
    };
    format!("target {name} {does}")
}

#[cfg(test)]
pub(crate) mod tests {
    use zen_proto::ids::Id as _;

    use super::*;

    /// An enrolled plane with ids made from `seed`.
    pub(crate) fn plane(kind: PlaneKind, seed: u8, data_plane: Option<PlaneId>) -> Plane {
        Plane {
            id: PlaneId::generate(1, [seed; 10]),
            tenant: TenantId::generate(1, [1; 10]),
            name: format!("plane {seed}"),
            kind,
            data_plane,
            created_at: 1,
            enrolled_at: Some(2),
            retired_at: None,
            version: 1,
            last_heartbeat_at: None,
            agent_version: None,
            applied_revision: 0,
            recoveries: 0,
        }
    }

    #[test]
    fn a_rejected_snapshot_degrades_a_plane_until_another_is_published() {
        let plane = plane(PlaneKind::Edge, 1, None);
        let rejected = Rejection {
            revision: 4,
            code: "X".to_owned(),
            detail: String::new(),
        };
        let report = Report {
            rejected: Some(rejected),
            ..Report::default()
        };
        assert_eq!(status(&plane, true, Some(&report), 4).0, Status::Degraded);
        assert_eq!(status(&plane, true, Some(&report), 5).0, Status::Connected);
    }

    #[test]
    fn a_target_that_is_not_well_degrades_an_edge_plane_and_is_named() {
        let target = TargetHealth {
            name: "billing".to_owned(),
            code: "TARGET_UNREACHABLE".to_owned(),
            detail: "no connection: Connection refused (os error 111)".to_owned(),
            ..TargetHealth::default()
        };
        let rejecting = TargetHealth {
            name: "crm".to_owned(),
            code: "TARGET_REJECTED".to_owned(),
            detail: "HTTP 401".to_owned(),
            ..TargetHealth::default()
        };
        let egress = ComponentStatus {
            component: "egress".to_owned(),
            ready: true,
            targets: vec![target, rejecting],
            ..ComponentStatus::default()
        };
        let report = Report {
            components: vec![egress],
            ..Report::default()
        };
        let edge = plane(PlaneKind::Edge, 1, None);
        let (word, detail) = status(&edge, true, Some(&report), 1);
        assert_eq!(word, Status::Degraded);
        assert_eq!(
            detail,
            "target billing refuses connections; target crm answers HTTP 401"
        );
        let data = plane(PlaneKind::Data, 2, None);
        assert_eq!(status(&data, true, Some(&report), 1).0, Status::Connected);
    }

    #[test]
    fn a_bridge_that_is_not_reached_degrades_a_plane_whose_egress_is_ready() {
        let link = LinkHealth {
            to: "bridge".to_owned(),
            address: "bridge.example:7443".to_owned(),
            detail: "no answer".to_owned(),
            ..LinkHealth::default()
        };
        let egress = ComponentStatus {
            component: "egress".to_owned(),
            instance: "0".to_owned(),
            ready: true,
            links: vec![link],
            ..ComponentStatus::default()
        };
        let report = Report {
            components: vec![egress],
            ..Report::default()
        };
        let edge = plane(PlaneKind::Edge, 1, None);
        let (word, detail) = status(&edge, true, Some(&report), 1);
        assert_eq!(word, Status::Degraded);
        assert!(detail.contains("bridge.example:7443"), "{detail}");
    }

    #[test]
    fn each_state_has_its_word() {
        let mut plane = plane(PlaneKind::Edge, 1, None);
        let sick = ComponentStatus {
            component: "egress".to_owned(),
            pending: vec!["ledger: disk full".to_owned()],
            ..ComponentStatus::default()
        };
        let report = Report {
            components: vec![sick],
            ..Report::default()
        };
        let (word, detail) = status(&plane, true, Some(&report), 1);
        assert_eq!(word, Status::Degraded);
        assert!(detail.contains("disk full"), "{detail}");
        assert_eq!(
            status(&plane, false, Some(&report), 1).0,
            Status::NotConnected
        );
        plane.enrolled_at = None;
        assert_eq!(status(&plane, false, None, 1).0, Status::NeverEnrolled);
        plane.retired_at = Some(9);
        assert_eq!(status(&plane, true, Some(&report), 1).0, Status::Retired);
    }
}

//! Who may do what: the one table of roles and operations.

use std::fmt;
use std::str::FromStr;

/// What a person or key is in its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Looks.
    Viewer,
    /// Also changes endpoints, targets, flows and secrets, tests and replays.
    Editor,
    /// Also registers and retires planes, issues bundles, makes keys, reads the audit log.
    Admin,
    /// Also decides about people.
    Owner,
}

impl Role {
    /// All of them, the weakest first.
    pub(crate) const ALL: [Self; 4] = [Self::Viewer, Self::Editor, Self::Admin, Self::Owner];

    /// The one word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no role.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a role (owner, admin, editor, viewer)")]
pub(crate) struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $least:ident;)*) => {
        /// What can be asked of the control plane, as far as permission is concerned. The words
        /// are also the scopes of API keys.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Operation {
            $($(#[$doc])* $name,)*
        }

        impl Operation {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The one word for it.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The weakest role that may.
            const fn least(self) -> Role {
                match self {
                    $(Self::$name => Role::$least,)*
                }
            }
        }
    };
}

operations! {
    /// Planes, their timeline, counters and probes.
    PlaneRead = "plane.read", Viewer;
    /// Register and rename edge planes.
    PlaneWrite = "plane.write", Admin;
    /// Take a plane out of service.
    PlaneRetire = "plane.retire", Admin;
    /// Issue enrolment bundles.
    BundleIssue = "bundle.issue", Admin;
    /// Endpoints.
    EndpointRead = "endpoint.read", Viewer;
    /// Make, change and remove endpoints.
    EndpointWrite = "endpoint.write", Editor;
    /// Targets.
    TargetRead = "target.read", Viewer;
    /// Make, change and remove targets.
    TargetWrite = "target.write", Editor;
    /// Sealed secrets; what they hold nobody here can read.
    SecretRead = "secret.read", Viewer;
    /// Store, replace and remove sealed secrets.
    SecretWrite = "secret.write", Editor;
    /// Flows.
    FlowRead = "flow.read", Viewer;
    /// Make, change and remove flows.
    FlowWrite = "flow.write", Editor;
    /// Deliveries, attempts and dead letters.
    DeliveryRead = "delivery.read", Viewer;
    /// Replay dead letters.
    Replay = "replay.start", Editor;
    /// Send test events and test calls.
    TestSend = "test.send", Editor;
    /// The audit log.
    AuditRead = "audit.read", Admin;
    /// API keys, without the keys themselves.
    KeyRead = "key.read", Admin;
    /// Make and revoke API keys.
    KeyWrite = "key.write", Admin;
    /// The people of the tenant.
    UserRead = "user.read", Viewer;
    /// Invite people, change their roles, disable them.
    UserWrite = "user.write", Owner;
    /// Tenants; the operator's people only.
    TenantRead = "tenant.read", Owner;
    /// Make tenants; the operator's people only.
    TenantWrite = "tenant.write", Owner;
    /// Register, rename and retire data planes; the operator's people only.
    DataPlaneWrite = "data_plane.write", Admin;
    /// Rotate the root, and see how far that is; the operator's people only.
    RootManage = "root.manage", Admin;
}

impl Operation {
    /// Whether it concerns what belongs to the operator.
    pub(crate) const fn of_operator(self) -> bool {
        matches!(
            self,
            Self::TenantRead | Self::TenantWrite | Self::DataPlaneWrite | Self::RootManage
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no operation.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an operation")]
pub(crate) struct UnknownOperation(String);

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, UnknownOperation> {
        let mut all = Self::ALL.iter().copied();
        let found = all.find(|operation| operation.as_str() == text);
        found.ok_or_else(|| UnknownOperation(text.to_owned()))
    }
}

/// Whether a role may do something at all. What belongs to the operator is for its people besides.
pub(crate) fn allows(role: Role, operation: Operation) -> bool {
    role >= operation.least()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_role_may_all_that_a_weaker_one_may() {
        for &operation in Operation::ALL {
            for pair in Role::ALL.windows(2) {
                assert!(!allows(pair[0], operation) || allows(pair[1], operation));
            }
            assert!(allows(Role::Owner, operation));
        }
        let changing = |operation: &Operation| !operation.as_str().ends_with(".read");
        let mut all = Operation::ALL.iter().copied();
        assert!(!all.any(|operation| changing(&operation) && allows(Role::Viewer, operation)));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for &operation in Operation::ALL {
            assert_eq!(operation.as_str().parse::<Operation>().unwrap(), operation);
        }
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
        }
        assert!("root".parse::<Role>().is_err());
    }
}

//! The five kinds of process a plane is made of.

use std::fmt;
use std::str::FromStr;

/// A component of a plane, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// Enrols the plane and speaks for it to the control plane.
    Agent,
    /// Takes webhooks in.
    Ingester,
    /// Delivers to targets.
    Egress,
    /// Opens secrets.
    Lock,
    /// Relays from the data plane to egresses that dialled out.
    Bridge,
}

impl Component {
    /// The one word for it in ids, logs, metrics and charts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Ingester => "ingester",
            Self::Egress => "egress",
            Self::Lock => "lock",
            Self::Bridge => "bridge",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a component (agent, ingester, egress, lock, bridge)")]
pub struct UnknownComponent(pub String);

impl FromStr for Component {
    type Err = UnknownComponent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "agent" => Ok(Self::Agent),
            "ingester" => Ok(Self::Ingester),
            "egress" => Ok(Self::Egress),
            "lock" => Ok(Self::Lock),
            "bridge" => Ok(Self::Bridge),
            other => Err(UnknownComponent(other.to_owned())),
        }
    }
}

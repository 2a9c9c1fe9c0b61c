//! What a component may want a secret for.

use std::fmt;
use std::str::FromStr;

use crate::component::Component;

/// What a secret is opened for. A secret names the purposes it allows; none means nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Checking signatures of webhooks that arrive.
    WebhookVerification,
    /// Proving a delivery to its target: bearer, basic.
    TargetAuth,
    /// Signing deliveries.
    TargetSigning,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [
        Self::WebhookVerification,
        Self::TargetAuth,
        Self::TargetSigning,
    ];

    /// The one word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebhookVerification => "webhook-verification",
            Self::TargetAuth => "target-auth",
            Self::TargetSigning => "target-signing",
        }
    }

    /// The one component that has this purpose.
    #[must_use]
    pub const fn component(self) -> Component {
        match self {
            Self::WebhookVerification => Component::Ingester,
            Self::TargetAuth | Self::TargetSigning => Component::Egress,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a purpose (webhook-verification, target-auth, target-signing)")]
pub struct UnknownPurpose(pub String);

impl FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| UnknownPurpose(text.to_owned()))
    }
}

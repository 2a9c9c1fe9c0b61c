//! Stable codes of refusals around enrolment and the session, each with its remedy.
//! The same code and words stand in the agent's log, `/readyz`, the plane's page and the CLI.

use std::fmt;
use std::str::FromStr;

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $remedy:literal;)*) => {
        /// Why a plane is not enrolled or not connected.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RefusalCode {
            $($(#[$doc])* $variant,)*
        }

        impl RefusalCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as written on the wire and to people.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What a person does about it, one sentence.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

refusals! {
    /// The bundle's time was over when it was redeemed, by the control plane's clock.
    BundleExpired = "BUNDLE_EXPIRED",
        "regenerate the install command and run it within the bundle's lifetime";
    /// Another key redeemed the bundle before.
    BundleAlreadyUsed = "BUNDLE_ALREADY_USED",
        "if you did not enrol this plane elsewhere, treat it as an intrusion; regenerate the install command";
    /// A newer bundle of the same plane was issued.
    BundleSuperseded = "BUNDLE_SUPERSEDED",
        "use the newest install command of this plane, or regenerate it";
    /// The bundle could not be opened: wrong key, or damaged.
    BundleUnreadable = "BUNDLE_UNREADABLE",
        "apply bundle and identity of the same install command again, unchanged";
    /// The bundle is for another plane than the agent was set up for.
    PlaneMismatch = "PLANE_MISMATCH",
        "use the install command of this plane, or correct the plane id in the agent's configuration";
    /// The plane was retired.
    PlaneRetired = "PLANE_RETIRED",
        "create a new plane and use its install command";
    /// No connection to the control plane; the agent keeps trying.
    ControlPlaneUnreachable = "CONTROL_PLANE_UNREACHABLE",
        "allow outbound TLS from this host to the control plane's address";
    /// What answers is not the control plane that issued the bundle.
    ControlPlaneUntrusted = "CONTROL_PLANE_UNTRUSTED",
        "look for a proxy that intercepts TLS; if the control plane was rebuilt, regenerate the install command";
    /// The clocks of agent and control plane are too far apart.
    ClockSkew = "CLOCK_SKEW",
        "set this host's clock (NTP)";
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The text is no code this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known refusal code")]
pub struct UnknownCode(pub String);

impl FromStr for RefusalCode {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.code() == text)
            .ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

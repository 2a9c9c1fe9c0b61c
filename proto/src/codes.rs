//! Stable codes of refusals around enrolment and the session, each with its remedy.
//! The same code and words stand in the agent's log, `/readyz`, the plane's page and the CLI.

use std::fmt;
use std::str::FromStr;

macro_rules! codes {
    ($(#[$of:meta])* $name:ident; $($(#[$doc:meta])* $variant:ident = $code:literal, $remedy:literal;)*) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.code())
            }
        }

        impl FromStr for $name {
            type Err = UnknownCode;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|known| known.code() == text)
                    .ok_or_else(|| UnknownCode(text.to_owned()))
            }
        }
    };
}

codes! {
    /// Why a plane is not enrolled or not connected.
    RefusalCode;
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

/// The text is no code this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a known code")]
pub struct UnknownCode(pub String);

codes! {
    /// Why a secret was not opened. Whoever asked learns the code and nothing else; which secret,
    /// for whom and when stands in zen-lock's audit.
    SecretCode;
    /// No secret of this name is here.
    Unknown = "SECRET_UNKNOWN",
        "seal a secret of this name for this plane or namespace, or correct the name";
    /// The secret has no value of this name.
    KeyUnknown = "SECRET_KEY_UNKNOWN",
        "name one of the secret's values: lock:<name>/<key>";
    /// The caller is not among those whom the secret allows, or may not ask for this purpose.
    NotAllowed = "SECRET_NOT_ALLOWED",
        "seal the secret again with this service account or purpose allowed";
    /// The caller did not prove who it is.
    CallerUnknown = "SECRET_CALLER_UNKNOWN",
        "call with this plane's certificate, or with a projected token of audience zen-lock";
    /// Sealed for a key that zen-lock does not hold.
    WrongRecipient = "SECRET_WRONG_RECIPIENT",
        "seal the secret for a recipient that zen-lock shows (zen-lock pubkey), or give it that identity";
    /// Sealed for another plane, cluster, namespace or name.
    ScopeMismatch = "SECRET_SCOPE_MISMATCH",
        "a copied or renamed secret does not open: seal it anew for the place where it is used";
    /// No age file.
    NotAge = "SECRET_NOT_AGE",
        "store what zen seal or zen-lock encrypt wrote, unchanged";
    /// An age file that ends too soon.
    Truncated = "SECRET_TRUNCATED",
        "store the whole of what zen seal or zen-lock encrypt wrote";
    /// Changed after it was sealed.
    Damaged = "SECRET_DAMAGED",
        "take the sealed text from where it was written, or seal the secret again";
    /// Authentic and yet no scope-bound secret.
    Malformed = "SECRET_MALFORMED",
        "seal with zen seal or zen-lock encrypt: a bare age file has no scope";
    /// Of a format this version does not know.
    Version = "SECRET_VERSION",
        "upgrade zen-lock to at least the version that sealed the secret";
    /// Larger than a secret may be.
    TooLarge = "SECRET_TOO_LARGE",
        "keep a value under 64 KiB and a secret under 128 KiB";
    /// Not signed by one of the writers that zen-lock trusts.
    WriterUntrusted = "SECRET_WRITER_UNTRUSTED",
        "sign with the key of a trusted writer, or add the writer to zen-lock's settings";
    /// zen-lock holds no identity.
    NoIdentity = "SECRET_NO_IDENTITY",
        "put at least one identity (zen-lock keygen) where zen-lock's settings say";
    /// zen-lock was not reached.
    LockUnreachable = "SECRET_LOCK_UNREACHABLE",
        "see that zen-lock runs and is ready; what is open already stays in use";
}

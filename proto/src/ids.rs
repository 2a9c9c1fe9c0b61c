//! Ids as types: a prefix and a UUID in Crockford base32, such as `pl_01k9…`.
//! Parsed where they enter the process; never compared as text across kinds.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED: usize = 26;

/// The text is no id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id of the form {prefix}_… with 26 characters of Crockford base32")]
pub struct IdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
    /// What came instead, cut to 64 characters.
    pub text: String,
}

/// What all kinds of id have in common.
pub trait Id: From<Uuid> + Copy {
    /// The kind's prefix, without the underscore.
    const PREFIX: &'static str;

    /// A new id: UUIDv7 of the given Unix milliseconds and random bytes (RFC 9562).
    #[must_use]
    fn generate(unix_ms: u64, random: [u8; 10]) -> Self {
        Self::from(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
        }

        impl $name {
            /// The UUID behind the text.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_id(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                read_id($prefix, text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A tenant: who planes, endpoints and targets belong to.
    TenantId = "ten";
    /// A plane, edge or data.
    PlaneId = "pl";
    /// An enrolment bundle.
    BundleId = "bnd";
    /// An endpoint: where a source posts.
    EndpointId = "ep";
    /// A target: where events go.
    TargetId = "tgt";
    /// A flow from an endpoint to a target.
    FlowId = "flw";
    /// An accepted event.
    EventId = "evt";
    /// One event for one flow.
    DeliveryId = "dlv";
    /// A sealed secret.
    SecretId = "sec";
    /// An API key.
    KeyId = "key";
    /// A person's account.
    UserId = "usr";
}

fn write_id(f: &mut fmt::Formatter<'_>, prefix: &str, uuid: Uuid) -> fmt::Result {
    let mut text = [0_u8; ENCODED];
    let mut rest = uuid.as_u128();
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    f.write_str(prefix)?;
    f.write_str("_")?;
    f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn read_id(prefix: &'static str, text: &str) -> Result<Uuid, IdError> {
    let refuse = || IdError {
        prefix,
        text: text.chars().take(64).collect(),
    };
    let digits = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .filter(|digits| digits.len() == ENCODED)
        .ok_or_else(refuse)?;
    let mut value: u128 = 0;
    for (place, digit) in digits.bytes().enumerate() {
        let five = ALPHABET
            .iter()
            .position(|known| *known == digit)
            .ok_or_else(refuse)? as u128;
        // 26 digits hold 130 bits; the first may only use three of its five.
        if place == 0 && five > 7 {
            return Err(refuse());
        }
        value = (value << 5) | five;
    }
    Ok(Uuid::from_u128(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_reads_back_as_written(value: u128) {
            let id = EventId::from(Uuid::from_u128(value));
            prop_assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _outcome = text.parse::<PlaneId>();
        }
    }

    #[test]
    fn another_kind_is_refused() {
        let id = PlaneId::generate(1_700_000_000_000, [7; 10]);
        assert!(id.to_string().parse::<TenantId>().is_err());
    }

    #[test]
    fn ids_sort_by_time() {
        let early = EventId::generate(1_000, [255; 10]);
        let late = EventId::generate(1_001, [0; 10]);
        assert!(early.to_string() < late.to_string());
    }
}

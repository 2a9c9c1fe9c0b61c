//! The enrolment bundle: what an agent needs to enrol its plane, and how it is written.
//!
//! The plaintext is JSON, the whole of it closed with age; only the version is read before
//! anything else, so that a newer format is named instead of called damaged.

use serde::{Deserialize, Serialize};
use zen_proto::ids::{BundleId, PlaneId, TenantId};
use zen_proto::limits;
use zeroize::Zeroizing;

use crate::envelope::{CloseError, OpenError, close, open};
use crate::key::{Identity, Recipient};
use crate::token::Token;

/// The version of the format this code writes and reads.
pub const BUNDLE_VERSION: u32 = 1;

/// Whether a plane belongs to a tenant or carries many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaneKind {
    /// In a tenant's own network.
    Edge,
    /// The operator's, for many tenants.
    Data,
}

impl PlaneKind {
    /// The one word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Data => "data",
        }
    }
}

/// Everything an agent needs to enrol its plane, once.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bundle {
    /// [`BUNDLE_VERSION`].
    pub version: u32,
    /// The bundle itself; its redemption is bound to it.
    pub bundle_id: BundleId,
    /// Whose plane it is.
    pub tenant_id: TenantId,
    /// The plane to enrol.
    pub plane_id: PlaneId,
    /// The plane's kind.
    pub kind: PlaneKind,
    /// Where agents reach the control plane, `host:port`; several with commas between them.
    pub control_plane_address: String,
    /// The trust domain of all identities.
    pub trust_domain: String,
    /// Root certificates of the control plane, PEM, at least one.
    pub trust_bundle_pem: String,
    /// Proves to the control plane that the bundle was received.
    #[serde(with = "token_text")]
    pub token: Token,
    /// When the bundle was issued, Unix milliseconds.
    pub issued_at_ms: u64,
    /// When the bundle ceases to be redeemable, Unix milliseconds by the control plane's clock.
    pub expires_at_ms: u64,
}

/// Why a sealed bundle could not be used. No variant quotes the content.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The bytes are no age file.
    #[error("the bundle is not an age file")]
    NotAge,
    /// The bytes end before the bundle does.
    #[error("the bundle is cut short")]
    Truncated,
    /// It was sealed for another identity.
    #[error("the bundle was sealed for another identity")]
    WrongKey,
    /// It was changed after it was sealed.
    #[error("the bundle is damaged")]
    Damaged,
    /// Larger than any bundle is.
    #[error("the bundle is larger than {max} bytes")]
    TooLarge {
        /// [`limits::BUNDLE`].
        max: usize,
    },
    /// Of a format this version does not know.
    #[error("the bundle has version {found}, this program reads version {BUNDLE_VERSION}")]
    Version {
        /// The bundle's version.
        found: u32,
    },
    /// Authentic, and yet no bundle.
    #[error("the bundle's content is malformed: {what}")]
    Malformed {
        /// What is wrong, without the content.
        what: String,
    },
}

impl From<OpenError> for BundleError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotAge => Self::NotAge,
            OpenError::Truncated => Self::Truncated,
            OpenError::WrongKey => Self::WrongKey,
            OpenError::Damaged => Self::Damaged,
            OpenError::TooLarge { max } => Self::TooLarge { max },
        }
    }
}

impl Bundle {
    /// The bundle as armored age text for the recipients.
    ///
    /// # Errors
    /// [`CloseError`], as [`close`].
    pub fn seal(&self, recipients: &[Recipient]) -> Result<String, CloseError> {
        // Room for all of it: growing would leave copies of the token behind.
        let room = 1024 + 2 * self.trust_bundle_pem.len() + 2 * self.control_plane_address.len();
        let mut plaintext = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *plaintext, self).map_err(std::io::Error::from)?;
        close(&plaintext, recipients)
    }

    /// Opens a sealed bundle, armored or binary, and checks that it is whole and sensible.
    /// Expiry is not judged here: that is up to the control plane's clock.
    ///
    /// # Errors
    /// [`BundleError`], one variant per way to fail.
    pub fn open(sealed: &[u8], identities: &[Identity]) -> Result<Self, BundleError> {
        if sealed.len() > limits::BUNDLE {
            return Err(BundleError::TooLarge {
                max: limits::BUNDLE,
            });
        }
        Self::from_opened(&open(sealed, identities, limits::BUNDLE)?)
    }

    /// Reads what another opened, zen-lock, and checks that it is whole and sensible.
    ///
    /// # Errors
    /// [`BundleError`], of a plaintext.
    pub fn from_opened(plaintext: &[u8]) -> Result<Self, BundleError> {
        if plaintext.len() > limits::BUNDLE {
            return Err(BundleError::TooLarge {
                max: limits::BUNDLE,
            });
        }
        let Version { version } = serde_json::from_slice(plaintext).map_err(malformed)?;
        if version != BUNDLE_VERSION {
            return Err(BundleError::Version { found: version });
        }
        let bundle: Self = serde_json::from_slice(plaintext).map_err(malformed)?;
        bundle.check()?;
        Ok(bundle)
    }

    fn check(&self) -> Result<(), BundleError> {
        let wrong = |what: &str| {
            Err(BundleError::Malformed {
                what: what.to_owned(),
            })
        };
        let is_address = |text: &str| {
            text.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|p| p != 0)
            })
        };
        if !self.control_plane_address.split(',').all(is_address) {
            return wrong("the control plane's address is not host:port");
        }
        if self.trust_domain.is_empty() {
            return wrong("there is no trust domain");
        }
        if !self
            .trust_bundle_pem
            .contains("-----BEGIN CERTIFICATE-----")
        {
            return wrong("there is no root certificate");
        }
        if self.expires_at_ms <= self.issued_at_ms {
            return wrong("it expires before it is issued");
        }
        Ok(())
    }
}

/// The part of every version's plaintext that is read first.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// serde's own words may quote a value, and a value may be the token: only the place is told.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err takes"
)]
fn malformed(error: serde_json::Error) -> BundleError {
    let (line, column) = (error.line(), error.column());
    BundleError::Malformed {
        what: format!("unexpected JSON at line {line} column {column}"),
    }
}

/// The token as base64 in JSON.
mod token_text {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::token::Token;

    pub(super) fn serialize<S: Serializer>(token: &Token, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&token.to_base64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Token, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        Token::from_base64(&text)
            .ok_or_else(|| de::Error::custom("the token is not 32 bytes of base64"))
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;

    use super::*;

    fn bundle() -> Bundle {
        Bundle {
            version: BUNDLE_VERSION,
            bundle_id: BundleId::generate(1, [1; 10]),
            tenant_id: TenantId::generate(1, [2; 10]),
            plane_id: PlaneId::generate(1, [3; 10]),
            kind: PlaneKind::Edge,
            control_plane_address: "control.example:7440".to_owned(),
            trust_domain: "zen.example".to_owned(),
            trust_bundle_pem: "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"
                .to_owned(),
            token: Token::new([0xA5; 32]),
            issued_at_ms: 1_000,
            expires_at_ms: 2_000,
        }
    }

    fn reopened(change: impl FnOnce(&mut serde_json::Value)) -> Result<Bundle, BundleError> {
        let key = Identity::generate();
        let mut value = serde_json::to_value(bundle()).unwrap();
        change(&mut value);
        let sealed = close(value.to_string().as_bytes(), &[key.recipient()]).unwrap();
        Bundle::open(sealed.as_bytes(), &[key])
    }

    #[test]
    fn a_bundle_opens_to_what_was_sealed() {
        let key = Identity::generate();
        let sealed = bundle().seal(&[key.recipient()]).unwrap();
        let opened = Bundle::open(sealed.as_bytes(), &[key]).unwrap();
        assert_eq!(
            serde_json::to_value(opened).unwrap(),
            serde_json::to_value(bundle()).unwrap()
        );
    }

    #[test]
    fn what_another_opened_is_checked_as_well() {
        let mut value = serde_json::to_value(bundle()).unwrap();
        let read = |value: &serde_json::Value| Bundle::from_opened(value.to_string().as_bytes());
        assert!(read(&value).is_ok());
        value["trust_domain"] = "".into();
        assert!(matches!(read(&value), Err(BundleError::Malformed { .. })));
        value["version"] = 7.into();
        assert!(matches!(
            read(&value),
            Err(BundleError::Version { found: 7 })
        ));
        let large = vec![b' '; limits::BUNDLE + 1];
        let error = Bundle::from_opened(&large).err().unwrap();
        assert!(matches!(error, BundleError::TooLarge { .. }));
    }

    #[test]
    fn nothing_of_a_bundle_shows_in_its_sealed_form() {
        let sealed = bundle().seal(&[Identity::generate().recipient()]).unwrap();
        assert!(!sealed.contains(&*bundle().token.to_base64()));
        assert!(!sealed.contains("control.example"));
    }

    #[test]
    fn each_way_to_be_unreadable_has_its_own_name() {
        let key = Identity::generate();
        let sealed = bundle().seal(&[key.recipient()]).unwrap();
        let open = |bytes: &[u8]| {
            Bundle::open(bytes, std::slice::from_ref(&key))
                .err()
                .unwrap()
        };
        assert!(matches!(open(b"apiVersion: v1"), BundleError::NotAge));
        assert!(matches!(
            open(&sealed.as_bytes()[..300]),
            BundleError::Truncated
        ));
        let other = Bundle::open(sealed.as_bytes(), &[Identity::generate()])
            .err()
            .unwrap();
        assert!(matches!(other, BundleError::WrongKey));
        // In the content, not in the header: a damaged header may pass for another key's.
        let mut lines: Vec<&str> = sealed.lines().collect();
        let last = lines.len() - 3;
        lines.swap(last - 1, last);
        let error = open(lines.join("\n").as_bytes());
        assert!(matches!(error, BundleError::Damaged), "{error:?}");
        assert!(matches!(
            open(&vec![b'a'; limits::BUNDLE + 1]),
            BundleError::TooLarge { .. }
        ));
    }

    #[test]
    fn a_newer_version_is_named_whatever_else_it_holds() {
        let error = reopened(|value| *value = serde_json::json!({"version": 7, "new": true}));
        assert!(matches!(error, Err(BundleError::Version { found: 7 })));
    }

    #[test]
    fn an_authentic_text_that_is_no_bundle_is_malformed() {
        for (field, value) in [
            ("token", serde_json::json!("c2hvcnQ=")),
            ("plane_id", serde_json::json!("ten_0")),
            ("kind", serde_json::json!("cloud")),
            (
                "control_plane_address",
                serde_json::json!("https://control.example"),
            ),
            ("trust_bundle_pem", serde_json::json!("")),
            ("trust_domain", serde_json::json!("")),
            ("expires_at_ms", serde_json::json!(1_000)),
        ] {
            let outcome = reopened(|bundle| bundle[field] = value);
            assert!(
                matches!(outcome, Err(BundleError::Malformed { .. })),
                "{field}"
            );
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_token() {
        let token = bundle().token.to_base64();
        let error = reopened(|bundle| bundle["issued_at_ms"] = bundle["token"].clone());
        let shown = format!("{:?}", error.err().unwrap());
        assert!(!shown.contains(&*token), "{shown}");
    }
}

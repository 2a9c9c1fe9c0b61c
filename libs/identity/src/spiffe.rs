//! Names of identities: SPIFFE ids, of which this product knows exactly two forms.

use std::fmt;
use std::str::FromStr;

use zen_proto::component::{Component, UnknownComponent};
use zen_proto::ids::{IdError, PlaneId, TenantId};

const SCHEME: &str = "spiffe://";
const CONTROL_PLANE: &str = "control-plane";
const LONGEST_DOMAIN: usize = 255;

/// Why a text is no name this product knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Not `a-z 0-9 . - _`, empty, or longer than 255 characters.
    #[error("the trust domain is not 1 to 255 characters of a-z, 0-9, '.', '-' and '_'")]
    TrustDomain,
    /// The text does not start with `spiffe://`.
    #[error("the id does not start with spiffe://")]
    Scheme,
    /// The path is neither the control plane's nor a component's.
    #[error("the id's path is neither /control-plane nor /tenant/…/plane/…/<component>")]
    Path,
    /// The tenant or plane in the path is no id.
    #[error("the id's path names no tenant or plane")]
    Id(#[from] IdError),
    /// The path ends in an unknown component.
    #[error("the id's path names no component")]
    Component(#[from] UnknownComponent),
}

/// The realm of one root of trust, such as `zen.example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Reads a trust domain by the rules of the SPIFFE specification.
    ///
    /// # Errors
    /// [`SpiffeError::TrustDomain`].
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        let fits = (1..=LONGEST_DOMAIN).contains(&text.len()) && text.bytes().all(allowed);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpiffeError::TrustDomain)
        }
    }

    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        Self::parse(text)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpiffeId {
    /// `spiffe://<trust domain>/control-plane`.
    ControlPlane {
        /// The realm.
        trust_domain: TrustDomain,
    },
    /// `spiffe://<trust domain>/tenant/<tenant>/plane/<plane>/<component>`.
    Component {
        /// The realm.
        trust_domain: TrustDomain,
        /// Whose plane it is.
        tenant: TenantId,
        /// The plane.
        plane: PlaneId,
        /// The component's role.
        component: Component,
    },
}

impl SpiffeId {
    /// The realm of the id.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        match self {
            Self::ControlPlane { trust_domain } | Self::Component { trust_domain, .. } => {
                trust_domain
            }
        }
    }

    /// The plane, unless it is the control plane.
    #[must_use]
    pub const fn plane(&self) -> Option<PlaneId> {
        match self {
            Self::ControlPlane { .. } => None,
            Self::Component { plane, .. } => Some(*plane),
        }
    }

    /// The tenant, unless it is the control plane.
    #[must_use]
    pub const fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::ControlPlane { .. } => None,
            Self::Component { tenant, .. } => Some(*tenant),
        }
    }

    /// The component, unless it is the control plane.
    #[must_use]
    pub const fn component(&self) -> Option<Component> {
        match self {
            Self::ControlPlane { .. } => None,
            Self::Component { component, .. } => Some(*component),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(SpiffeError::Path)?;
        let trust_domain = TrustDomain::parse(domain)?;
        let mut segments = path.splitn(6, '/');
        let mut next = || segments.next();
        match (next(), next(), next(), next(), next(), next()) {
            (Some(CONTROL_PLANE), None, ..) => Ok(Self::ControlPlane { trust_domain }),
            (Some("tenant"), Some(tenant), Some("plane"), Some(plane), Some(component), None) => {
                Ok(Self::Component {
                    trust_domain,
                    tenant: tenant.parse()?,
                    plane: plane.parse()?,
                    component: component.parse()?,
                })
            }
            _ => Err(SpiffeError::Path),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane { trust_domain } => {
                write!(f, "{SCHEME}{trust_domain}/{CONTROL_PLANE}")
            }
            Self::Component {
                trust_domain,
                tenant,
                plane,
                component,
            } => {
                write!(
                    f,
                    "{SCHEME}{trust_domain}/tenant/{tenant}/plane/{plane}/{component}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zen_proto::ids::Id as _;

    use super::*;

    const COMPONENTS: [Component; 5] = [
        Component::Agent,
        Component::Ingester,
        Component::Egress,
        Component::Lock,
        Component::Bridge,
    ];

    fn any_id() -> impl Strategy<Value = SpiffeId> {
        let parts = (
            "[a-z0-9._-]{1,40}",
            any::<([u8; 10], [u8; 10])>(),
            any::<bool>(),
            0..5_usize,
        );
        parts.prop_map(|(domain, (tenant, plane), control, component)| {
            let trust_domain = TrustDomain::parse(&domain).unwrap();
            if control {
                return SpiffeId::ControlPlane { trust_domain };
            }
            SpiffeId::Component {
                trust_domain,
                tenant: TenantId::generate(1, tenant),
                plane: PlaneId::generate(1, plane),
                component: COMPONENTS[component],
            }
        })
    }

    proptest! {
        #[test]
        fn an_id_reads_back_as_written(id in any_id()) {
            prop_assert_eq!(id.to_string().parse::<SpiffeId>(), Ok(id));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String, path in "(/?[a-z-]{0,9}){0,8}") {
            let _any = text.parse::<SpiffeId>();
            // What is accepted is written in one way only.
            let text = format!("spiffe://{path}");
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn only_the_two_known_forms_are_ids() {
        let tenant = TenantId::generate(1, [1; 10]);
        let plane = PlaneId::generate(1, [2; 10]);
        for bad in [
            "".to_owned(),
            "spiffe://".to_owned(),
            "spiffe://zen.example".to_owned(),
            "spiffe://zen.example/".to_owned(),
            "spiffe://zen.example/control-plane/".to_owned(),
            "spiffe://zen.example//control-plane".to_owned(),
            "SPIFFE://zen.example/control-plane".to_owned(),
            "spiffe://Zen.example/control-plane".to_owned(),
            "spiffe://zen.example:443/control-plane".to_owned(),
            "spiffe://u@zen.example/control-plane".to_owned(),
            "spiffe:///control-plane".to_owned(),
            "spiffe://zen.example/control-plane?x".to_owned(),
            format!("spiffe://{}/control-plane", "a".repeat(256)),
            format!("spiffe://zen.example/tenant/{tenant}/plane/{plane}"),
            format!("spiffe://zen.example/tenant/{tenant}/plane/{plane}/agent/"),
            format!("spiffe://zen.example/tenant/{tenant}/plane/{plane}/agent/x"),
            format!("spiffe://zen.example/tenant/{tenant}/plane/{plane}/root"),
            format!("spiffe://zen.example/tenant/{plane}/plane/{tenant}/agent"),
            format!("spiffe://zen.example/tenant/{tenant}/plane/../agent"),
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }
}

//! An endpoint: where a source posts. What a person writes about it, and what its plane is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zen_proto::ids::EndpointId;
use zen_proto::limits;
use zen_proto::snapshot::v1 as wire;

use crate::fields::Faults;
use crate::store::{Noun, Placed, placed};

/// An endpoint as it is kept.
pub(crate) type Endpoint = Placed<EndpointBody>;

/// Longest tolerance of signed timestamps, in seconds.
const TOLERANCE: u32 = 24 * 60 * 60;

/// What a person writes about an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointBody {
    /// The plane where it lives; never changes.
    pub(crate) plane_id: String,
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    pub(crate) verification: Verification,
    /// Upper-case HTTP methods; empty means POST.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub(crate) methods: Vec<String>,
    /// Bytes; none means 1 MiB.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10485760)]
    pub(crate) max_body_bytes: Option<u64>,
    /// Networks that may post; empty means any.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub(crate) allowed_sources: Vec<String>,
}

/// How it is told that an event comes from its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verification {
    pub(crate) scheme: Scheme,
    /// References, never values; several may be live at once.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub(crate) secrets: Vec<String>,
    /// How far a signed timestamp may be off; none means 300.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400)]
    pub(crate) tolerance_seconds: Option<u32>,
}

/// Whose way of signing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scheme {
    None,
    StandardWebhooks,
    Github,
    Stripe,
}

impl Scheme {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::StandardWebhooks,
        Self::Github,
        Self::Stripe,
        Self::None,
    ];

    /// The word, as the API shows it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::StandardWebhooks => "standard-webhooks",
            Self::Github => "github",
            Self::Stripe => "stripe",
        }
    }

    /// The name that people know it by.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::StandardWebhooks => "Standard Webhooks",
            Self::Github => "GitHub",
            Self::Stripe => "Stripe",
        }
    }

    /// Whether it cannot be followed without a secret.
    pub(crate) const fn needs_secret(self) -> bool {
        !matches!(self, Self::None)
    }
}

impl Noun for EndpointBody {
    type Id = EndpointId;
    const SQL: placed::Statements = placed::statements!("endpoints", "endpoint_id");
    const TABLE: &'static str = "endpoints";

    fn name(&self) -> &str {
        &self.name
    }

    fn secrets(&self) -> Vec<&str> {
        let secrets = self.verification.secrets.iter();
        secrets.map(String::as_str).collect()
    }
}

impl EndpointBody {
    /// Checks everything that does not need the store.
    ///
    /// # Errors
    /// All faults at once.
    pub(crate) fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        faults.name("name", &self.name);
        let Verification {
            scheme,
            secrets,
            tolerance_seconds,
        } = &self.verification;
        faults.secrets("verification.secrets", secrets);
        faults.require(
            !scheme.needs_secret() || !secrets.is_empty(),
            "verification.secrets",
            "this scheme needs at least one secret",
        );
        faults.require(
            tolerance_seconds.is_none_or(|seconds| (1..=TOLERANCE).contains(&seconds)),
            "verification.tolerance_seconds",
            "1 to 86400 seconds",
        );
        faults.entries("methods", self.methods.len());
        let is_method = |method: &String| {
            (1..=32).contains(&method.len()) && method.bytes().all(|b| b.is_ascii_uppercase())
        };
        faults.require(
            self.methods.iter().all(is_method),
            "methods",
            "upper-case HTTP methods",
        );
        faults.require(
            self.max_body_bytes
                .is_none_or(|bytes| (1..=limits::BODY_HARD_CAP as u64).contains(&bytes)),
            "max_body_bytes",
            "1 to 10485760 bytes",
        );
        faults.networks("allowed_sources", &self.allowed_sources);
        faults.result()
    }
}

/// The endpoint as its plane is told. Of a removed one, only what its 410 needs.
pub(crate) fn to_wire(endpoint: &Endpoint) -> wire::Endpoint {
    let body = &endpoint.body;
    let known = wire::Endpoint {
        id: endpoint.id.to_string(),
        tenant_id: endpoint.tenant.to_string(),
        name: body.name.clone(),
        removed: endpoint.removed_at.is_some(),
        ..wire::Endpoint::default()
    };
    if known.removed {
        return known;
    }
    let scheme = match body.verification.scheme {
        Scheme::None => wire::Scheme::None,
        Scheme::StandardWebhooks => wire::Scheme::StandardWebhooks,
        Scheme::Github => wire::Scheme::Github,
        Scheme::Stripe => wire::Scheme::Stripe,
    };
    wire::Endpoint {
        methods: body.methods.clone(),
        max_body_bytes: body.max_body_bytes.unwrap_or(0),
        verification: Some(wire::Verification {
            scheme: scheme.into(),
            secrets: body.verification.secrets.clone(),
            tolerance_seconds: body.verification.tolerance_seconds.unwrap_or(0),
        }),
        allowed_sources: body.allowed_sources.clone(),
        ..known
    }
}

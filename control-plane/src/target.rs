//! A target: where events go. What a person writes about it, and what its plane is told.

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;
use zen_proto::ids::TargetId;
use zen_proto::snapshot::v1 as wire;

use crate::fields::Faults;
use crate::store::{Noun, Placed, placed};

/// A target as it is kept.
pub(crate) type Target = Placed<TargetBody>;

/// Longest time for one attempt.
const TIMEOUT_MS: u32 = 5 * 60 * 1000;
/// Attempts under way at once at the most.
const CONCURRENCY: u32 = 10_000;
/// Largest private CA, in bytes.
const CA_PEM: usize = 64 * 1024;
/// Longest URL, in bytes.
const URL: usize = 2048;

/// What a person writes about a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetBody {
    /// The plane from which it is reached; never changes.
    pub(crate) plane_id: String,
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// http or https, without a user or password in it.
    #[schema(max_length = 2048)]
    pub(crate) url: String,
    /// Time for one attempt; none means 30,000.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 300000)]
    pub(crate) timeout_ms: Option<u32>,
    /// Attempts under way at once; none means the egress's default.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000)]
    pub(crate) max_concurrency: Option<u32>,
    /// Standard Webhooks signing secrets by reference; empty means unsigned.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub(crate) signing_secrets: Vec<String>,
    #[serde(default)]
    pub(crate) auth: Option<TargetAuth>,
    /// Networks its name may resolve to, beside what the plane's kind allows.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub(crate) allowed_networks: Vec<String>,
    /// A private CA for https; none means public roots.
    #[serde(default)]
    #[schema(max_length = 65536)]
    pub(crate) ca_pem: Option<String>,
}

/// How a delivery proves itself, by reference to a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TargetAuth {
    /// The secret is the token.
    Bearer(String),
    /// The secret is `user:password`.
    Basic(String),
}

impl Noun for TargetBody {
    type Id = TargetId;
    const SQL: placed::Statements = placed::statements!("targets", "target_id");
    const TABLE: &'static str = "targets";

    fn name(&self) -> &str {
        &self.name
    }

    fn secrets(&self) -> Vec<&str> {
        let auth = self.auth.iter().map(|auth| match auth {
            TargetAuth::Bearer(reference) | TargetAuth::Basic(reference) => reference.as_str(),
        });
        let signing = self.signing_secrets.iter().map(String::as_str);
        signing.chain(auth).collect()
    }
}

impl TargetBody {
    /// Checks everything that does not need the store.
    ///
    /// # Errors
    /// All faults at once.
    pub(crate) fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        faults.name("name", &self.name);
        self.check_url(&mut faults);
        let within = |value: Option<u32>, most| value.is_none_or(|v| (1..=most).contains(&v));
        faults.require(
            within(self.timeout_ms, TIMEOUT_MS),
            "timeout_ms",
            "1 to 300000",
        );
        let concurrency = within(self.max_concurrency, CONCURRENCY);
        faults.require(concurrency, "max_concurrency", "1 to 10000");
        faults.secrets("signing_secrets", &self.signing_secrets);
        match &self.auth {
            Some(TargetAuth::Bearer(reference)) => faults.secret("auth.bearer", reference),
            Some(TargetAuth::Basic(reference)) => faults.secret("auth.basic", reference),
            None => {}
        }
        faults.networks("allowed_networks", &self.allowed_networks);
        if let Some(pem) = &self.ca_pem {
            faults.require(pem.len() <= CA_PEM, "ca_pem", "at most 64 KiB");
            if let Err(error) = zen_identity::chain_from_pem(pem) {
                faults.add("ca_pem", error.to_string());
            }
        }
        faults.result()
    }

    fn check_url(&self, faults: &mut Faults) {
        faults.require(self.url.len() <= URL, "url", "at most 2048 bytes");
        match Url::parse(&self.url) {
            Ok(url) => {
                let web = matches!(url.scheme(), "http" | "https") && url.has_host();
                faults.require(web, "url", "an http or https address");
                let bare = url.username().is_empty() && url.password().is_none();
                faults.require(bare, "url", "no user or password here: use auth");
                faults.require(url.fragment().is_none(), "url", "no fragment");
            }
            Err(error) => faults.add("url", error.to_string()),
        }
    }
}

/// The target as its plane is told.
pub(crate) fn to_wire(target: &Target) -> wire::Target {
    let body = &target.body;
    let auth = body.auth.as_ref().map(|auth| match auth {
        TargetAuth::Bearer(reference) => wire::target_auth::Kind::Bearer(reference.clone()),
        TargetAuth::Basic(reference) => wire::target_auth::Kind::Basic(reference.clone()),
    });
    wire::Target {
        id: target.id.to_string(),
        tenant_id: target.tenant.to_string(),
        name: body.name.clone(),
        url: body.url.clone(),
        timeout_ms: body.timeout_ms.unwrap_or(0),
        max_concurrency: body.max_concurrency.unwrap_or(0),
        signing_secrets: body.signing_secrets.clone(),
        auth: auth.map(|kind| wire::TargetAuth { kind: Some(kind) }),
        allowed_networks: body.allowed_networks.clone(),
        ca_pem: body.ca_pem.clone().unwrap_or_default(),
    }
}

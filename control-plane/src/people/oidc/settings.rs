//! What an operator may set about an OpenID provider.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use url::Url;
use zen_proto::ids::TenantId;

use crate::permissions::Role;

/// Settings of the OpenID provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The provider's issuer, an https address; `<issuer>/.well-known/openid-configuration` is
    /// read.
    pub issuer: String,
    /// The id under which the provider knows this control plane.
    pub client_id: String,
    /// File with the secret that belongs to it.
    pub client_secret_file: PathBuf,
    /// How the button on the sign-in page calls the provider; default `OpenID Connect`.
    #[serde(default = "default_name")]
    pub name: String,
    /// E-mail domains whose people get an account at their first sign-in; none by default: then
    /// only people who were invited come in.
    #[serde(default)]
    pub allowed_domains: Vec<String>,
    /// Role of accounts made so: `owner`, `admin`, `editor` or `viewer`; default `viewer`.
    #[serde(default = "default_role")]
    pub default_role: String,
    /// Tenant of accounts made so; default the first tenant.
    #[serde(default)]
    pub tenant: Option<String>,
    /// PEM file of the certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn default_name() -> String {
    "OpenID Connect".to_owned()
}

fn default_role() -> String {
    Role::Viewer.as_str().to_owned()
}

impl OidcSettings {
    /// Checks every key.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let issuer = &self.issuer;
        let parsed = Url::parse(issuer).with_context(|| format!("oidc.issuer: {issuer:?}"))?;
        let plain = parsed.scheme() == "https" && parsed.query().is_none();
        ensure!(plain, "oidc.issuer: {issuer:?} is not an https address");
        ensure!(!self.client_id.is_empty(), "oidc.client_id: empty");
        self.role()?;
        self.tenant()?;
        Ok(())
    }

    /// The role of accounts made at a first sign-in.
    pub(crate) fn role(&self) -> anyhow::Result<Role> {
        self.default_role.parse().context("oidc.default_role")
    }

    /// The tenant of accounts made at a first sign-in, if one is named.
    pub(crate) fn tenant(&self) -> anyhow::Result<Option<TenantId>> {
        let parsed = self.tenant.as_deref().map(str::parse).transpose();
        parsed.context("oidc.tenant")
    }

    /// Whether people of this e-mail domain (folded) get an account at their first sign-in.
    pub(crate) fn allows(&self, domain: &str) -> bool {
        self.allowed_domains
            .iter()
            .any(|allowed| allowed.to_lowercase() == domain)
    }
}

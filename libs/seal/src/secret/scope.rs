//! Where a secret may be used. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zen_proto::ids::PlaneId;

/// Longest name of a cluster, namespace or secret (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

/// Whose secret it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Realm {
    /// A plane's.
    Plane(PlaneId),
    /// A cluster's, by the name its zen-lock was given; for a zen-lock without a plane.
    Cluster(String),
}

/// The one place where a secret opens: everything in it must be as it was when it was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Whose it is.
    pub realm: Realm,
    /// The Kubernetes namespace of a secret for pods; none for a plane's own secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name: what stands after `lock:`, or the name of the ZenLock.
    pub name: String,
}

/// A part of a scope is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part}: at most {LONGEST_NAME} lower-case letters, digits, `-` and `.`, with a letter or digit \
     at both ends"
)]
pub struct ScopeError {
    part: &'static str,
}

impl Scope {
    /// Checks that every part is a name.
    ///
    /// # Errors
    /// [`ScopeError`] with the first that is not.
    pub fn check(&self) -> Result<(), ScopeError> {
        if let Realm::Cluster(name) = &self.realm
            && !is_name(name)
        {
            return Err(ScopeError { part: "cluster" });
        }
        if self.namespace.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(ScopeError { part: "namespace" });
        }
        if !is_name(&self.name) {
            return Err(ScopeError { part: "name" });
        }
        Ok(())
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plane(plane) => fmt::Display::fmt(plane, f),
            Self::Cluster(name) => write!(f, "cluster:{name}"),
        }
    }
}

impl FromStr for Realm {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if let Ok(plane) = text.parse() {
            return Ok(Self::Plane(plane));
        }
        let name = text.strip_prefix("cluster:").unwrap_or_default();
        if is_name(name) {
            Ok(Self::Cluster(name.to_owned()))
        } else {
            Err(ScopeError {
                part: "plane (pl_…) or cluster (cluster:<name>)",
            })
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.realm)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "/{namespace}")?;
        }
        write!(f, "/{}", self.name)
    }
}

/// Whether a text is a DNS subdomain as Kubernetes names its objects (RFC 1123).
pub(super) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && text.len() <= LONGEST_NAME
        && text.split('.').all(|label| {
            label.starts_with(plain)
                && label.ends_with(plain)
                && label.chars().all(|c| plain(c) || c == '-')
        })
}

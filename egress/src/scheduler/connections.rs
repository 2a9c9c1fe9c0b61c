//! The connections of one lane's target, made anew when its configuration changes.

use std::sync::Arc;

use super::Shared;
use crate::dial::{self, Connector, TargetClient};
use crate::targets::Target;

/// Connections as of a fingerprint, or why there can be none.
#[derive(Default)]
pub(super) struct Connections {
    client: Option<(u64, Result<TargetClient, String>)>,
}

impl Connections {
    /// The target's connections; made anew when its configuration changed.
    pub(super) fn to(&mut self, target: &Target, shared: &Shared) -> Result<TargetClient, String> {
        if let Some((fingerprint, client)) = &self.client
            && *fingerprint == target.fingerprint
        {
            return client.clone();
        }
        let client = make_client(target, shared);
        self.client = Some((target.fingerprint, client.clone()));
        client
    }
}

/// A client for the target as it is configured, or why there can be none.
///
/// # Errors
/// In words for people.
pub(crate) fn make_client(target: &Target, shared: &Shared) -> Result<TargetClient, String> {
    let reach = target.reach.as_ref().map_err(Clone::clone)?;
    let tls = targets_tls(target, shared)?;
    let connector = Connector {
        guard: shared.guard.clone(),
        allowed: reach.allowed_networks.clone(),
    };
    let idle = target.concurrency.unwrap_or(shared.rules.concurrency);
    Ok(dial::client(connector, tls, idle))
}

/// Whom a connection to the target trusts.
///
/// # Errors
/// In words for people.
pub(crate) fn targets_tls(
    target: &Target,
    shared: &Shared,
) -> Result<Arc<rustls::ClientConfig>, String> {
    let reach = target.reach.as_ref().map_err(Clone::clone)?;
    let clock = &shared.stage.clock;
    if reach.uri.scheme_str() == Some("http") {
        dial::no_tls(clock).map_err(|e| e.to_string())
    } else if reach.ca_pem.is_empty() {
        shared.public_tls.clone()
    } else {
        dial::tls_config(reach.ca_pem.as_bytes(), clock).map_err(|e| format!("ca_pem: {e}"))
    }
}

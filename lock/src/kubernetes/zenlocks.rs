//! ZenLocks as they are found in the cluster: read when they are needed, never from a memory of
//! before, so that the next pod sees what was written last.

use serde_json::Value;
use zen_proto::codes::SecretCode;
use zen_seal::Unsealed;

use super::cluster::{ApiError, Cluster, zenlock_path};
use crate::core::Core;
use crate::opener::{Asker, allowed};

/// Why a ZenLock was not opened.
pub(super) enum NotOpened {
    /// The secret says no.
    Refused(SecretCode),
    /// The API server could not be asked.
    Api(ApiError),
}

/// What is sealed in an object; empty if it is not what a ZenLock looks like.
pub(super) fn sealed(zenlock: &Value) -> &str {
    zenlock
        .pointer("/spec/sealed")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Opens an object as what it is called. Blocking for some 100 µs.
pub(super) fn open(
    core: &Core,
    namespace: &str,
    name: &str,
    zenlock: &Value,
) -> Result<Unsealed, SecretCode> {
    let realms = core.realms.borrow().clone();
    core.opener
        .open(sealed(zenlock), &realms, Some(namespace), name)
}

/// The secret of this name, if a service account of the namespace may have it.
pub(super) async fn open_for(
    core: &Core,
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    service_account: &str,
) -> Result<Unsealed, NotOpened> {
    let found = cluster.get(&zenlock_path(namespace, name)).await;
    let zenlock = found
        .map_err(NotOpened::Api)?
        .ok_or(NotOpened::Refused(SecretCode::Unknown))?;
    let (shared, namespace, name) = (core.clone(), namespace.to_owned(), name.to_owned());
    let account = service_account.to_owned();
    let work = move || {
        let opened = open(&shared, &namespace, &name, &zenlock)?;
        allowed(&opened, Asker::ServiceAccount(&account))?;
        Ok(opened)
    };
    let crowded = Err(SecretCode::LockUnreachable);
    let opened: Result<_, SecretCode> = core.pool.run(work).await.unwrap_or(crowded);
    opened.map_err(NotOpened::Refused)
}

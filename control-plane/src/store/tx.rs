//! A transaction, together with the key that authenticates the ends of audit chains: whatever
//! changes something appends to its tenant's chain.

use std::ops::{Deref, DerefMut};

use sqlx::Database;

use super::Db;
use super::audit::AuditKey;

/// A transaction; rolled back when dropped.
pub(crate) struct Tx {
    inner: sqlx::Transaction<'static, Db>,
    audit_key: AuditKey,
}

impl Tx {
    pub(super) const fn new(inner: sqlx::Transaction<'static, Db>, audit_key: AuditKey) -> Self {
        Self { inner, audit_key }
    }

    pub(super) const fn audit_key(&self) -> &AuditKey {
        &self.audit_key
    }

    /// Makes all of it last.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await
    }
}

impl Deref for Tx {
    type Target = <Db as Database>::Connection;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

//! What the first start makes, all of it in one transaction: the root authority, the operator's
//! tenant and the default one, and the owner's API key.

use sqlx::Row as _;
use zen_proto::ids::{KeyId, TenantId};

use super::{DbRow, Store, StoreError, Tx, number, stored, word};
use crate::roots::Stage;

/// A root authority as it is kept: its key stays sealed.
#[derive(Clone)]
pub(crate) struct StoredRoot {
    /// Counts roots; 0 for one that is not stored yet.
    pub(crate) id: i64,
    pub(crate) stage: Stage,
    /// Unix milliseconds.
    pub(crate) created_at: u64,
    pub(crate) trust_domain: String,
    pub(crate) certificate_pem: String,
    /// Armored age over the key's PKCS #8 PEM.
    pub(crate) sealed_key: String,
}

/// What an initialised store holds.
pub(crate) struct Found {
    /// Oldest first, at least one; one of them signs.
    pub(crate) roots: Vec<StoredRoot>,
    pub(crate) operator_tenant: TenantId,
    pub(crate) default_tenant: TenantId,
}

/// What the first start writes.
pub(crate) struct FirstStart {
    pub(crate) root: StoredRoot,
    pub(crate) operator_tenant: TenantId,
    pub(crate) default_tenant: TenantId,
    pub(crate) key: KeyId,
    pub(crate) key_sha256: [u8; 32],
    /// Unix milliseconds.
    pub(crate) at: u64,
}

pub(super) async fn insert(tx: &mut Tx, root: &StoredRoot) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO roots (trust_domain, certificate_pem, sealed_key, created_at, stage) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&root.trust_domain)
    .bind(&root.certificate_pem)
    .bind(&root.sealed_key)
    .bind(stored(root.created_at))
    .bind(root.stage.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) fn root(row: &DbRow) -> Result<StoredRoot, sqlx::Error> {
    Ok(StoredRoot {
        id: row.try_get("id")?,
        stage: word(row, "stage")?,
        created_at: number(row, "created_at")?,
        trust_domain: row.try_get("trust_domain")?,
        certificate_pem: row.try_get("certificate_pem")?,
        sealed_key: row.try_get("sealed_key")?,
    })
}

impl Store {
    /// What an earlier start made; nothing if this is the first.
    pub(crate) async fn found(&self) -> Result<Option<Found>, StoreError> {
        let roots = self.roots().await?;
        if roots.is_empty() {
            return Ok(None);
        }
        let operator_tenant = self.tenant_of_role("operator").await?;
        let default_tenant = self.tenant_of_role("default").await?;
        Ok(Some(Found {
            roots,
            operator_tenant,
            default_tenant,
        }))
    }

    async fn tenant_of_role(&self, role: &'static str) -> Result<TenantId, StoreError> {
        let row = sqlx::query("SELECT id FROM tenants WHERE role = $1 ORDER BY id LIMIT 1")
            .bind(role)
            .fetch_one(&self.reader)
            .await?;
        Ok(word(&row, "id")?)
    }

    /// Writes what the first start made, all or nothing. Answers whether it was the first: several
    /// control planes may start at once.
    pub(crate) async fn begin(&self, first: &FirstStart) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let before = sqlx::query("SELECT id FROM roots LIMIT 1")
            .fetch_optional(&mut *tx)
            .await?;
        if before.is_some() {
            return Ok(false);
        }
        let at = stored(first.at);
        insert(&mut tx, &first.root).await?;
        for (tenant, role) in [
            (first.operator_tenant, "operator"),
            (first.default_tenant, "default"),
        ] {
            sqlx::query("INSERT INTO tenants (id, name, role, created_at) VALUES ($1, $2, $3, $4)")
                .bind(tenant.to_string())
                .bind(role)
                .bind(role)
                .bind(at)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(
            "INSERT INTO api_keys (id, tenant_id, name, operator, sha256, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(first.key.to_string())
        .bind(first.default_tenant.to_string())
        .bind("owner")
        .bind(true)
        .bind(first.key_sha256.as_slice())
        .bind(at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

//! API keys. Only their SHA-256 is kept.

use sqlx::Row as _;
use zen_proto::ids::{KeyId, TenantId};

use super::{
    DbRow, NewAudit, Page, Store, StoreError, Wanted, audit, flag, number, number_if, stored, word,
};
use crate::permissions::{Operation, Role};
use crate::principal::{Actor, ActorKind, Principal};

/// How exactly it is written when a key was last used, milliseconds.
const COARSE: u64 = 60_000;

/// An API key as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiKey {
    pub(crate) id: KeyId,
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) operator: bool,
    pub(crate) role: Role,
    /// The only operations it may do; none means all of its role.
    pub(crate) scopes: Option<Vec<Operation>>,
    /// E-mail address or name of who made it; empty for the first start.
    pub(crate) created_by: String,
    /// Unix milliseconds, as all times here.
    pub(crate) created_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) last_used_at: Option<u64>,
}

impl Store {
    /// Whose key has this hash, if it is good at `now`; written down coarsely.
    pub(crate) async fn principal(
        &self,
        key_sha256: &[u8; 32],
        now: u64,
    ) -> Result<Option<Principal>, StoreError> {
        let found = sqlx::query(
            "SELECT id, tenant_id, name, operator, role, scopes, created_by, created_at, \
             expires_at, last_used_at FROM api_keys WHERE sha256 = $1 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(key_sha256.as_slice())
        .bind(stored(now))
        .try_map(|row: DbRow| api_key(&row))
        .fetch_optional(&self.reader)
        .await?;
        let Some(key) = found else { return Ok(None) };
        let last = key.last_used_at.unwrap_or_default();
        if now.saturating_sub(last) >= COARSE {
            let written = sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE id = $2")
                .bind(stored(now))
                .bind(key.id.to_string())
                .execute(&self.writer)
                .await;
            // Who may only look is let in also when nothing can be written: the disk is full, say.
            if let Err(error) = written {
                tracing::warn!(%error, "cannot write down when an API key was used");
            }
        }
        Ok(Some(Principal {
            tenant: key.tenant,
            operator: key.operator,
            role: key.role,
            scopes: key.scopes,
            actor: Actor {
                kind: ActorKind::Key,
                id: key.id.to_string(),
                name: key.name,
            },
            address: None,
            claim: None,
        }))
    }

    /// The keys of a tenant that were not revoked, the oldest first.
    pub(crate) async fn api_keys(
        &self,
        tenant: TenantId,
        wanted: &Wanted,
    ) -> Result<Page<ApiKey>, StoreError> {
        let items = sqlx::query(
            "SELECT id, tenant_id, name, operator, role, scopes, created_by, created_at, \
             expires_at, last_used_at FROM api_keys \
             WHERE tenant_id = $1 AND id > $2 AND revoked_at IS NULL ORDER BY id LIMIT $3",
        )
        .bind(tenant.to_string())
        .bind(&wanted.after)
        .bind(wanted.rows())
        .try_map(|row: DbRow| api_key(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(Page::cut(items, wanted, |key| key.id.to_string()))
    }

    /// Adds a key.
    pub(crate) async fn add_api_key(
        &self,
        new: &ApiKey,
        key_sha256: &[u8; 32],
        entry: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        audit::append(&mut tx, entry).await?;
        sqlx::query(
            "INSERT INTO api_keys (id, tenant_id, name, operator, role, scopes, created_by, \
             sha256, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(new.id.to_string())
        .bind(new.tenant.to_string())
        .bind(&new.name)
        .bind(new.operator)
        .bind(new.role.as_str())
        .bind(new.scopes.as_deref().map(scopes_text))
        .bind(&new.created_by)
        .bind(key_sha256.as_slice())
        .bind(stored(new.created_at))
        .bind(new.expires_at.map(stored))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Revokes a key; false if the tenant has none of this id.
    pub(crate) async fn revoke_api_key(
        &self,
        tenant: TenantId,
        id: KeyId,
        at: u64,
        entry: &NewAudit,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE api_keys SET revoked_at = $1 \
             WHERE id = $2 AND tenant_id = $3 AND revoked_at IS NULL",
        )
        .bind(stored(at))
        .bind(id.to_string())
        .bind(tenant.to_string())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        audit::append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }
}

fn scopes_text(scopes: &[Operation]) -> String {
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    words.join(" ")
}

fn api_key(row: &DbRow) -> Result<ApiKey, sqlx::Error> {
    let scopes: Option<&str> = row.try_get("scopes")?;
    // A word of a later version allows nothing here.
    let scopes = scopes.map(|text| {
        let words = text.split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    });
    Ok(ApiKey {
        id: word(row, "id")?,
        tenant: word(row, "tenant_id")?,
        name: row.try_get("name")?,
        operator: flag(row, "operator")?,
        role: word(row, "role")?,
        scopes,
        created_by: row.try_get("created_by")?,
        created_at: number(row, "created_at")?,
        expires_at: number_if(row, "expires_at")?,
        last_used_at: number_if(row, "last_used_at")?,
    })
}

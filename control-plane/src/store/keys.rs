//! API keys. Only their SHA-256 is kept.

use sqlx::Row as _;
use zen_proto::ids::{KeyId, TenantId};

use super::{DbRow, Scope, Store, StoreError, word};

/// Who calls the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) key: KeyId,
    pub(crate) tenant: TenantId,
    /// May also manage what belongs to the operator.
    pub(crate) operator: bool,
}

impl Principal {
    /// What the caller may see and change.
    pub(crate) const fn scope(&self, operator_tenant: TenantId) -> Scope {
        let also = if self.operator {
            operator_tenant
        } else {
            self.tenant
        };
        Scope {
            tenant: self.tenant,
            also,
        }
    }
}

impl Store {
    /// Whose key has this hash.
    pub(crate) async fn principal(
        &self,
        key_sha256: &[u8; 32],
    ) -> Result<Option<Principal>, StoreError> {
        let found = sqlx::query("SELECT id, tenant_id, operator FROM api_keys WHERE sha256 = $1")
            .bind(key_sha256.as_slice())
            .try_map(|row: DbRow| {
                Ok(Principal {
                    key: word(&row, "id")?,
                    tenant: word(&row, "tenant_id")?,
                    operator: row.try_get("operator")?,
                })
            })
            .fetch_optional(&self.reader)
            .await?;
        Ok(found)
    }
}

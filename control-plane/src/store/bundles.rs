//! Enrolment bundles. The token is kept as its SHA-256 only.

use sqlx::Row as _;
use zen_proto::ids::{BundleId, PlaneId, TenantId};

use super::events::{self, NewEvent};
use super::{
    DbRow, NewAudit, Store, StoreError, Tx, audit, hash, hash_if, number, number_if, stored, word,
};

/// A bundle about to be handed out.
pub(crate) struct NewBundle {
    pub(crate) id: BundleId,
    pub(crate) plane: PlaneId,
    pub(crate) tenant: TenantId,
    pub(crate) token_sha256: [u8; 32],
    /// Unix milliseconds.
    pub(crate) issued_at: u64,
    pub(crate) expires_at: u64,
}

/// A bundle as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct StoredBundle {
    pub(crate) plane: PlaneId,
    pub(crate) tenant: TenantId,
    pub(crate) token_sha256: [u8; 32],
    pub(crate) expires_at: u64,
    pub(crate) superseded_at: Option<u64>,
    /// The key that redeemed it and what that key was answered.
    pub(crate) redeemed: Option<Redeemed>,
}

/// How a bundle was redeemed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redeemed {
    pub(crate) key_sha256: [u8; 32],
    pub(crate) chain_pem: String,
}

fn bundle(row: &DbRow) -> Result<StoredBundle, sqlx::Error> {
    let key: Option<[u8; 32]> = hash_if(row, "key_sha256")?;
    let chain: Option<String> = row.try_get("chain_pem")?;
    Ok(StoredBundle {
        plane: word(row, "plane_id")?,
        tenant: word(row, "tenant_id")?,
        token_sha256: hash(row, "token_sha256")?,
        expires_at: number(row, "expires_at")?,
        superseded_at: number_if(row, "superseded_at")?,
        redeemed: key.zip(chain).map(|(key_sha256, chain_pem)| Redeemed {
            key_sha256,
            chain_pem,
        }),
    })
}

impl Store {
    /// Adds a bundle; from now on every earlier bundle of its plane that nobody redeemed is
    /// superseded.
    pub(crate) async fn issue_bundle(
        &self,
        new: &NewBundle,
        event: &NewEvent,
        entry: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "UPDATE bundles SET superseded_at = $1 \
             WHERE plane_id = $2 AND redeemed_at IS NULL AND superseded_at IS NULL",
        )
        .bind(stored(new.issued_at))
        .bind(new.plane.to_string())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO bundles (id, plane_id, tenant_id, token_sha256, issued_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(new.id.to_string())
        .bind(new.plane.to_string())
        .bind(new.tenant.to_string())
        .bind(new.token_sha256.as_slice())
        .bind(stored(new.issued_at))
        .bind(stored(new.expires_at))
        .execute(&mut *tx)
        .await?;
        events::add(&mut tx, event).await?;
        audit::append(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}

pub(super) async fn find(tx: &mut Tx, id: BundleId) -> Result<Option<StoredBundle>, StoreError> {
    let found = sqlx::query("SELECT * FROM bundles WHERE id = $1")
        .bind(id.to_string())
        .try_map(|row: DbRow| bundle(&row))
        .fetch_optional(&mut **tx)
        .await?;
    Ok(found)
}

pub(super) async fn bind(
    tx: &mut Tx,
    id: BundleId,
    redeemed: &Redeemed,
    at: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE bundles SET redeemed_at = $1, key_sha256 = $2, chain_pem = $3 \
         WHERE id = $4 AND redeemed_at IS NULL",
    )
    .bind(stored(at))
    .bind(redeemed.key_sha256.as_slice())
    .bind(&redeemed.chain_pem)
    .bind(id.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

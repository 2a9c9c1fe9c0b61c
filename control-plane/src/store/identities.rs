//! Keys of plane CAs: which may open sessions, and what was issued for them.

use sqlx::Row as _;
use zen_proto::ids::PlaneId;

use super::{DbRow, Store, StoreError, Tx, hash, stored};

/// Keys of one plane that are current at the same time: the one in use and its successor.
const CURRENT_KEYS: i64 = 2;

/// A plane CA's key with what was issued for it.
pub(crate) struct Issued {
    pub(crate) plane: PlaneId,
    pub(crate) key_sha256: [u8; 32],
    /// SubjectPublicKeyInfo, DER.
    pub(crate) spki: Vec<u8>,
    pub(crate) chain_pem: String,
    /// Unix milliseconds.
    pub(crate) at: u64,
}

impl Store {
    /// Whether the key is a current one of the plane.
    pub(crate) async fn is_current_key(
        &self,
        plane: PlaneId,
        key_sha256: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let found = sqlx::query(
            "SELECT plane_id FROM plane_identities \
             WHERE plane_id = $1 AND key_sha256 = $2 AND current",
        )
        .bind(plane.to_string())
        .bind(key_sha256.as_slice())
        .fetch_optional(&self.reader)
        .await?;
        Ok(found.is_some())
    }

    /// Keeps what was issued to a plane that is known by its session. A key that is new becomes
    /// current beside the one before.
    pub(crate) async fn renew_identity(&self, issued: &Issued) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        keep(&mut tx, issued).await?;
        sqlx::query(
            "UPDATE plane_identities SET current = $1 WHERE plane_id = $2 AND key_sha256 NOT IN \
             (SELECT key_sha256 FROM plane_identities WHERE plane_id = $2 AND current \
              ORDER BY issued_at DESC LIMIT $3)",
        )
        .bind(false)
        .bind(issued.plane.to_string())
        .bind(CURRENT_KEYS)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}

/// The plane's current keys.
pub(super) async fn current(tx: &mut Tx, plane: PlaneId) -> Result<Vec<[u8; 32]>, StoreError> {
    let keys =
        sqlx::query("SELECT key_sha256 FROM plane_identities WHERE plane_id = $1 AND current")
            .bind(plane.to_string())
            .try_map(|row: DbRow| hash(&row, "key_sha256"))
            .fetch_all(&mut **tx)
            .await?;
    Ok(keys)
}

/// The SubjectPublicKeyInfo of a current key of the plane.
pub(super) async fn spki(
    tx: &mut Tx,
    plane: PlaneId,
    key_sha256: &[u8; 32],
) -> Result<Option<Vec<u8>>, StoreError> {
    let found = sqlx::query(
        "SELECT spki FROM plane_identities WHERE plane_id = $1 AND key_sha256 = $2 AND current",
    )
    .bind(plane.to_string())
    .bind(key_sha256.as_slice())
    .try_map(|row: DbRow| row.try_get("spki"))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(found)
}

/// Makes the key the only current one of its plane.
pub(super) async fn replace(tx: &mut Tx, issued: &Issued) -> Result<(), StoreError> {
    sqlx::query("UPDATE plane_identities SET current = $1 WHERE plane_id = $2")
        .bind(false)
        .bind(issued.plane.to_string())
        .execute(&mut **tx)
        .await?;
    keep(tx, issued).await
}

/// Keeps the key as a current one, with the newest that was issued for it.
pub(super) async fn keep(tx: &mut Tx, issued: &Issued) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO plane_identities (plane_id, key_sha256, spki, chain_pem, issued_at, current) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (plane_id, key_sha256) DO UPDATE \
         SET chain_pem = excluded.chain_pem, issued_at = excluded.issued_at, current = excluded.current",
    )
    .bind(issued.plane.to_string())
    .bind(issued.key_sha256.as_slice())
    .bind(&issued.spki)
    .bind(&issued.chain_pem)
    .bind(stored(issued.at))
    .bind(true)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

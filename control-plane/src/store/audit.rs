//! The audit log: what was done, by whom, chained by hashes so that a row changed, removed or moved
//! afterwards is found. A row is written in the transaction of the change that it tells of. The end
//! of each chain is kept beside it, authenticated with a key that is not in the database.

mod chain;

use std::net::IpAddr;

use serde_json::Value;
use sqlx::Row as _;
use zen_proto::ids::TenantId;

pub(crate) use self::chain::{AuditKey, Fault, Head};
use self::chain::{Checker, chained};
use super::{
    Claim, DbRow, Page, Store, StoreError, Tx, hash, idempotency, json, number, stored, to_json,
};
use crate::principal::Actor;

/// Rows that are read at once when a chain is checked.
const ROWS: i64 = 500;

/// An entry about to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewAudit {
    /// Whose log.
    pub(crate) tenant: TenantId,
    /// Unix milliseconds.
    pub(crate) at: u64,
    pub(crate) actor: Actor,
    /// Such as `plane.create`.
    pub(crate) action: &'static str,
    /// Id of what was changed; empty if it has none.
    pub(crate) subject: String,
    /// Without secrets.
    pub(crate) detail: Value,
    /// Where it was asked from.
    pub(crate) address: Option<IpAddr>,
    /// The request that this carries out, if it may be repeated.
    pub(crate) claim: Option<Claim>,
}

/// An entry as kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its place in the tenant's chain, from 1.
    pub(crate) seq: u64,
    /// Unix milliseconds.
    pub(crate) at: u64,
    /// `user`, `key` or `system`.
    pub(crate) actor_kind: String,
    pub(crate) actor_id: String,
    pub(crate) actor_name: String,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) detail: Value,
    /// Empty if it is not known.
    pub(crate) address: String,
    pub(crate) hash: [u8; 32],
}

/// Which entries are wanted; the newest come first.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditWanted {
    /// Entries at the most.
    pub(crate) limit: u32,
    /// Only those before this place in the chain.
    pub(crate) before: Option<u64>,
    /// Unix milliseconds; this moment included.
    pub(crate) from: Option<u64>,
    /// Unix milliseconds; this moment excluded.
    pub(crate) until: Option<u64>,
    /// Id or name of who did it.
    pub(crate) actor: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) subject: Option<String>,
}

/// What a check of a chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Entries that hold, from the first.
    pub(crate) entries: u64,
    /// The end of the chain as it is kept; none if nothing was ever written.
    pub(crate) head: Option<Head>,
    /// The first thing that is wrong.
    pub(crate) fault: Option<Fault>,
}

/// Appends an entry to its tenant's chain, and notes that the request is carried out.
pub(super) async fn append(tx: &mut Tx, new: &NewAudit) -> Result<(), StoreError> {
    if let Some(claim) = &new.claim {
        idempotency::carried_out(tx, claim).await?;
    }
    let tenant = new.tenant.to_string();
    let last = sqlx::query("SELECT seq, hash FROM audit_heads WHERE tenant_id = $1")
        .bind(&tenant)
        .try_map(|row: DbRow| Ok((number(&row, "seq")?, hash(&row, "hash")?)))
        .fetch_optional(&mut **tx)
        .await?;
    let (last, previous) = last.unwrap_or((0, [0; 32]));
    let seq = last + 1;
    let detail = to_json(&new.detail)?;
    let address = new.address.map(|address| address.to_string());
    let address = address.unwrap_or_default();
    let texts = [
        tenant.as_str(),
        new.actor.kind.as_str(),
        &new.actor.id,
        &new.actor.name,
        new.action,
        &new.subject,
        &detail,
        &address,
    ];
    let hash = chained(&previous, seq, new.at, &texts);
    sqlx::query(
        "INSERT INTO audit (tenant_id, seq, at, actor_kind, actor_id, actor_name, action, subject, \
         detail, remote_address, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&tenant)
    .bind(stored(seq))
    .bind(stored(new.at))
    .bind(new.actor.kind.as_str())
    .bind(&new.actor.id)
    .bind(&new.actor.name)
    .bind(new.action)
    .bind(&new.subject)
    .bind(&detail)
    .bind(&address)
    .bind(hash.as_slice())
    .execute(&mut **tx)
    .await?;
    let mac = tx.audit_key().mac(&tenant, seq, &hash);
    sqlx::query(
        "INSERT INTO audit_heads (tenant_id, seq, hash, mac) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, \
         mac = excluded.mac",
    )
    .bind(&tenant)
    .bind(stored(seq))
    .bind(hash.as_slice())
    .bind(mac.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

impl Store {
    /// Writes down what changed nothing else: a sign-in that failed, a replay that begins, a test call.
    pub(crate) async fn note(&self, audit: &NewAudit) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        append(&mut tx, audit).await?;
        Ok(tx.commit().await?)
    }

    /// Entries of a tenant, the newest first.
    pub(crate) async fn audit(
        &self,
        tenant: TenantId,
        wanted: &AuditWanted,
    ) -> Result<Page<Entry>, StoreError> {
        let mut items = sqlx::query(
            "SELECT seq, at, actor_kind, actor_id, actor_name, action, subject, detail, \
             remote_address, hash FROM audit WHERE tenant_id = $1 AND seq < $2 AND at >= $3 \
             AND at < $4 AND ($5 = '' OR actor_id = $5 OR actor_name = $5) \
             AND ($6 = '' OR action = $6) AND ($7 = '' OR subject = $7) ORDER BY seq DESC LIMIT $8",
        )
        .bind(tenant.to_string())
        .bind(wanted.before.map_or(i64::MAX, stored))
        .bind(wanted.from.map_or(0, stored))
        .bind(wanted.until.map_or(i64::MAX, stored))
        .bind(wanted.actor.as_deref().unwrap_or_default())
        .bind(wanted.action.as_deref().unwrap_or_default())
        .bind(wanted.subject.as_deref().unwrap_or_default())
        .bind(i64::from(wanted.limit) + 1)
        .try_map(|row: DbRow| entry(&row))
        .fetch_all(&self.reader)
        .await?;
        let more = items.len() > wanted.limit as usize;
        items.truncate(wanted.limit as usize);
        let next = items.last().filter(|_| more);
        let next = next.map(|entry| entry.seq.to_string());
        Ok(Page { items, next })
    }

    /// Walks a tenant's chain from the first entry to the last. `known` is a place and hash that
    /// somebody kept elsewhere, which the chain must contain.
    pub(crate) async fn check_audit(
        &self,
        tenant: TenantId,
        known: Option<(u64, [u8; 32])>,
    ) -> Result<Checked, StoreError> {
        let mut tx = self.read().await?;
        let text = tenant.to_string();
        let head = sqlx::query("SELECT seq, hash, mac FROM audit_heads WHERE tenant_id = $1")
            .bind(&text)
            .try_map(|row: DbRow| {
                Ok(Head {
                    seq: number(&row, "seq")?,
                    hash: hash(&row, "hash")?,
                    mac: hash(&row, "mac")?,
                })
            })
            .fetch_optional(&mut *tx)
            .await?;
        let mut checker = Checker::new(&text, known);
        let mut after = 0_u64;
        loop {
            let rows = sqlx::query(
                "SELECT seq, at, actor_kind, actor_id, actor_name, action, subject, detail, \
                 remote_address, hash FROM audit WHERE tenant_id = $1 AND seq > $2 \
                 ORDER BY seq LIMIT $3",
            )
            .bind(&text)
            .bind(stored(after))
            .bind(ROWS)
            .fetch_all(&mut *tx)
            .await?;
            let Some(last) = rows.last() else { break };
            after = number(last, "seq")?;
            for row in &rows {
                if let Err(fault) = check(&mut checker, row)? {
                    return Ok(Checked {
                        entries: checker.entries(),
                        head,
                        fault: Some(fault),
                    });
                }
            }
        }
        let fault = checker.end(head.as_ref(), &self.audit_key).err();
        Ok(Checked {
            entries: checker.entries(),
            head,
            fault,
        })
    }
}

fn check(checker: &mut Checker, row: &DbRow) -> Result<Result<(), Fault>, StoreError> {
    let texts: [&str; 7] = [
        row.try_get("actor_kind")?,
        row.try_get("actor_id")?,
        row.try_get("actor_name")?,
        row.try_get("action")?,
        row.try_get("subject")?,
        row.try_get("detail")?,
        row.try_get("remote_address")?,
    ];
    let kept: &[u8] = row.try_get("hash")?;
    Ok(checker.row(number(row, "seq")?, number(row, "at")?, texts, kept))
}

fn entry(row: &DbRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        seq: number(row, "seq")?,
        at: number(row, "at")?,
        actor_kind: row.try_get("actor_kind")?,
        actor_id: row.try_get("actor_id")?,
        actor_name: row.try_get("actor_name")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: json(row, "detail")?,
        address: row.try_get("remote_address")?,
        hash: hash(row, "hash")?,
    })
}

//! The audit log: read, and checked from the first entry to the last.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use zen_proto::limits;

use super::api_keys::unix_ms;
use super::{Listed, shown_time};
use crate::control::Control;
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{AuditWanted, Entry};

/// Entries of a page unless asked otherwise.
const PAGE: u32 = 50;

/// Which entries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditAsked {
    /// Entries of one page.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// From this time on.
    #[param(format = "date-time")]
    pub(crate) from: Option<String>,
    /// Before this time.
    #[param(format = "date-time")]
    pub(crate) until: Option<String>,
    /// Who did it: a user's or key's id, an e-mail address or a key's name.
    pub(crate) actor: Option<String>,
    /// What was done, such as `plane.create`.
    pub(crate) action: Option<String>,
    /// What it was done to: an id.
    pub(crate) subject: Option<String>,
}

/// A place and hash that were kept elsewhere, which the log must contain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditKept {
    /// The place, from an earlier check.
    #[param(minimum = 1)]
    pub(crate) seq: Option<u64>,
    /// The hash that belongs to it: 64 hexadecimal digits.
    #[param(min_length = 64, max_length = 64, pattern = "^[0-9a-f]{64}$")]
    pub(crate) hash: Option<String>,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct EntryView {
    /// Its place in the log, from 1, without gaps.
    pub(crate) seq: u64,
    #[schema(format = "date-time")]
    pub(crate) at: String,
    pub(crate) actor: ActorView,
    /// Such as `plane.create`.
    pub(crate) action: String,
    /// Id of what was changed; empty if it has none.
    pub(crate) subject: String,
    /// What was changed, without secrets.
    #[schema(value_type = Object)]
    pub(crate) detail: Value,
    /// Where it was asked from; empty if that is not known.
    pub(crate) address: String,
    /// SHA-256 over this entry and the hash before it.
    pub(crate) hash: String,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ActorView {
    /// `user`, `key` or `system`.
    pub(crate) kind: String,
    /// Empty for the system.
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What a check of the log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CheckedView {
    /// Every entry is as it was written, and none is missing.
    pub(crate) holds: bool,
    /// Entries that hold, from the first.
    pub(crate) entries: u64,
    /// The end of the log. Keep it elsewhere, and give it to a later check: then not even who holds
    /// the database and the root identity can shorten the log unseen.
    pub(crate) head: Option<HeadView>,
    /// The first thing that is wrong.
    pub(crate) fault: Option<AuditFaultView>,
}

/// The end of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct HeadView {
    pub(crate) seq: u64,
    /// 64 hexadecimal digits.
    pub(crate) hash: String,
}

/// Something wrong with the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AuditFaultView {
    /// `ENTRY_CHANGED`, `ENTRIES_REMOVED`, `ENTRIES_CUT_OFF`, `ENTRIES_ADDED`, `HEAD_CHANGED` or
    /// `HASH_NOT_FOUND`.
    pub(crate) code: &'static str,
    /// The first entry concerned.
    pub(crate) seq: Option<u64>,
    /// One sentence.
    pub(crate) detail: String,
}

impl EntryView {
    fn of(entry: Entry) -> Self {
        Self {
            seq: entry.seq,
            at: shown_time(entry.at),
            actor: ActorView {
                kind: entry.actor_kind,
                id: entry.actor_id,
                name: entry.actor_name,
            },
            action: entry.action,
            subject: entry.subject,
            detail: entry.detail,
            address: entry.address,
            hash: hex::encode(entry.hash),
        }
    }
}

impl Control {
    /// Entries of the caller's tenant, the newest first.
    pub(crate) async fn list_audit(
        &self,
        caller: &Principal,
        asked: &AuditAsked,
    ) -> Result<Listed<EntryView>, Problem> {
        caller.may(Operation::AuditRead)?;
        let page = self.store.audit(caller.tenant, &wanted(asked)?).await?;
        Ok(Listed {
            items: page.items.into_iter().map(EntryView::of).collect(),
            next_cursor: page.next,
        })
    }

    /// Checks the log of the caller's tenant, whole.
    pub(crate) async fn verify_audit(
        &self,
        caller: &Principal,
        kept: &AuditKept,
    ) -> Result<CheckedView, Problem> {
        caller.may(Operation::AuditRead)?;
        let known = known(kept)?;
        let checked = self.store.check_audit(caller.tenant, known).await?;
        Ok(CheckedView {
            holds: checked.fault.is_none(),
            entries: checked.entries,
            head: checked.head.map(|head| HeadView {
                seq: head.seq,
                hash: hex::encode(head.hash),
            }),
            fault: checked.fault.map(|fault| AuditFaultView {
                code: fault.code(),
                seq: fault.seq(),
                detail: fault.to_string(),
            }),
        })
    }
}

fn wanted(asked: &AuditAsked) -> Result<AuditWanted, Problem> {
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=limits::PAGE).contains(&limit) {
        return Err(Problem::query(format!("limit: 1 to {}", limits::PAGE)));
    }
    let time = |name: &str, text: &Option<String>| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => unix_ms(text).map(Some).ok_or_else(|| {
            Problem::query(format!("{name}: not a time such as 2030-01-31T12:00:00Z"))
        }),
    };
    let cursor = asked.cursor.as_deref().filter(|text| !text.is_empty());
    let before = cursor.map(|text| {
        let place = text
            .parse::<u64>()
            .ok()
            .filter(|seq| i64::try_from(*seq).is_ok());
        place.ok_or_else(|| Problem::query("cursor: not one of this list"))
    });
    let word = |name: &str, text: &Option<String>| match text {
        Some(text) if text.contains('\0') => Err(Problem::query(format!("{name}: not a text"))),
        text => Ok(text.clone()),
    };
    Ok(AuditWanted {
        limit,
        before: before.transpose()?,
        from: time("from", &asked.from)?,
        until: time("until", &asked.until)?,
        actor: word("actor", &asked.actor)?,
        action: word("action", &asked.action)?,
        subject: word("subject", &asked.subject)?,
    })
}

fn known(kept: &AuditKept) -> Result<Option<(u64, [u8; 32])>, Problem> {
    match (kept.seq, kept.hash.as_deref()) {
        (None, None) => Ok(None),
        (Some(seq), Some(text)) => {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash)
                .map_err(|_| Problem::query("hash: 64 hexadecimal digits"))?;
            if seq == 0 {
                return Err(Problem::query("seq: from 1"));
            }
            Ok(Some((seq, hash)))
        }
        _ => Err(Problem::query("seq and hash go together")),
    }
}

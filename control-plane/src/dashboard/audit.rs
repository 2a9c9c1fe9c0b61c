//! The audit log: the newest first, filtered, with the state of its chain.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::Value;

use super::Shared;
use super::asked::Question;
use super::form::Posted;
use super::listing::ROWS;
use super::moment::Moment;
use super::parts::{Pager, Pill, Tone, grouped};
use super::render::{Answer, Frame, Nav, page_with};
use super::visitor::Visitor;
use super::words::Told;
use crate::control::Control;
use crate::manage::{AuditAsked, AuditKept, CheckedView, EntryView, Listed};
use crate::permissions::Operation;

const PATH: &str = "/audit";
/// Subjects that have a page of their own, by what their ids begin with.
const PAGES: [(&str, &str); 5] = [
    ("pl_", "/planes/"),
    ("ep_", "/endpoints/"),
    ("tgt_", "/targets/"),
    ("flw_", "/flows/"),
    ("usr_", "/settings/users/"),
];

/// Its path.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route(PATH, get(list))
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    frame: Frame,
    filter: Filter,
    /// Why the filter cannot be used; empty if it can.
    remark: String,
    chain: Chain,
    rows: Vec<Row>,
    pager: Pager,
}

struct Filter {
    actor: String,
    action: String,
    subject: String,
    from: String,
    until: String,
}

/// The chain's state in words.
struct Chain {
    pill: Pill,
    says: String,
    /// Of the newest entry; empty if there is none.
    head: String,
    /// Path that looks through the whole chain; empty once that was done.
    check: String,
}

struct Row {
    number: u64,
    at: Told,
    actor: String,
    actor_kind: String,
    action: String,
    subject: String,
    /// Empty if it has no page.
    subject_path: String,
    address: String,
    details: Vec<(String, String)>,
    hash: String,
}

impl Filter {
    fn of(asked: &Posted) -> Self {
        let text = |name: &str| asked.get(name).to_owned();
        Self {
            actor: text("actor"),
            action: text("action"),
            subject: text("subject"),
            from: text("from"),
            until: text("until"),
        }
    }

    fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("actor", &self.actor),
            ("action", &self.action),
            ("subject", &self.subject),
            ("from", &self.from),
            ("until", &self.until),
        ]
    }

    fn is_empty(&self) -> bool {
        self.pairs().iter().all(|(_, value)| value.is_empty())
    }

    fn asked(&self, cursor: Option<&str>) -> AuditAsked {
        let some = |text: &str| {
            Some(text)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        AuditAsked {
            limit: Some(ROWS),
            cursor: cursor.map(str::to_owned),
            from: some(&self.from).map(|time| in_utc(&time)),
            until: some(&self.until).map(|time| in_utc(&time)),
            actor: some(&self.actor),
            action: some(&self.action),
            subject: some(&self.subject),
        }
    }
}

/// A time as a browser's field writes it, in UTC as the API wants it. Anything else is left for
/// the API to refuse.
fn in_utc(time: &str) -> String {
    match time.len() {
        // 2026-11-22T13:00, and the same with seconds.
        16 => format!("{time}:00Z"),
        19 => format!("{time}Z"),
        _ => time.to_owned(),
    }
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let caller = &visitor.principal;
    caller.may(Operation::AuditRead)?;
    let filter = Filter::of(&asked);
    let cursor = asked.some("cursor");
    let (listed, remark) = match control.list_audit(caller, &filter.asked(cursor)).await {
        Ok(listed) => (listed, None),
        Err(problem) if problem.status.is_client_error() => {
            let nothing = Listed {
                items: Vec::new(),
                next_cursor: None,
            };
            (nothing, Some(problem))
        }
        Err(problem) => return Err(problem),
    };
    let status = remark.as_ref().map(|problem| problem.status);
    let chain = if asked.has("check") {
        let checked = control.verify_audit(caller, &AuditKept::default()).await?;
        Chain::of(&checked)
    } else {
        Chain::unchecked(&filter)
    };
    let frame = Frame::new(&control, visitor, Nav::Audit, "Audit").await?;
    let pager = Pager::new(PATH, &filter.pairs(), cursor, listed.next_cursor.as_deref());
    let rows = listed.items.into_iter().map(|entry| row(entry, frame.now));
    let page = Page {
        rows: rows.collect(),
        frame,
        filter,
        remark: remark.map(|problem| problem.detail).unwrap_or_default(),
        chain,
        pager,
    };
    page_with(status.unwrap_or_default(), &page)
}

impl Chain {
    /// It is looked through only when somebody asks: the log may be long.
    fn unchecked(filter: &Filter) -> Self {
        let mut pairs = filter.pairs().to_vec();
        pairs.push(("check", "chain"));
        let check = Pager::new(PATH, &pairs, Some("first"), None).first;
        Self {
            pill: Pill::new(Tone::Idle, "Not checked now"),
            says: "Whether every entry is as it was written, and none is missing.".to_owned(),
            head: String::new(),
            check: check.unwrap_or_default(),
        }
    }

    fn of(checked: &CheckedView) -> Self {
        let entries = grouped(checked.entries);
        let head = checked.head.as_ref();
        let head = head.map(|head| head.hash.clone()).unwrap_or_default();
        match &checked.fault {
            None => Self {
                pill: Pill::new(Tone::Ok, "Unbroken"),
                says: format!(
                    "{entries} entries, each as it was written. Keep the head elsewhere: a later \
                     check against it proves that nothing was cut off."
                ),
                head,
                check: String::new(),
            },
            Some(fault) => Self {
                pill: Pill::new(Tone::Bad, "Broken"),
                says: format!(
                    "{} ({}): {entries} entries before it hold. Somebody changed the database \
                     itself; compare it with a backup.",
                    fault.detail, fault.code
                ),
                head,
                check: String::new(),
            },
        }
    }
}

fn row(entry: EntryView, now: Moment) -> Row {
    let page = PAGES
        .iter()
        .find(|(prefix, _)| entry.subject.starts_with(prefix));
    Row {
        number: entry.seq,
        at: Told::at(Some(&entry.at), now),
        actor: match entry.actor.name.is_empty() {
            true => entry.actor.kind.clone(),
            false => entry.actor.name,
        },
        actor_kind: entry.actor.kind,
        action: entry.action,
        subject_path: page
            .map(|(_, path)| format!("{path}{}", entry.subject))
            .unwrap_or_default(),
        subject: entry.subject,
        address: entry.address,
        details: details(&entry.detail),
        hash: entry.hash,
    }
}

/// The details by name, as people read them.
fn details(detail: &Value) -> Vec<(String, String)> {
    let Value::Object(members) = detail else {
        return Vec::new();
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    let members = members.iter();
    members
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browsers_time_is_taken_as_utc_and_nonsense_is_left_to_be_refused() {
        assert_eq!(in_utc("2026-11-22T13:00"), "2026-11-22T13:00:00Z");
        assert_eq!(in_utc("2026-11-22T13:00:05"), "2026-11-22T13:00:05Z");
        assert_eq!(in_utc("yesterday"), "yesterday");
    }
}

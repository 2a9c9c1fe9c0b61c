//! Secrets: listed with whether they open, shown with their keys and who names them, removed. They
//! come in sealed, by the command line; no page takes a plaintext, and no page could open one.

mod seal;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use zen_proto::ids::SecretId;

use super::Shared;
use super::asked::{At, Question};
use super::codes::{self, Family};
use super::form::Posted;
use super::listing::ListFilter;
use super::parts::{Pager, Pill, Tone};
use super::render::{Answer, Frame, Nav, page, page_with, see_other};
use super::visitor::Visitor;
use super::words::Told;
use crate::control::Control;
use crate::manage::{Names, SecretUseView, SecretView};
use crate::permissions::Operation;
use crate::precondition::Expected;
use crate::problem::Problem;
use crate::secret::key_ids;
use crate::store::NameOf;

/// Where they are listed.
const PATH: &str = "/secrets";
/// Users named in a row of the list.
const NAMED: usize = 3;
const TOLD: &[(&str, &str)] = &[(
    "removed",
    "The secret was removed, its sealed text with it. Its plane knows it in a moment.",
)];

/// Its paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/secrets", get(list))
        .route("/secrets/seal", get(seal::show))
        .route("/secrets/{id}", get(show))
        .route("/secrets/{id}/remove", get(ask_removal).post(remove))
}

/// Whether a secret opens, in words.
struct Opening {
    pill: Pill,
    old: Option<Pill>,
    says: &'static str,
    code: String,
    meaning: &'static str,
    remedy: &'static str,
}

impl Opening {
    fn of(item: &SecretView) -> Self {
        let (pill, says) = match item.state {
            "opens" => (
                Pill::new(Tone::Ok, "Opens"),
                "The plane's zen-lock opens it.",
            ),
            "unopened" => (
                Pill::new(Tone::Bad, "Does not open"),
                "The plane's zen-lock cannot open it.",
            ),
            "waiting" => (
                Pill::new(Tone::Idle, "Waiting"),
                "The plane's zen-lock has not been heard of since it was stored.",
            ),
            _ => (
                Pill::new(Tone::Idle, "Not known"),
                "The plane is not connected, or runs no zen-lock that could say.",
            ),
        };
        let code = item.code.clone().unwrap_or_default();
        let known = codes::explained(Family::Secret, &code);
        Self {
            pill,
            // Of one that does not open, the code says more.
            old: (item.sealed_to_old_key == Some(true) && item.state != "unopened")
                .then_some(Pill::new(Tone::Warn, "Old key")),
            says,
            meaning: known.map_or("", |known| known.meaning),
            remedy: item.remedy.unwrap_or_default(),
            code,
        }
    }
}

#[derive(Template)]
#[template(path = "secrets.html")]
struct ListPage {
    frame: Frame,
    filter: ListFilter,
    rows: Vec<Row>,
    planes: Names,
    pager: Pager,
    may_write: bool,
}

struct Row {
    state: Opening,
    written: Told,
    /// The first that name it.
    users: Vec<SecretUseView>,
    /// How many more do.
    more: usize,
    item: SecretView,
}

impl Row {
    fn new(item: SecretView, frame: &Frame) -> Self {
        Self {
            state: Opening::of(&item),
            written: Told::ago(Some(&item.updated_at), frame.now),
            users: item.used_by.iter().take(NAMED).cloned().collect(),
            more: item.used_by.len().saturating_sub(NAMED),
            item,
        }
    }
}

async fn list(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let caller = &visitor.principal;
    let filter = ListFilter::new(&control, caller, PATH, &asked).await?;
    let listed = control
        .list_secrets(caller, &filter.secrets(&asked))
        .await?;
    let ids = listed.items.iter().map(|item| item.plane_id.as_str());
    let planes = control.names(caller, NameOf::Planes, ids).await?;
    let may_write = visitor.can(Operation::SecretWrite);
    let frame = Frame::new(&control, visitor, Nav::Secrets, "Secrets").await?;
    let pager = Pager::new(
        PATH,
        &filter.pairs(),
        asked.some("cursor"),
        listed.next_cursor.as_deref(),
    );
    let items = listed.items.into_iter();
    page(&ListPage {
        rows: items.map(|item| Row::new(item, &frame)).collect(),
        frame: frame.told(asked.some("done"), TOLD),
        filter,
        planes,
        pager,
        may_write,
    })
}

#[derive(Template)]
#[template(path = "secret.html")]
struct ShowPage {
    frame: Frame,
    state: Opening,
    plane: String,
    keys: Vec<Key>,
    created: Told,
    updated: Told,
    /// Where the command to seal it anew is shown.
    anew: String,
    sealed: String,
    item: SecretView,
    may_write: bool,
}

/// A key that a secret is sealed for.
struct Key {
    id: String,
    recipient: String,
    /// Whether zen-lock holds it, as far as is known.
    held: Option<Pill>,
}

async fn show(State(control): Shared, visitor: Visitor, At(id): At<SecretId>) -> Answer {
    let caller = &visitor.principal;
    let item = control.get_secret(caller, id).await?;
    let plane_id = item.plane_id.as_str();
    let plane = control.names(caller, NameOf::Planes, [plane_id]).await?;
    let lock = seal::lock_of(&control, caller, plane_id).await?;
    let held = lock.map(|lock| lock.recipients);
    let key = |recipient: &String| Key {
        id: key_ids(std::slice::from_ref(recipient)).concat(),
        held: held.as_ref().map(|held| match held.first() {
            Some(newest) if newest == recipient => Pill::new(Tone::Ok, "For new seals"),
            _ if held.contains(recipient) => Pill::new(Tone::Warn, "Old key"),
            _ => Pill::new(Tone::Idle, "Not zen-lock's"),
        }),
        recipient: recipient.clone(),
    };
    // Ids and DNS names need no escaping.
    let anew = format!("/secrets/seal?plane_id={plane_id}&name={}", item.name);
    let may_write = visitor.can(Operation::SecretWrite);
    let frame = Frame::new(&control, visitor.clone(), Nav::Secrets, &item.name).await?;
    page(&ShowPage {
        state: Opening::of(&item),
        plane: plane.of(plane_id).to_owned(),
        keys: item.recipients.iter().map(key).collect(),
        created: Told::at(Some(&item.created_at), frame.now),
        updated: Told::at(Some(&item.updated_at), frame.now),
        anew,
        sealed: item.sealed.clone().unwrap_or_default(),
        frame: frame.below("Secrets", PATH),
        item,
        may_write,
    })
}

#[derive(Template)]
#[template(path = "secret_remove.html")]
struct RemovePage {
    frame: Frame,
    item: SecretView,
    problem: Option<Problem>,
}

async fn ask_removal(State(control): Shared, visitor: Visitor, At(id): At<SecretId>) -> Answer {
    visitor.principal.may(Operation::SecretWrite)?;
    removal(&control, visitor, id, None).await
}

async fn remove(
    State(control): Shared,
    visitor: Visitor,
    At(id): At<SecretId>,
    posted: Posted,
) -> Answer {
    let forced = posted.has("force");
    let removed = control.remove_secret(&visitor.principal, id, forced, &Expected::Any);
    match removed.await {
        Ok(()) => Ok(see_other(&format!("{PATH}?done=removed"))),
        Err(problem) if problem.code == "IN_USE" => {
            removal(&control, visitor, id, Some(problem)).await
        }
        Err(problem) => Err(problem),
    }
}

async fn removal(
    control: &Arc<Control>,
    visitor: Visitor,
    id: SecretId,
    problem: Option<Problem>,
) -> Answer {
    let item = control.get_secret(&visitor.principal, id).await?;
    let title = format!("Remove {}?", item.name);
    let frame = Frame::new(control, visitor, Nav::Secrets, title).await?;
    let status = problem.as_ref().map_or(StatusCode::OK, |p| p.status);
    let page = RemovePage {
        frame: frame
            .below("Secrets", PATH)
            .below(&item.name, format!("{PATH}/{}", item.id)),
        item,
        problem,
    };
    page_with(status, &page)
}

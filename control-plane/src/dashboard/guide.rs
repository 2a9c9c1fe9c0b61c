//! The guide: the first event in five minutes, the API of this server as its own document tells it,
//! and every code with its remedy.

mod reference;

use std::collections::HashSet;
use std::sync::LazyLock;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::Value;
use std::sync::Arc;

use self::reference::Group;
use super::Shared;
use super::codes::{self, Family};
use super::render::{Answer, Frame, Nav, page};
use super::visitor::Visitor;
use crate::control::Control;
use crate::rest;

/// Its path.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route("/guide", get(show))
}

#[derive(Template)]
#[template(path = "guide.html")]
struct Page {
    frame: Frame,
    version: &'static str,
    groups: Vec<Group>,
    families: Vec<Codes>,
}

/// The codes of one family.
struct Codes {
    anchor: String,
    title: &'static str,
    codes: Vec<Row>,
}

struct Row {
    code: &'static str,
    meaning: &'static str,
    remedy: &'static str,
    /// No family before it has the code: links lead here.
    first: bool,
}

/// The document does not change while the process runs.
static DOCUMENT: LazyLock<Value> = LazyLock::new(rest::document);

async fn show(State(control): Shared, visitor: Visitor) -> Answer {
    let frame = Frame::new(&control, visitor, Nav::Guide, "Guide").await?;
    page(&Page {
        frame,
        version: env!("CARGO_PKG_VERSION"),
        groups: reference::groups(&DOCUMENT, "$ZEN_URL"),
        families: families(),
    })
}

fn families() -> Vec<Codes> {
    let mut seen = HashSet::new();
    let family = |family: Family| Codes {
        anchor: format!("{family:?}").to_lowercase(),
        title: family.title(),
        codes: codes::all()
            .filter(|code| code.family == family)
            .map(|code| Row {
                code: code.code,
                meaning: code.meaning,
                remedy: code.remedy,
                first: seen.insert(code.code),
            })
            .collect(),
    };
    Family::ALL.map(family).into()
}

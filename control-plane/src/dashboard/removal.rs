//! The page that asks before something is removed, and says what keeps it.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;

use super::render::{Answer, Frame, Nav, page_with};
use super::visitor::Visitor;
use crate::control::Control;
use crate::manage::Names;
use crate::problem::Problem;
use crate::store::NameOf;

/// What is to be removed.
pub(super) struct Removal {
    pub(super) nav: Nav,
    /// Such as `Endpoints`.
    pub(super) nouns: &'static str,
    /// Where they are listed.
    pub(super) list: &'static str,
    pub(super) id: String,
    pub(super) name: String,
    /// What it means, in whole sentences.
    pub(super) means: &'static str,
    /// On the button.
    pub(super) verb: &'static str,
}

#[derive(Template)]
#[template(path = "remove.html")]
struct Page {
    frame: Frame,
    back: String,
    name: String,
    means: &'static str,
    verb: &'static str,
    problem: Option<Problem>,
    /// Ids of the flows that use it.
    flows: Vec<String>,
    names: Names,
}

/// Asks, or says why it was not removed.
pub(super) async fn ask(
    control: &Arc<Control>,
    visitor: Visitor,
    removal: Removal,
    problem: Option<Problem>,
) -> Answer {
    let back = format!("{}/{}", removal.list, removal.id);
    let flows = problem.as_ref().map(flows_in).unwrap_or_default();
    let ids = flows.iter().map(String::as_str);
    let names = control
        .names(&visitor.principal, NameOf::Flows, ids)
        .await?;
    let title = format!("Remove {}?", removal.name);
    let frame = Frame::new(control, visitor, removal.nav, title).await?;
    let status = problem.as_ref().map_or(StatusCode::OK, |p| p.status);
    let page = Page {
        frame: frame
            .below(removal.nouns, removal.list)
            .below(&removal.name, &back),
        back,
        name: removal.name,
        means: removal.means,
        verb: removal.verb,
        problem,
        flows,
        names,
    };
    page_with(status, &page)
}

/// The ids of flows that a problem names.
fn flows_in(problem: &Problem) -> Vec<String> {
    let words = problem.detail.split([' ', ',', ':']);
    words
        .filter(|word| word.starts_with("flw_"))
        .map(str::to_owned)
        .collect()
}

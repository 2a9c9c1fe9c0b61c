//! How a page is put together: its template in the frame, with navigation, counts and who looks.

use std::sync::Arc;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::assets::{ASSETS, Assets};
use super::moment::Moment;
use super::parts::grouped;
use super::visitor::Visitor;
use crate::control::Control;
use crate::problem::Problem;

/// Minutes of a day.
const DAY: u64 = 24 * 60;

/// What a handler of a page answers.
pub(crate) type Answer = Result<Response, Problem>;

/// The entry of the navigation that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nav {
    Overview,
    Planes,
    DataPlanes,
    Endpoints,
    Targets,
    Flows,
    Deliveries,
    DeadLetters,
    Secrets,
    Audit,
    Settings,
    Guide,
    /// None of them.
    Elsewhere,
}

/// What stands around a page.
pub(crate) struct Frame {
    pub(crate) title: String,
    pub(crate) nav: Nav,
    pub(crate) who: Visitor,
    pub(crate) now: Moment,
    pub(crate) assets: Assets,
    /// The pages above this one.
    pub(crate) crumbs: Vec<Crumb>,
    /// What was just done.
    pub(crate) told: Option<&'static str>,
    planes: u64,
    dead_letters: u64,
}

/// A page above this one.
#[derive(Clone, Debug)]
pub(crate) struct Crumb {
    pub(crate) name: String,
    pub(crate) path: String,
}

/// Entries of the navigation under one heading.
pub(crate) struct NavGroup {
    pub(crate) name: &'static str,
    pub(crate) items: Vec<NavItem>,
}

/// One entry of the navigation.
pub(crate) struct NavItem {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) current: bool,
    pub(crate) count: Option<String>,
    /// The count is of something that needs a look.
    pub(crate) alarming: bool,
}

impl Frame {
    /// The frame of a page.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn new(
        control: &Arc<Control>,
        who: Visitor,
        nav: Nav,
        title: impl Into<String>,
    ) -> Result<Self, Problem> {
        let scope = control.scope(&who.principal);
        let planes = control.store.count_edge_planes(scope).await?;
        let tenant = who.principal.tenant;
        let day_ago = (control.stage.clock.unix_ms() / 60_000).saturating_sub(DAY);
        let count = control.store.dead_lettered_since(tenant, day_ago);
        let dead_letters = control
            .kept
            .dead_letters
            .get(tenant, Instant::now(), count)
            .await?;
        Ok(Self {
            title: title.into(),
            nav,
            who,
            now: Moment(control.stage.clock.unix_ms()),
            assets: ASSETS,
            crumbs: Vec::new(),
            told: None,
            planes,
            dead_letters,
        })
    }

    /// With one more page above this one, the nearest last.
    #[must_use]
    pub(crate) fn below(mut self, name: impl Into<String>, path: impl Into<String>) -> Self {
        self.crumbs.push(Crumb {
            name: name.into(),
            path: path.into(),
        });
        self
    }

    /// With a sentence on what was just done: the one of `sentences` whose word came with the
    /// redirect. A word that is not known says nothing, so that a link can put no words here.
    #[must_use]
    pub(crate) fn told(mut self, word: Option<&str>, sentences: &[(&str, &'static str)]) -> Self {
        let found = sentences.iter().find(|(known, _)| Some(*known) == word);
        self.told = found.map(|(_, sentence)| *sentence);
        self
    }

    /// The navigation.
    pub(crate) fn nav(&self) -> Vec<NavGroup> {
        let item = |name, path, nav| NavItem {
            name,
            path,
            current: self.nav == nav,
            count: None,
            alarming: false,
        };
        let planes = NavItem {
            count: Some(grouped(self.planes)),
            ..item("Edge planes", "/planes", Nav::Planes)
        };
        let dead_letters = NavItem {
            count: (self.dead_letters > 0).then(|| grouped(self.dead_letters)),
            alarming: true,
            ..item("Dead letters", "/dead-letters", Nav::DeadLetters)
        };
        let group = |name, items| NavGroup { name, items };
        vec![
            group("", vec![item("Overview", "/", Nav::Overview)]),
            group(
                "Planes",
                vec![planes, item("Data planes", "/data-planes", Nav::DataPlanes)],
            ),
            group(
                "Connect",
                vec![
                    item("Endpoints", "/endpoints", Nav::Endpoints),
                    item("Targets", "/targets", Nav::Targets),
                    item("Flows", "/flows", Nav::Flows),
                ],
            ),
            group(
                "Traffic",
                vec![
                    item("Deliveries", "/deliveries", Nav::Deliveries),
                    dead_letters,
                ],
            ),
            group(
                "Trust",
                vec![
                    item("Secrets", "/secrets", Nav::Secrets),
                    item("Audit", "/audit", Nav::Audit),
                ],
            ),
            group(
                "Account",
                vec![
                    item("Settings", "/settings", Nav::Settings),
                    item("Guide", "/guide", Nav::Guide),
                ],
            ),
        ]
    }
}

/// A page.
///
/// # Errors
/// When the template cannot be rendered.
pub(crate) fn page(template: &impl Template) -> Answer {
    page_with(StatusCode::OK, template)
}

/// A page with another status: a form that is shown again, say.
///
/// # Errors
/// When the template cannot be rendered.
pub(crate) fn page_with(status: StatusCode, template: &impl Template) -> Answer {
    let html = template
        .render()
        .map_err(|error| Problem::internal(error.to_string()))?;
    Ok((status, Html(html)).into_response())
}

/// Sends the browser on after a form did its work.
pub(crate) fn see_other(path: &str) -> Response {
    // A path is made of words and ids of ours; what is none stays here.
    let to = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

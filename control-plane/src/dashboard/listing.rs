//! What lists have in common: the filter above, choices of planes.

use super::form::Posted;
use crate::control::Control;
use crate::manage::{
    EndpointsAsked, FlowsAsked, PageAsked, PlaneChoice, SecretsAsked, TargetsAsked,
};
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{CHOICES, Choice, NameOf};

/// Rows of one page.
pub(super) const ROWS: u32 = 50;
/// Flows shown on the page of one of their ends at the most.
pub(super) const FLOWS_SHOWN: u32 = 100;

/// The filter above a list of what lives in planes.
pub(super) struct ListFilter {
    pub(super) path: &'static str,
    pub(super) name: String,
    pub(super) plane_id: String,
    pub(super) planes: Vec<Choice>,
}

impl ListFilter {
    /// What was asked, with the planes to choose from.
    pub(super) async fn new(
        control: &Control,
        caller: &Principal,
        path: &'static str,
        asked: &Posted,
    ) -> Result<Self, Problem> {
        let plane_id = asked.get("plane_id").to_owned();
        let planes = planes(control, caller, "", &plane_id).await?;
        Ok(Self {
            path,
            name: asked.get("name").to_owned(),
            planes: planes.into_iter().map(|plane| plane.choice).collect(),
            plane_id,
        })
    }

    /// Whether everything is wanted.
    pub(super) const fn is_empty(&self) -> bool {
        self.name.is_empty() && self.plane_id.is_empty()
    }

    /// The endpoints that are wanted.
    pub(super) fn endpoints(&self, asked: &Posted) -> EndpointsAsked {
        EndpointsAsked {
            name: some(&self.name),
            plane_id: some(&self.plane_id),
            limit: Some(ROWS),
            cursor: asked.some("cursor").map(str::to_owned),
            ..EndpointsAsked::default()
        }
    }

    /// The targets that are wanted.
    pub(super) fn targets(&self, asked: &Posted) -> TargetsAsked {
        TargetsAsked {
            name: some(&self.name),
            plane_id: some(&self.plane_id),
            limit: Some(ROWS),
            cursor: asked.some("cursor").map(str::to_owned),
            ..TargetsAsked::default()
        }
    }

    /// The secrets that are wanted.
    pub(super) fn secrets(&self, asked: &Posted) -> SecretsAsked {
        SecretsAsked {
            name: some(&self.name),
            plane_id: some(&self.plane_id),
            limit: Some(ROWS),
            cursor: asked.some("cursor").map(str::to_owned),
            ..SecretsAsked::default()
        }
    }

    /// The flows that are wanted.
    pub(super) fn flows(&self, asked: &Posted) -> FlowsAsked {
        FlowsAsked {
            name: some(&self.name),
            plane_id: some(&self.plane_id),
            limit: Some(ROWS),
            cursor: asked.some("cursor").map(str::to_owned),
            ..FlowsAsked::default()
        }
    }

    /// Its parameters, for the pages of the list.
    pub(super) fn pairs(&self) -> [(&'static str, &str); 2] {
        [("name", &self.name), ("plane_id", &self.plane_id)]
    }
}

fn some(text: &str) -> Option<String> {
    Some(text)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// Planes whose name contains `part`, and the one that is chosen already whatever its name.
pub(super) async fn planes(
    control: &Control,
    caller: &Principal,
    part: &str,
    chosen: &str,
) -> Result<Vec<PlaneChoice>, Problem> {
    let mut planes = control.plane_choices(caller, part).await?;
    if !chosen.is_empty() && !planes.iter().any(|plane| plane.choice.id == chosen) {
        let names = control.names(caller, NameOf::Planes, [chosen]).await?;
        planes.push(PlaneChoice {
            choice: Choice {
                id: chosen.to_owned(),
                name: names.of(chosen).to_owned(),
                place: String::new(),
            },
            connected: false,
        });
    }
    Ok(planes)
}

/// Choices as options of a select, a first one that is none of them before.
pub(super) fn options<'a>(choices: impl IntoIterator<Item = &'a Choice>) -> Vec<(String, String)> {
    let none = (String::new(), "Choose…".to_owned());
    let choices = choices.into_iter().map(|choice| {
        let text = if choice.place.is_empty() {
            choice.name.clone()
        } else {
            format!("{} ({})", choice.name, choice.place)
        };
        (choice.id.clone(), text)
    });
    std::iter::once(none).chain(choices).collect()
}

/// Whether there are more choices than a form offers.
pub(super) const fn is_cut(choices: usize) -> bool {
    choices as i64 >= CHOICES
}

/// The page that is asked for, of a list without a filter.
pub(super) fn page_asked(asked: &Posted) -> PageAsked {
    PageAsked {
        limit: Some(ROWS),
        cursor: asked.some("cursor").map(str::to_owned),
    }
}

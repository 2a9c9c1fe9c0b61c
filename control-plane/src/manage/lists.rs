//! Lists: how a page of one is asked for, and how it is shown.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use zen_proto::limits;

use crate::problem::Problem;
use crate::store::{Named, Page, Wanted};

/// Items of a page unless asked otherwise.
const PAGE: u32 = 50;
/// Longest name that is looked for, in characters.
const NAME: usize = 100;

/// One page of a list, as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// For `?cursor=`; none on the last page.
    pub(crate) next_cursor: Option<String>,
}

impl<T> Listed<T> {
    /// A page of the store, each item shown.
    pub(super) fn of<S>(page: Page<S>, show: impl Fn(S) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(show).collect(),
            next_cursor: page.next,
        }
    }
}

/// Which page of a list is wanted, where nothing else can be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageAsked {
    /// Items of a page at the most.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

impl PageAsked {
    /// The page of things with ids of kind `I`.
    pub(super) fn wanted<I: FromStr<Err: Display> + Display>(&self) -> Result<Wanted, Problem> {
        let paging = Paging {
            limit: self.limit,
            cursor: self.cursor.as_deref(),
            name: None,
            exact_name: None,
        };
        paging.wanted::<I>()
    }
}

/// What the query of every list may say.
pub(super) struct Paging<'a> {
    pub(super) limit: Option<u32>,
    pub(super) cursor: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) exact_name: Option<&'a str>,
}

impl Paging<'_> {
    /// The page of things with ids of kind `I` that is wanted.
    ///
    /// # Errors
    /// 400 for what is out of bounds.
    pub(super) fn wanted<I: FromStr<Err: Display> + Display>(&self) -> Result<Wanted, Problem> {
        let limit = self.limit.unwrap_or(PAGE);
        if !(1..=limits::PAGE).contains(&limit) {
            return Err(Problem::query(format!("limit: 1 to {}", limits::PAGE)));
        }
        let after: Option<I> = id("cursor", self.cursor)?;
        Ok(Wanted {
            limit,
            after: after.map(|id| id.to_string()).unwrap_or_default(),
            named: Named {
                part: looked_for("name", self.name)?,
                exact: looked_for("exact_name", self.exact_name)?,
            },
        })
    }
}

/// Reads an id of a query; an empty one is none.
///
/// # Errors
/// 400 if it is no id of the kind.
pub(super) fn id<I: FromStr<Err: Display>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<I>, Problem> {
    let text = text.filter(|text| !text.is_empty());
    text.map(str::parse)
        .transpose()
        .map_err(|error| Problem::query(format!("{name}: {error}")))
}

/// A name in a query; PostgreSQL takes no text with a NUL in it.
fn looked_for(name: &str, text: Option<&str>) -> Result<String, Problem> {
    let text = text.unwrap_or_default();
    if text.chars().count() > NAME || text.contains(char::is_control) {
        return Err(Problem::query(format!(
            "{name}: at most {NAME} characters, none of control"
        )));
    }
    Ok(text.to_owned())
}

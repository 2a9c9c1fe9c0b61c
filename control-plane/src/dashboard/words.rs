//! Small turns of phrase that several pages share.

use std::fmt;

use askama::filters::HtmlSafe;

use super::moment::{Moment, When};

/// With its first letter large.
pub(super) fn sentence(words: &str) -> String {
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// A time in a page, or a dash if there is none.
#[derive(Clone, Debug)]
pub(super) struct Told(Option<When>);

impl Told {
    /// The time as the API shows it, told absolutely.
    pub(super) fn at(time: Option<&str>, now: Moment) -> Self {
        Self(time.and_then(Moment::parse).map(|time| time.at(now)))
    }

    /// The time as the API shows it, told by how long ago it was or how soon it is.
    pub(super) fn ago(time: Option<&str>, now: Moment) -> Self {
        Self(time.and_then(Moment::parse).map(|time| time.ago(now)))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(when) => when.fmt(f),
            None => f.write_str("–"),
        }
    }
}

impl askama::FastWritable for Told {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

impl HtmlSafe for Told {}

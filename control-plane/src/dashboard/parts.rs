//! Small parts of pages that are made in Rust: pills, pages of a list, numbers.

use std::fmt;

use askama::filters::HtmlSafe;

/// How a state feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Ok,
    Warn,
    Bad,
    Idle,
}

impl Tone {
    /// The style's class.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }

    /// A shape, so that a state is told by more than its colour.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Ok => "●",
            Self::Warn => "▲",
            Self::Bad => "■",
            Self::Idle => "○",
        }
    }
}

/// A state in one or two words. The words come from the code, never from people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pill {
    pub(crate) tone: Tone,
    pub(crate) words: &'static str,
}

impl Pill {
    /// A pill.
    pub(crate) const fn new(tone: Tone, words: &'static str) -> Self {
        Self { tone, words }
    }
}

impl fmt::Display for Pill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, mark, words) = (self.tone.class(), self.tone.mark(), self.words);
        write!(
            f,
            "<span class=\"pill {class}\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span>\
             {words}</span>"
        )
    }
}

impl askama::FastWritable for Pill {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

impl HtmlSafe for Pill {}

/// The way through the pages of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pager {
    /// Path of the first page; none if this is it.
    pub(crate) first: Option<String>,
    /// Path of the next page; none if this is the last.
    pub(crate) next: Option<String>,
}

impl Pager {
    /// For a list at `path`, filtered by `filters` (name and value, empty ones left out), of which
    /// the page after `cursor` is shown and `next` is the cursor of the one that follows.
    pub(crate) fn new(
        path: &str,
        filters: &[(&str, &str)],
        cursor: Option<&str>,
        next: Option<&str>,
    ) -> Self {
        let to = |cursor: Option<&str>| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            let given = filters.iter().filter(|(_, value)| !value.is_empty());
            query.extend_pairs(given);
            if let Some(cursor) = cursor {
                query.append_pair("cursor", cursor);
            }
            let query = query.finish();
            if query.is_empty() {
                path.to_owned()
            } else {
                format!("{path}?{query}")
            }
        };
        Self {
            first: cursor.filter(|c| !c.is_empty()).map(|_| to(None)),
            next: next.map(|next| to(Some(next))),
        }
    }

    /// Whether there is more than one page.
    pub(crate) const fn is_needed(&self) -> bool {
        self.first.is_some() || self.next.is_some()
    }
}

/// A number with its thousands apart: `1,204`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An id cut to what tells it apart: `pl_01jd…c2`.
pub(crate) fn short_id(id: &str) -> String {
    let head: String = id.chars().take(7).collect();
    let count = id.chars().count();
    if count <= 12 {
        return id.to_owned();
    }
    let tail: String = id.chars().skip(count - 4).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_204_567), "1,204,567");
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let filters = [("name", "a&b"), ("status", "")];
        let pager = Pager::new("/planes", &filters, None, Some("pl_1"));
        assert_eq!(
            pager.next.as_deref(),
            Some("/planes?name=a%26b&cursor=pl_1")
        );
        assert_eq!(pager.first, None);
        let last = Pager::new("/planes", &filters, Some("pl_1"), None);
        assert_eq!(last.first.as_deref(), Some("/planes?name=a%26b"));
    }
}

//! Finds the live parts in a page that this process rendered. It relies on what holds for every
//! page here: what people wrote is escaped, so that every `<` begins a tag of a template.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A live part of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    pub(super) id: &'a str,
    /// The element, whole.
    pub(super) html: &'a str,
}

impl Fragment<'_> {
    /// Tells one content from another. What a `time` element says is left out: it goes on by
    /// itself in the browser.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut rest = self.html;
        while let Some((before, after)) = rest.split_once("<time ") {
            before.hash(&mut hasher);
            let (tag, text) = after.split_once('>').unwrap_or((after, ""));
            tag.hash(&mut hasher);
            rest = text.split_once("</time>").map_or("", |(_, rest)| rest);
        }
        rest.hash(&mut hasher);
        hasher.finish()
    }
}

/// The outermost elements with an id and `data-live`, in the page's order.
pub(super) fn of(html: &str) -> Vec<Fragment<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = html[at..].find('<').map(|offset| at + offset) {
        let Some(end) = html[start..].find('>').map(|offset| start + offset + 1) else {
            break;
        };
        at = end;
        let tag = &html[start + 1..end - 1];
        if !is_live(tag) {
            continue;
        }
        let (Some(id), Some(name)) = (attribute(tag, "id"), name(tag)) else {
            continue;
        };
        let Some(length) = length(&html[start..], name) else {
            continue;
        };
        at = start + length;
        found.push(Fragment {
            id,
            html: &html[start..at],
        });
    }
    found
}

fn is_live(tag: &str) -> bool {
    !tag.starts_with(['/', '!']) && tag.split_ascii_whitespace().any(|word| word == "data-live")
}

fn name(tag: &str) -> Option<&str> {
    tag.split_ascii_whitespace().next()
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = tag.split_once(&format!(" {name}=\""))?;
    after.split_once('"').map(|(value, _)| value)
}

/// Bytes of the element of this name that the text begins with, up to its own end.
fn length(text: &str, name: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let start = at + text[at..].find('<')?;
        let end = start + text[start..].find('>')? + 1;
        let tag = &text[start + 1..end - 1];
        at = end;
        if tag.strip_prefix('/') == Some(name) {
            depth -= 1;
            if depth == 0 {
                return Some(end);
            }
        } else if self::name(tag) == Some(name) && !tag.ends_with('/') {
            depth += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<!doctype html><main><div id=\"a\" class=\"x\" data-live><div>1</div>\
        &lt;/div&gt;</div><p data-live>no id</p><tbody data-live id=\"b\"><tr></tr></tbody></main>";

    #[test]
    fn each_live_part_is_found_whole() {
        let found = of(PAGE);
        let ids: Vec<_> = found.iter().map(|part| part.id).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(found[0].html.starts_with("<div id=\"a\""));
        assert!(found[0].html.ends_with("&lt;/div&gt;</div>"));
        assert_eq!(found[1].html, "<tbody data-live id=\"b\"><tr></tr></tbody>");
    }

    #[test]
    fn a_part_without_an_end_is_left_out() {
        assert!(of("<div id=\"a\" data-live><div></div>").is_empty());
    }

    #[test]
    fn only_what_time_elements_say_is_no_change() {
        let part = |text: &str| {
            let html = format!("<p id=\"a\" data-live><time datetime=\"x\">{text}</time> y</p>");
            of(&html)[0].fingerprint()
        };
        assert_eq!(part("1 s ago"), part("2 s ago"));
        let other = "<p id=\"a\" data-live><time datetime=\"z\">1 s ago</time> y</p>";
        assert_ne!(part("1 s ago"), of(other)[0].fingerprint());
    }
}

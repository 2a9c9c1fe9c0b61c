//! Entity tags: `ETag` of what is shown, `If-Match` of what is to be changed, `If-None-Match` of
//! what the caller has already (RFC 9110, 13). A tag is the version in quotes.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::control::Control;
use crate::precondition::Expected;
use crate::problem::Problem;

/// Tags in one header at the most.
const TAGS: usize = 64;

/// The tag of a version.
pub(super) fn tag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// `If-Match`: which version a change is meant for.
pub(super) struct IfMatch(pub(super) Expected);

impl FromRequestParts<Arc<Control>> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Control>) -> Result<Self, Problem> {
        let tags = read(&parts.headers, &header::IF_MATCH)?;
        Ok(Self(match tags {
            None | Some(Tags::Any) => Expected::Any,
            // A weak tag never matches here; a tag that is no version of ours neither.
            Some(Tags::These(tags)) => Expected::OneOf(
                tags.iter()
                    .filter(|tag| !tag.weak)
                    .filter_map(|tag| version(&tag.text))
                    .collect(),
            ),
        }))
    }
}

/// `If-None-Match`: which versions the caller has.
pub(super) struct IfNoneMatch(Option<Tags>);

impl IfNoneMatch {
    /// Whether the caller has this version already.
    pub(super) fn has(&self, now: u64) -> bool {
        match &self.0 {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::These(tags)) => tags.iter().any(|tag| version(&tag.text) == Some(now)),
        }
    }
}

impl FromRequestParts<Arc<Control>> for IfNoneMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Control>) -> Result<Self, Problem> {
        read(&parts.headers, &header::IF_NONE_MATCH).map(Self)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    These(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// Between the quotes.
    text: String,
}

/// A tag's version; numbers are written in one way only.
fn version(text: &str) -> Option<u64> {
    let version: u64 = text.parse().ok()?;
    (version.to_string() == text).then_some(version)
}

fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let wrong = || Problem::header(format!("{name}: send * or tags such as \"3\""));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::header(format!("{name}: send it once")));
    }
    tags(value.to_str().map_err(|_| wrong())?)
        .map(Some)
        .ok_or_else(wrong)
}

/// `*`, or a list of tags.
fn tags(text: &str) -> Option<Tags> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut found = Vec::new();
    loop {
        let weak = rest.starts_with("W/");
        rest = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (text, after) = rest.split_once('"')?;
        let plain = |byte: u8| byte == 0x21 || (0x23..=0x7e).contains(&byte);
        if !text.bytes().all(plain) || found.len() == TAGS {
            return None;
        }
        found.push(Tag {
            weak,
            text: text.to_owned(),
        });
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(Tags::These(found));
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_the_rfc_writes_them() {
        let tag = |weak, text: &str| Tag {
            weak,
            text: text.to_owned(),
        };
        assert_eq!(tags("*"), Some(Tags::Any));
        assert_eq!(tags("\"3\""), Some(Tags::These(vec![tag(false, "3")])));
        assert_eq!(
            tags("\"3\" , W/\"a,b\""),
            Some(Tags::These(vec![tag(false, "3"), tag(true, "a,b")]))
        );
        for malformed in [
            "",
            "3",
            "\"3",
            "\"3\",",
            "*, \"3\"",
            "w/\"3\"",
            "\"3\" \"4\"",
            "\"a b\"",
        ] {
            assert_eq!(tags(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_version_is_written_in_one_way_only() {
        assert_eq!(version("3"), Some(3));
        for other in ["03", "+3", "3.0", "", "99999999999999999999"] {
            assert_eq!(version(other), None, "{other}");
        }
    }
}

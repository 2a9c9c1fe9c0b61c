//! Taking a signature's headers out of a request: exactly one of each, and readable.

use http::HeaderMap;

use super::Mismatch;

/// The header of this name. A second one is refused: two readers could each take another.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Mismatch> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Mismatch::MissingHeader(name))?;
    let malformed = |problem| Mismatch::Malformed {
        header: name,
        problem,
    };
    if values.next().is_some() {
        return Err(malformed("is there more than once"));
    }
    value.to_str().map_err(|_| malformed("is not text"))
}

/// Unix seconds: digits and nothing else.
pub(super) fn unix_seconds(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

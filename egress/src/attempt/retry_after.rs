//! Reads `Retry-After`: seconds, or a date. Pure; now comes in.

use std::time::Duration;

use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// The one form of date that HTTP sends (IMF-fixdate, RFC 9110, 5.6.7).
const DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// How long the value asks to wait from `now_ms` (Unix milliseconds) on; nothing if it is no
/// `Retry-After`. A date that is over asks for no wait.
pub(crate) fn parse(value: &str, now_ms: u64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = PrimitiveDateTime::parse(value, DATE)
        .ok()?
        .assume_utc()
        .unix_timestamp();
    let until_ms = u64::try_from(date).unwrap_or(0).saturating_mul(1000);
    Some(Duration::from_millis(until_ms.saturating_sub(now_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        // Sun, 06 Nov 1994 08:49:37 GMT is 784,111,777.
        let now_ms = 784_111_700_000;
        assert_eq!(parse(" 120 ", now_ms), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse(date, now_ms), Some(Duration::from_secs(77)));
        assert_eq!(parse(date, now_ms * 2), Some(Duration::ZERO));
        for text in ["", "soon", "-1", "1.5", "06 Nov 1994"] {
            assert_eq!(parse(text, now_ms), None, "{text:?}");
        }
    }
}

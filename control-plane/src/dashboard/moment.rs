//! Times as pages tell them: absolute in UTC, and how long ago.

use std::fmt;

use askama::filters::HtmlSafe;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::manage::shown_time;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A time, Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// Reads a time as the API shows it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(time.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Self)
    }

    /// RFC 3339, for machines.
    pub(crate) fn iso(self) -> String {
        shown_time(self.0)
    }

    /// `22 Nov 2026, 14:00:52 UTC`.
    pub(crate) fn absolute(self) -> String {
        format!("{}, {}", self.date(), self.clock())
    }

    /// `22 Nov 2026`.
    pub(crate) fn date(self) -> String {
        let time = self.time();
        let month = MONTHS[usize::from(u8::from(time.month())) - 1];
        format!("{} {month} {}", time.day(), time.year())
    }

    /// `14:00:52 UTC`.
    pub(crate) fn clock(self) -> String {
        let (hour, minute, second) = self.time().to_hms();
        format!("{hour:02}:{minute:02}:{second:02} UTC")
    }

    /// `14:00`.
    pub(crate) fn short_clock(self) -> String {
        let (hour, minute, _) = self.time().to_hms();
        format!("{hour:02}:{minute:02}")
    }

    /// `3 min ago`, `in 21 min`.
    pub(crate) fn relative(self, now: Self) -> String {
        if self <= now {
            format!("{} ago", spell((now.0 - self.0) / 1000))
        } else {
            format!("in {}", spell((self.0 - now.0) / 1000))
        }
    }

    /// The time of day if it lies in the same day as `now`, otherwise the date too.
    pub(crate) fn at(self, now: Self) -> When {
        let day = |moment: Self| moment.0 / (DAY * 1000);
        let text = if day(self) == day(now) {
            self.clock()
        } else {
            self.absolute()
        };
        When {
            moment: self,
            text,
            kind: Kind::Absolute,
        }
    }

    /// How long ago, going on while one looks.
    pub(crate) fn ago(self, now: Self) -> When {
        When {
            moment: self,
            text: self.relative(now),
            kind: Kind::Relative,
        }
    }

    /// The day alone, for what is far away.
    pub(crate) fn day(self) -> When {
        When {
            moment: self,
            text: self.date(),
            kind: Kind::Absolute,
        }
    }

    /// `expires in 29:41`, going on while one looks.
    pub(crate) fn countdown(self, now: Self) -> When {
        let left = self.0.saturating_sub(now.0).div_ceil(1000);
        let text = match left {
            0 => "expired".to_owned(),
            left if left < HOUR => format!("expires in {:02}:{:02}", left / MINUTE, left % MINUTE),
            left => format!(
                "expires in {}:{:02}:{:02}",
                left / HOUR,
                left % HOUR / MINUTE,
                left % MINUTE
            ),
        };
        When {
            moment: self,
            text,
            kind: Kind::Countdown,
        }
    }

    fn time(self) -> OffsetDateTime {
        let nanoseconds = i128::from(self.0) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// A length of time in one word: `42 s`, `6 min`, `3 h`, `2 days`. Takes seconds.
pub(crate) fn spell(seconds: u64) -> String {
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        _ if seconds / DAY == 1 => "1 day".to_owned(),
        _ => format!("{} days", seconds / DAY),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Absolute,
    Relative,
    Countdown,
}

/// A time in a page. Holds nothing a person wrote: it is HTML as it stands.
#[derive(Clone, Debug)]
pub(crate) struct When {
    moment: Moment,
    text: String,
    kind: Kind,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iso, full) = (self.moment.iso(), self.moment.absolute());
        let kind = match self.kind {
            Kind::Absolute => "",
            Kind::Relative => " data-ago",
            Kind::Countdown => " data-countdown",
        };
        let text = &self.text;
        write!(
            f,
            "<time datetime=\"{iso}\" title=\"{full}\"{kind}>{text}</time>"
        )
    }
}

impl askama::FastWritable for When {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

impl HtmlSafe for When {}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_700_000_000_000);

    #[test]
    fn a_time_is_told_in_utc_and_by_how_long_ago_it_was() {
        assert_eq!(NOW.absolute(), "14 Nov 2023, 22:13:20 UTC");
        assert_eq!(Moment(NOW.0 - 5_400_000).relative(NOW), "1 h ago");
        assert_eq!(Moment(NOW.0 + 90_000).relative(NOW), "in 1 min");
        assert_eq!(Moment::parse(&NOW.iso()), Some(NOW));
        let html = Moment(NOW.0 - 2_000).ago(NOW).to_string();
        assert!(html.contains("data-ago>2 s ago</time>"), "{html}");
    }

    #[test]
    fn a_countdown_ends_in_a_word() {
        let text = |left: u64| Moment(NOW.0 + left).countdown(NOW).text;
        assert_eq!(text(1_781_000), "expires in 29:41");
        assert_eq!(text(3_601_000), "expires in 1:00:01");
        assert_eq!(text(0), "expired");
    }
}

//! How long a session lasts and when its token changes. Pure: times in Unix milliseconds.

/// Without a request for this long a session ends: 12 h.
pub(crate) const IDLE: u64 = 12 * HOUR;
/// A session ends this long after the sign-in, whatever happens: 7 d.
pub(crate) const LIFE: u64 = 7 * 24 * HOUR;
/// A token is replaced after this long.
const ROTATE: u64 = HOUR;
/// A replaced token is good for this long, for requests that were under way with it.
const GRACE: u64 = 60_000;
/// How exactly it is written when a session was last used.
const COARSE: u64 = 60_000;
const HOUR: u64 = 60 * 60 * 1000;

/// The times of a session as they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Sign-in.
    pub(crate) began_at: u64,
    /// Last request, written coarsely.
    pub(crate) seen_at: u64,
    /// The token in use was given out.
    pub(crate) rotated_at: u64,
}

/// Which of its tokens a request carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// The one in use.
    Current,
    /// The one before.
    Previous,
}

/// What is to be done about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is over.
    Ended,
    /// It goes on.
    Good,
    /// It goes on, and the time is to be written down.
    Seen,
    /// It goes on with a new token.
    Rotate,
}

/// Judges a session at a request.
pub(crate) const fn judge(times: Times, carried: Carried, now: u64) -> Judged {
    let idle = now.saturating_sub(times.seen_at);
    let age = now.saturating_sub(times.began_at);
    let token_age = now.saturating_sub(times.rotated_at);
    if idle >= IDLE || age >= LIFE {
        return Judged::Ended;
    }
    if matches!(carried, Carried::Previous) {
        return if token_age < GRACE {
            Judged::Good
        } else {
            Judged::Ended
        };
    }
    if token_age >= ROTATE {
        Judged::Rotate
    } else if idle >= COARSE {
        Judged::Seen
    } else {
        Judged::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_idleness_and_by_age_and_changes_its_token_every_hour() {
        let times = |began_at, seen_at, rotated_at| Times {
            began_at,
            seen_at,
            rotated_at,
        };
        let day = 24 * HOUR;
        let table = [
            (times(0, 0, 0), Carried::Current, 1, Judged::Good),
            (times(0, 0, 0), Carried::Current, COARSE, Judged::Seen),
            (times(0, 0, 0), Carried::Current, HOUR - 1, Judged::Seen),
            (times(0, 0, 0), Carried::Current, HOUR, Judged::Rotate),
            (times(0, 0, 0), Carried::Current, IDLE - 1, Judged::Rotate),
            (times(0, 0, 0), Carried::Current, IDLE, Judged::Ended),
            (
                times(0, 7 * day - 2, 7 * day - 2),
                Carried::Current,
                7 * day - 1,
                Judged::Good,
            ),
            (
                times(0, 7 * day - 2, 7 * day - 2),
                Carried::Current,
                7 * day,
                Judged::Ended,
            ),
            (
                times(0, HOUR, HOUR),
                Carried::Previous,
                HOUR + GRACE - 1,
                Judged::Good,
            ),
            (
                times(0, HOUR, HOUR),
                Carried::Previous,
                HOUR + GRACE,
                Judged::Ended,
            ),
        ];
        for (times, carried, now, judged) in table {
            assert_eq!(judge(times, carried, now), judged, "{times:?} at {now}");
        }
    }
}

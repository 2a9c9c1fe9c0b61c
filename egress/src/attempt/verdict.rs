//! The table: what follows from the outcome of an attempt. Pure; time and chance come in.

use std::time::Duration;

use zen_chassis::backoff::Backoff;
use zen_chassis::clock::millis;

use crate::codes;
use crate::ledger::{Fate, Pause};

/// The longest that a target may ask us to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target answered.
    Answered {
        /// HTTP status.
        status: u16,
        /// What its `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// There was no answer.
    Failed {
        /// Why.
        failure: Failure,
        /// In words, without secrets.
        detail: String,
    },
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// None within the target's time.
    Timeout,
    /// Nobody is there, or the name leads nowhere.
    Unreachable,
    /// No common ground in TLS, or a certificate that does not verify.
    Tls,
    /// The connection broke.
    ConnectionLost,
    /// The guard refused the address.
    AddressRefused,
    /// A secret cannot be had, by its code.
    Secret(&'static str),
    /// The target's configuration cannot be used.
    TargetInvalid,
    /// The delivery's body cannot be read.
    Body,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The target has it.
    Delivered,
    /// Try again, not before the given time if there is one.
    Retry(&'static str, Option<Duration>),
    /// The same again would end the same.
    DeadLetter(&'static str),
    /// And the same holds for every other delivery to this target.
    DeadLetterAndPause(&'static str),
}

/// The table itself.
pub(crate) fn judge(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Answered {
            status: 200..=299, ..
        } => Verdict::Delivered,
        Outcome::Answered { status: 410, .. } => Verdict::DeadLetterAndPause(codes::TARGET_GONE),
        Outcome::Answered {
            status: 408 | 425 | 429 | 500..=599,
            retry_after,
        } => Verdict::Retry(
            codes::TARGET_ERROR,
            retry_after.map(|after| after.min(RETRY_AFTER_MAX)),
        ),
        Outcome::Answered {
            status: 300..=399, ..
        } => Verdict::DeadLetter(codes::TARGET_REDIRECTED),
        Outcome::Answered {
            status: 400..=499, ..
        } => Verdict::DeadLetter(codes::TARGET_REJECTED),
        // No status that HTTP defines: the target is broken, and may be mended.
        Outcome::Answered { .. } => Verdict::Retry(codes::TARGET_ERROR, None),
        Outcome::Failed { failure, .. } => match failure {
            Failure::Timeout => Verdict::Retry(codes::TARGET_TIMEOUT, None),
            Failure::Unreachable => Verdict::Retry(codes::TARGET_UNREACHABLE, None),
            Failure::Tls => Verdict::Retry(codes::TARGET_TLS_FAILED, None),
            Failure::ConnectionLost => Verdict::Retry(codes::TARGET_CONNECTION_LOST, None),
            Failure::Secret(code) => Verdict::Retry(code, None),
            Failure::TargetInvalid => Verdict::Retry(codes::TARGET_INVALID, None),
            Failure::AddressRefused => Verdict::DeadLetter(codes::TARGET_ADDRESS_REFUSED),
            Failure::Body => Verdict::DeadLetter(codes::BODY_UNREADABLE),
        },
    }
}

impl Verdict {
    /// The code that the attempt carries in the history; empty on success.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Delivered => "",
            Self::Retry(code, _) | Self::DeadLetter(code) | Self::DeadLetterAndPause(code) => code,
        }
    }
}

impl Outcome {
    /// Whether the target was there: what its circuit breaker wants to know. Nothing if the
    /// attempt says nothing about that.
    pub(crate) fn reached(&self) -> Option<bool> {
        match self {
            Self::Answered { .. } => Some(true),
            Self::Failed { failure, .. } => match failure {
                Failure::Timeout | Failure::Unreachable => Some(false),
                Failure::Tls | Failure::ConnectionLost => Some(true),
                Failure::AddressRefused
                | Failure::Secret(_)
                | Failure::TargetInvalid
                | Failure::Body => None,
            },
        }
    }
}

/// How often and how fast a flow tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryRule {
    /// Attempts in all.
    pub(crate) max_attempts: u32,
    /// Bounds of the pauses.
    pub(crate) pauses: Backoff,
}

/// What the rest of the world adds to a verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    /// Attempts made, this one included.
    pub(crate) attempts: u32,
    /// Now, Unix milliseconds.
    pub(crate) now_ms: u64,
    /// When the delivery's time is over, Unix milliseconds.
    pub(crate) expires_at_ms: u64,
    /// A random number from 0 to 1.
    pub(crate) fraction: f64,
    /// The target as it is configured now.
    pub(crate) fingerprint: u64,
}

/// Turns a verdict into what the ledger records.
pub(crate) fn fate(verdict: Verdict, rule: RetryRule, circumstances: Circumstances) -> Fate {
    let Circumstances {
        attempts,
        now_ms,
        expires_at_ms,
        fraction,
        fingerprint,
    } = circumstances;
    match verdict {
        Verdict::Delivered => Fate::Delivered,
        Verdict::DeadLetter(code) => Fate::DeadLetter { code, pause: None },
        Verdict::DeadLetterAndPause(code) => {
            let pause = Some(Pause {
                fingerprint,
                since_ms: now_ms,
            });
            Fate::DeadLetter { code, pause }
        }
        Verdict::Retry(..) if attempts >= rule.max_attempts => Fate::DeadLetter {
            code: codes::RETRIES_EXHAUSTED,
            pause: None,
        },
        Verdict::Retry(_, asked) => {
            let pause = asked.unwrap_or_else(|| full_jitter(rule.pauses, attempts, fraction));
            let due_ms = now_ms.saturating_add(millis(pause));
            if due_ms >= expires_at_ms {
                return Fate::DeadLetter {
                    code: codes::DELIVERY_EXPIRED,
                    pause: None,
                };
            }
            Fate::Retry { due_ms }
        }
    }
}

/// Anything from nothing to the bound, so that what failed together does not come back together.
fn full_jitter(pauses: Backoff, failed: u32, fraction: f64) -> Duration {
    pauses.bound(failed).mul_f64(fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: RetryRule = RetryRule {
        max_attempts: 5,
        pauses: Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
    };

    fn answered(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            retry_after: None,
        }
    }

    fn at(attempts: u32, fraction: f64) -> Circumstances {
        Circumstances {
            attempts,
            now_ms: 1_000_000,
            expires_at_ms: u64::MAX,
            fraction,
            fingerprint: 7,
        }
    }

    #[test]
    fn every_status_has_its_row_in_the_table() {
        for status in 200..=299 {
            assert_eq!(judge(&answered(status)), Verdict::Delivered);
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599, 100, 600, 999] {
            assert_eq!(
                judge(&answered(status)),
                Verdict::Retry("TARGET_ERROR", None),
                "{status}"
            );
        }
        for status in [300, 301, 302, 304, 307, 308] {
            assert_eq!(
                judge(&answered(status)),
                Verdict::DeadLetter("TARGET_REDIRECTED")
            );
        }
        for status in [400, 401, 403, 404, 409, 413, 415, 422, 451] {
            assert_eq!(
                judge(&answered(status)),
                Verdict::DeadLetter("TARGET_REJECTED")
            );
        }
        assert_eq!(
            judge(&answered(410)),
            Verdict::DeadLetterAndPause("TARGET_GONE")
        );
    }

    #[test]
    fn retry_after_is_honoured_up_to_an_hour() {
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            let verdict = judge(&Outcome::Answered {
                status: 503,
                retry_after,
            });
            fate(verdict, RULE, at(1, 0.5))
        };
        assert_eq!(asked(120), Fate::Retry { due_ms: 1_120_000 });
        assert_eq!(asked(86_400), Fate::Retry { due_ms: 4_600_000 });
    }

    #[test]
    fn pauses_are_drawn_from_zero_to_a_bound_that_doubles() {
        let due = |attempts, fraction| match fate(
            Verdict::Retry("X", None),
            RULE,
            at(attempts, fraction),
        ) {
            Fate::Retry { due_ms } => due_ms - 1_000_000,
            other => panic!("{other:?}"),
        };
        assert_eq!(due(1, 0.0), 0);
        assert_eq!(due(1, 1.0), 1_000);
        assert_eq!(due(2, 1.0), 2_000);
        assert_eq!(due(4, 0.5), 4_000);
    }

    #[test]
    fn the_last_attempt_ends_in_a_dead_letter_and_so_does_a_retry_past_expiry() {
        let exhausted = fate(Verdict::Retry("X", None), RULE, at(5, 0.5));
        assert_eq!(
            exhausted,
            Fate::DeadLetter {
                code: "RETRIES_EXHAUSTED",
                pause: None
            }
        );
        let late = Circumstances {
            expires_at_ms: 1_000_400,
            ..at(1, 0.5)
        };
        let expired = fate(Verdict::Retry("X", None), RULE, late);
        assert_eq!(
            expired,
            Fate::DeadLetter {
                code: "DELIVERY_EXPIRED",
                pause: None
            }
        );
    }

    #[test]
    fn a_target_that_is_gone_is_paused_as_it_is_configured() {
        let gone = fate(judge(&answered(410)), RULE, at(1, 0.5));
        let pause = Some(Pause {
            fingerprint: 7,
            since_ms: 1_000_000,
        });
        assert_eq!(
            gone,
            Fate::DeadLetter {
                code: "TARGET_GONE",
                pause
            }
        );
    }
}

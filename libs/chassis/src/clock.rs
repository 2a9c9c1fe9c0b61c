//! The one place that reads a clock. Components get a [`Clock`] and pass times on as values, so
//! that a test can shift or hold time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Wall-clock time as handed to a component. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    /// System time plus this many milliseconds.
    Shifted(i64),
    /// Unix milliseconds, moved by hand.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that is off by `milliseconds`, as a badly set host's is.
    #[must_use]
    pub const fn shifted(milliseconds: i64) -> Self {
        Self(Kind::Shifted(milliseconds))
    }

    /// A clock that stands still at `unix_ms` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(unix_ms: u64) -> Self {
        Self(Kind::Manual(Arc::new(AtomicU64::new(unix_ms))))
    }

    /// Moves a manual clock; any other kind is left as it is.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(at) = &self.0 {
            at.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Now, as Unix milliseconds.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Kind::System => system_ms(),
            Kind::Shifted(by) => system_ms().saturating_add_signed(*by),
            Kind::Manual(at) => at.load(Ordering::SeqCst),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        from_unix_ms(self.unix_ms())
    }

    /// This clock as the one TLS verifies certificates by.
    #[must_use]
    pub fn time_provider(&self) -> Arc<dyn TimeProvider> {
        Arc::new(self.clone())
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.unix_ms(),
        )))
    }
}

/// The time `unix_ms` milliseconds after the Unix epoch.
#[must_use]
pub fn from_unix_ms(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}

/// Unix milliseconds of `time`; 0 for times before the epoch.
#[must_use]
pub fn to_unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// Whole milliseconds of a duration, at most `u64::MAX`.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the door through which time comes in"
)]
fn system_ms() -> u64 {
    to_unix_ms(SystemTime::now())
}

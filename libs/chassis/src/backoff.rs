//! Pauses between tries of something that should come back: exponential with full jitter.
//! Pure: the number of the try and a random fraction come in.

use std::time::Duration;

/// A schedule of pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first pause.
    pub initial: Duration,
    /// Upper bound of every pause.
    pub max: Duration,
}

impl Backoff {
    /// For a neighbour on the same machine.
    pub const NEAR: Self = Self {
        initial: Duration::from_millis(50),
        max: Duration::from_millis(1_000),
    };
    /// For a peer across a network.
    pub const FAR: Self = Self {
        initial: Duration::from_millis(250),
        max: Duration::from_secs(15),
    };

    /// Upper bound of the pause after try number `failed` (from 1).
    #[must_use]
    pub fn bound(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }

    /// The pause after try number `failed` (from 1): between half and all of the bound, so that
    /// peers that failed together do not come back together.
    #[must_use]
    pub fn pause(&self, failed: u32, fraction: f64) -> Duration {
        self.bound(failed)
            .mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound() {
        let schedule = Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
        };
        assert_eq!(schedule.bound(1), Duration::from_secs(1));
        assert_eq!(schedule.bound(3), Duration::from_secs(4));
        assert_eq!(schedule.bound(40), Duration::from_secs(60));
        assert_eq!(schedule.pause(1, 0.0), Duration::from_millis(500));
    }
}

//! The one place that makes randomness: ids, jitter, tokens. A seeded source makes a test repeat.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// A source of random values, cryptographically strong unless it was seeded. Cheap to clone.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

impl Random {
    /// Seeded by the operating system.
    #[must_use]
    pub fn system() -> Self {
        let mut seed = <StdRng as SeedableRng>::Seed::default();
        rand::rng().fill_bytes(&mut seed);
        Self(Arc::new(Mutex::new(StdRng::from_seed(seed))))
    }

    /// The same values at every run: for tests and simulation only.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().fill_bytes(&mut bytes);
        bytes
    }

    /// A random number from 0 to 1, 1 excluded.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.0.lock().random::<f64>()
    }

    /// `around`, moved by up to `share` of itself either way (0.2 is ± 20 %).
    #[must_use]
    pub fn jitter(&self, around: Duration, share: f64) -> Duration {
        around.mul_f64((1.0 + share * (2.0 * self.fraction() - 1.0)).max(0.0))
    }
}

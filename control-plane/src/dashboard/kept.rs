//! What pages remember for a moment, so that many viewers who each look once a second cost no more
//! than one.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use zen_proto::ids::TenantId;

use super::plane::Probes;
use crate::manage::OverviewView;

/// Entries of one kind at the most; beyond, all are forgotten.
const ENTRIES: usize = 4096;

/// The memory of all pages.
pub(crate) struct Kept {
    /// Deliveries given up in the last day, by tenant.
    pub(super) dead_letters: Fresh<TenantId, u64>,
    /// The last probe of each plane that somebody looks at.
    pub(super) probes: Probes,
    /// Everything at a glance, by tenant and whether the operator's planes are in it.
    pub(super) overviews: Fresh<(TenantId, bool), OverviewView>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            dead_letters: Fresh::for_time(Duration::from_secs(15)),
            probes: Probes::default(),
            overviews: Fresh::for_time(Duration::from_secs(2)),
        }
    }
}

/// Values that are good for a while.
pub(super) struct Fresh<K, V> {
    time: Duration,
    values: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Fresh<K, V> {
    fn for_time(time: Duration) -> Self {
        Self {
            time,
            values: Mutex::default(),
        }
    }

    /// The value, made anew if it is too old at `now`.
    ///
    /// # Errors
    /// Those of `make`; nothing is remembered then.
    pub(super) async fn get<E>(
        &self,
        key: K,
        now: Instant,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        let known = self.values.lock().get(&key).cloned();
        if let Some((made, value)) = known
            && now.duration_since(made) < self.time
        {
            return Ok(value);
        }
        let value = make.await?;
        let mut values = self.values.lock();
        if values.len() >= ENTRIES {
            values.clear();
        }
        values.insert(key, (now, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn a_value_is_made_once_until_it_is_too_old() {
        let fresh = Fresh::for_time(Duration::from_secs(2));
        let begin = Instant::now();
        let get = async |second: u64, value: u32| {
            let now = begin + Duration::from_secs(second);
            let make = async { Ok::<_, Infallible>(value) };
            fresh.get("a", now, make).await
        };
        assert_eq!(get(0, 1).await, Ok(1));
        assert_eq!(get(1, 2).await, Ok(1));
        assert_eq!(get(3, 3).await, Ok(3));
    }
}

//! How often one address may ask: a bucket of calls that fills again over time. Bounded in memory.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// Calls at once; many agents may stand behind one address.
const BURST: f64 = 120.0;
/// Calls that come back each second.
const PER_SECOND: f64 = 4.0;
/// Addresses remembered; beyond them, those with a full bucket are forgotten.
const ADDRESSES: usize = 10_000;

/// The buckets of all addresses.
#[derive(Default)]
pub(super) struct Limiter(Mutex<HashMap<IpAddr, Bucket>>);

#[derive(Clone, Copy)]
struct Bucket {
    calls: f64,
    /// Unix milliseconds.
    at: u64,
}

impl Bucket {
    fn filled(self, now: u64) -> f64 {
        let seconds = now.saturating_sub(self.at) as f64 / 1000.0;
        (self.calls + seconds * PER_SECOND).min(BURST)
    }
}

impl Limiter {
    /// Whether the address may call now (Unix milliseconds); takes one call from its bucket.
    pub(super) fn admit(&self, address: IpAddr, now: u64) -> bool {
        let mut buckets = self.0.lock();
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| bucket.filled(now) < BURST);
            if buckets.len() >= ADDRESSES {
                return false;
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket {
            calls: BURST,
            at: now,
        });
        let calls = bucket.filled(now);
        let admitted = calls >= 1.0;
        *bucket = Bucket {
            calls: if admitted { calls - 1.0 } else { calls },
            at: now,
        };
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_asks_too_often_waits_and_others_do_not() {
        let limiter = Limiter::default();
        let [loud, quiet]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let admitted = (0..1000).filter(|_| limiter.admit(loud, 5)).count();
        assert_eq!(admitted, BURST as usize);
        assert!(limiter.admit(quiet, 5));
        assert!(!limiter.admit(loud, 10));
        assert!(limiter.admit(loud, 5 + 1000));
    }
}

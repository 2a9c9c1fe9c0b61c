//! How often somebody may ask: a bucket of calls each that fills again over time. Bounded in
//! memory; when there is no room for another, the fullest bucket is forgotten, which gives away the
//! least.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

/// Buckets remembered.
const BUCKETS: usize = 10_000;

/// How large the buckets are and how fast they fill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Calls at once.
    pub(crate) burst: f64,
    /// Calls that come back each second.
    pub(crate) per_second: f64,
}

/// The buckets of all who ask.
pub(crate) struct Limiter<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    calls: f64,
    /// Unix milliseconds.
    at: u64,
}

impl Bucket {
    fn filled(self, rate: Rate, now: u64) -> f64 {
        let seconds = now.saturating_sub(self.at) as f64 / 1000.0;
        (self.calls + seconds * rate.per_second).min(rate.burst)
    }
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Buckets of this rate, all full.
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one call from the bucket of `who` at `now` (Unix milliseconds).
    ///
    /// # Errors
    /// The time until there is one again.
    pub(crate) fn admit(&self, who: &K, now: u64) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= BUCKETS && !buckets.contains_key(who) {
            forget_fullest(&mut buckets, self.rate, now);
        }
        let full = Bucket {
            calls: self.rate.burst,
            at: now,
        };
        let bucket = buckets.entry(who.clone()).or_insert(full);
        let calls = bucket.filled(self.rate, now);
        let admitted = calls >= 1.0;
        let calls_left = if admitted { calls - 1.0 } else { calls };
        *bucket = Bucket {
            calls: calls_left,
            at: now,
        };
        if admitted {
            return Ok(());
        }
        Err(Duration::from_secs_f64(
            (1.0 - calls) / self.rate.per_second,
        ))
    }

    /// Gives `who` a full bucket again.
    pub(crate) fn forgive(&self, who: &K) {
        self.buckets.lock().remove(who);
    }
}

fn forget_fullest<K: Hash + Eq + Clone>(buckets: &mut HashMap<K, Bucket>, rate: Rate, now: u64) {
    buckets.retain(|_, bucket| bucket.filled(rate, now) < rate.burst);
    if buckets.len() < BUCKETS {
        return;
    }
    let fullest = buckets
        .iter()
        .max_by(|(_, a), (_, b)| a.filled(rate, now).total_cmp(&b.filled(rate, now)))
        .map(|(who, _)| who.clone());
    if let Some(who) = fullest {
        buckets.remove(&who);
    }
}

/// Who asks, as far as an address tells: an IPv6 network of 64 bits is one customer's.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 120.0,
        per_second: 4.0,
    };

    #[test]
    fn an_address_that_asks_too_often_waits_and_others_do_not() {
        let limiter = Limiter::new(RATE);
        let [loud, quiet]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let admitted = (0..1000).filter(|_| limiter.admit(&loud, 5).is_ok());
        assert_eq!(admitted.count(), RATE.burst as usize);
        assert!(limiter.admit(&quiet, 5).is_ok());
        let wait = limiter.admit(&loud, 10).unwrap_err();
        assert!(wait <= Duration::from_millis(250), "{wait:?}");
        assert!(limiter.admit(&loud, 5 + 1000).is_ok());
        limiter.forgive(&loud);
        assert!(limiter.admit(&loud, 5).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_who_asked_most_stays_remembered() {
        let limiter = Limiter::new(RATE);
        while limiter.admit(&0, 5).is_ok() {}
        for who in 1..=2 * BUCKETS {
            assert!(limiter.admit(&who, 5).is_ok());
        }
        assert!(limiter.buckets.lock().len() <= BUCKETS);
        assert!(limiter.admit(&0, 5).is_err());
    }

    #[test]
    fn one_customers_ipv6_network_is_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}

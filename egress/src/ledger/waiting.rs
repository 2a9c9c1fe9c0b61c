//! How many deliveries wait for each target: counted along with every change of the tables, so
//! that a status need not walk them.

use std::collections::HashMap;

use parking_lot::Mutex;
use zen_proto::ids::TargetId;

/// Deliveries that wait or are under way, by the target's key.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<u128, u64>>);

impl Waiting {
    pub(super) fn add(&self, target: u128) {
        *self.0.lock().entry(target).or_default() += 1;
    }

    pub(super) fn remove(&self, target: u128) {
        let mut all = self.0.lock();
        if let Some(waiting) = all.get_mut(&target) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                all.remove(&target);
            }
        }
    }

    pub(super) fn of(&self, target: TargetId) -> u64 {
        let key = target.uuid().as_u128();
        self.0.lock().get(&key).copied().unwrap_or(0)
    }
}

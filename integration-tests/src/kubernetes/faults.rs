//! Bad days, on command.

use std::time::Duration;

use super::ApiServer;

impl ApiServer {
    /// Faults meet only requests of this user from now on; `None`: everybody's.
    pub fn only(&self, user: Option<&str>) {
        self.shared.state.lock().faults.only = user.map(ToOwned::to_owned);
    }

    /// The next requests get 429 and are told to come back after so many seconds.
    pub fn throttle(&self, requests: u32, retry_after: u64) {
        let faults = &mut self.shared.state.lock().faults;
        faults.throttled = requests;
        faults.retry_after = retry_after;
    }

    /// From now on every request gets this status and `Retry-After`; `None` ends it.
    pub fn weather(&self, weather: Option<(u16, Option<u64>)>) {
        self.shared.state.lock().faults.weather = weather;
    }

    /// From now on every answer waits so long; `None` ends it.
    pub fn delay(&self, delay: Option<Duration>) {
        self.shared.state.lock().faults.delay = delay;
    }

    /// The next writes to objects that are there meet a conflict, as if another had been quicker.
    pub fn conflict(&self, writes: u32) {
        self.shared.state.lock().faults.conflicts = writes;
    }

    /// Ends all open watches.
    pub fn drop_watches(&self) {
        self.shared.cut.send_modify(|cut| *cut += 1);
    }

    /// Forgets the history and ends all watches: who asks for what came after an older version gets
    /// 410, as an `ERROR` event or as the answer's status.
    pub fn compact(&self, by_status: bool) {
        {
            let mut state = self.shared.state.lock();
            state.faults.gone_by_status = by_status;
            state.store.compact();
        }
        self.drop_watches();
    }

    /// Behaves as servers that do not know `sendInitialEvents`.
    pub fn refuse_initial_events(&self, refuse: bool) {
        self.shared.state.lock().faults.refuses_initial_events = refuse;
    }
}

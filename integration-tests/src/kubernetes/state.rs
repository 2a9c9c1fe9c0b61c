//! All that the server has, in one place under one lock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use zen_chassis::Clock;

use super::Asked;
use super::store::Store;
use super::tokens::Tokens;

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// The newest version, for watches.
    pub(super) version: watch::Sender<u64>,
    /// Changes when all watches are to end.
    pub(super) cut: watch::Sender<u64>,
    pub(super) clock: Clock,
}

pub(super) struct State {
    pub(super) store: Store,
    pub(super) tokens: Tokens,
    pub(super) asked: Vec<Asked>,
    pub(super) faults: Faults,
    /// PEM of the server's root, for `kube-root-ca.crt`.
    pub(super) ca: String,
    /// Where ports of Services (namespace, name, port) are answered.
    pub(super) routes: HashMap<(String, String, u16), SocketAddr>,
    /// How long webhooks took.
    pub(super) admissions: Vec<Duration>,
}

/// What goes wrong on command.
#[derive(Default)]
pub(super) struct Faults {
    /// Only this user's requests meet faults.
    pub(super) only: Option<String>,
    /// So many requests get 429 with this `Retry-After`.
    pub(super) throttled: u32,
    pub(super) retry_after: u64,
    /// All requests get this status.
    pub(super) weather: Option<(u16, Option<u64>)>,
    pub(super) delay: Option<Duration>,
    /// So many writes to an object that is there meet a conflict.
    pub(super) conflicts: u32,
    /// Whether watches from before a compaction are told so by the answer's status, not by an event.
    pub(super) gone_by_status: bool,
    /// Whether the server is too old for `sendInitialEvents`.
    pub(super) refuses_initial_events: bool,
}

impl Faults {
    pub(super) fn meets(&self, user: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == user)
    }
}

impl Shared {
    /// Lets the lock's holder change something, and wakes watches.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        self.version.send_replace(state.store.version);
        result
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.unix_ms()
    }
}

/// A time as the API writes it, to the second.
pub(super) fn stamp(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

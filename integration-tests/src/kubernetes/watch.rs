//! Watches: what changed after a version, as it happens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::Call;
use super::events;
use super::refusal::Refusal;
use super::select::Selector;
use super::state::{Shared, State};
use super::store::Change;

/// How long a watch lasts that does not say, and how often it hears of versions.
const LASTS: u64 = 1800;
const BOOKMARK: Duration = Duration::from_secs(60);

/// Lines of a watch.
pub(super) type Lines = BoxStream<'static, Bytes>;

struct Watch {
    shared: Arc<Shared>,
    call: Call,
    selector: Selector,
    /// All up to here was told.
    cursor: u64,
    ready: VecDeque<Bytes>,
    versions: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
    end: Instant,
    ended: bool,
}

/// Begins a watch.
pub(super) fn begin(shared: &Arc<Shared>, call: &Call) -> Result<Lines, Refusal> {
    let lasts = call.number("timeoutSeconds")?.unwrap_or(LASTS);
    let mut watch = Watch {
        shared: Arc::clone(shared),
        call: call.clone(),
        selector: Selector::of(call)?,
        cursor: 0,
        ready: VecDeque::new(),
        versions: shared.version.subscribe(),
        cut: shared.cut.subscribe(),
        end: Instant::now() + Duration::from_secs(lasts.clamp(1, LASTS)),
        ended: false,
    };
    watch.start(&shared.state.lock())?;
    let lines = futures::stream::unfold(watch, |mut watch| async {
        let line = watch.next().await?;
        Some((line, watch))
    });
    Ok(lines.boxed())
}

impl Watch {
    /// From where, and what is told at once.
    fn start(&mut self, state: &State) -> Result<(), Refusal> {
        let from = self.call.number("resourceVersion")?;
        let initial = self.call.flag("sendInitialEvents");
        if self.call.query("sendInitialEvents").is_some() {
            let wrong = |why| {
                Err(Refusal::invalid(
                    self.call.kind,
                    "",
                    "sendInitialEvents",
                    why,
                ))
            };
            if state.faults.refuses_initial_events {
                return wrong(
                    "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
                     feature gate is enabled",
                );
            }
            if self.call.query("resourceVersionMatch") != Some("NotOlderThan") {
                return wrong(
                    "Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
                     NotOlderThan",
                );
            }
        }
        let store = &state.store;
        let newest = store.version;
        if let Some(from) = from.filter(|&from| from > newest) {
            return Err(Refusal::future_version(from, newest));
        }
        match from {
            Some(from) if from > 0 && !initial => {
                self.cursor = from;
                if from < store.compacted {
                    let gone = Refusal::expired(&format!("too old resource version: {from}"));
                    if state.faults.gone_by_status {
                        return Err(gone);
                    }
                    self.fail(&gone);
                }
            }
            _ => {
                self.cursor = newest;
                for object in store.list(self.call.kind, &self.call.namespace) {
                    if self.selector.selects(&object) {
                        let object = events::shown(self.call.kind, &object);
                        self.ready.push_back(line("ADDED", &object));
                    }
                }
                if initial && self.call.flag("allowWatchBookmarks") {
                    self.bookmark(true);
                }
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        let mut bookmark = Instant::now() + BOOKMARK;
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.versions.mark_unchanged();
            self.gather();
            if !self.ready.is_empty() || self.ended {
                continue;
            }
            let wants = self.call.flag("allowWatchBookmarks");
            tokio::select! {
                changed = self.versions.changed() => changed.ok()?,
                _ = self.cut.changed() => return None,
                () = tokio::time::sleep_until(bookmark), if wants => {
                    bookmark += BOOKMARK;
                    self.bookmark(false);
                }
                () = tokio::time::sleep_until(self.end) => {
                    self.ended = true;
                    if wants {
                        self.bookmark(false);
                    }
                }
            }
        }
    }

    fn gather(&mut self) {
        let shared = Arc::clone(&self.shared);
        let state = shared.state.lock();
        if self.cursor < state.store.compacted {
            let text = format!("too old resource version: {}", self.cursor);
            self.fail(&Refusal::expired(&text));
            return;
        }
        for change in state.store.since(self.cursor) {
            if change.key.lies_in(self.call.kind, &self.call.namespace)
                && let Some(line) = self.tell(change)
            {
                self.ready.push_back(line);
            }
        }
        self.cursor = state.store.version;
    }

    /// What a change means to one who selects.
    fn tell(&self, change: &Change) -> Option<Bytes> {
        let before = change.before.as_ref();
        let had = before.is_some_and(|before| self.selector.selects(before));
        let has = !change.deleted && self.selector.selects(&change.object);
        let kind = match (had, has) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        let mut object = events::shown(self.call.kind, &change.object);
        if let (false, Some(before), true) = (change.deleted, before, kind == "DELETED") {
            object = events::shown(self.call.kind, before);
            object["metadata"]["resourceVersion"] = change.version.to_string().into();
        }
        Some(line(kind, &object))
    }

    fn bookmark(&mut self, initial: bool) {
        let mut object = json!({ "kind": self.call.kind.kind,
            "apiVersion": self.call.kind.api_version(), "metadata": {
            "resourceVersion": self.cursor.to_string(), "creationTimestamp": null } });
        if initial {
            object["metadata"]["annotations"]["k8s.io/initial-events-end"] = "true".into();
        }
        self.ready.push_back(line("BOOKMARK", &object));
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.ended = true;
        self.ready.push_back(line("ERROR", &refusal.status()));
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    let event = json!({ "type": kind, "object": object });
    Bytes::from(format!("{event}\n"))
}

//! The verbs that remove: delete, and delete of a collection.

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::select::Selector;
use super::state::{State, stamp};
use super::store::Key;
use super::write::{Answer, Write};

impl State {
    pub(super) fn delete(&mut self, write: &Write<'_>) -> Answer {
        let (call, kind) = (write.call, write.kind());
        let key = write.key();
        let before = self.store.get(&key);
        let before = before.ok_or_else(|| Refusal::not_found(kind, &call.name))?;
        for field in ["uid", "resourceVersion"] {
            let wanted = &write.body["preconditions"][field];
            if !wanted.is_null() && *wanted != before["metadata"][field] {
                return Err(Refusal::precondition(kind, &call.name, field));
            }
        }
        let uid = &before["metadata"]["uid"];
        let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Success", "details": { "name": call.name, "group": kind.group,
            "kind": kind.resource, "uid": uid } });
        if write.is_dry() || !write.body["dryRun"].is_null() {
            return Ok((200, done));
        }
        let held = before["metadata"]["finalizers"].as_array();
        if held.is_some_and(|held| !held.is_empty()) {
            let mut object = Value::clone(&before);
            if object["metadata"]["deletionTimestamp"].is_null() {
                object["metadata"]["deletionTimestamp"] = stamp(write.now_ms).into();
                object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
                object = Value::clone(&self.store.put(key, object));
            }
            return Ok((200, object));
        }
        if kind.resource == "namespaces" {
            for inner in self.store.keys_in(&call.name) {
                self.store.remove(&inner);
            }
        }
        self.store.remove(&key);
        Ok((200, done))
    }

    pub(super) fn delete_all(&mut self, write: &Write<'_>) -> Answer {
        let (call, kind) = (write.call, write.kind());
        let selector = Selector::of(call)?;
        let mut items = Vec::new();
        for object in self.store.list(kind, &call.namespace) {
            if selector.selects(&object) {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
                let key = Key::new(kind, text("namespace"), text("name"));
                if !write.is_dry() {
                    self.store.remove(&key);
                }
                items.push(Value::clone(&object));
            }
        }
        let list = json!({ "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
            "metadata": { "resourceVersion": self.store.version.to_string() }, "items": items });
        Ok((200, list))
    }
}

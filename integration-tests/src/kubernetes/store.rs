//! What the server keeps, with the history that watches follow: as etcd would.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::kinds::Kind;

/// Where an object is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(kind: &Kind, namespace: &str, name: &str) -> Self {
        Self {
            group: kind.stored_group(),
            resource: kind.resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Whether a list or watch of this kind and namespace (empty: all) shows it.
    pub(super) fn lies_in(&self, kind: &Kind, namespace: &str) -> bool {
        self.group == kind.stored_group()
            && self.resource == kind.resource
            && (namespace.is_empty() || self.namespace == namespace)
    }
}

/// One change; watches that select need to know what was there before.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: Key,
    pub(super) before: Option<Arc<Value>>,
    /// The object as it is now, or was when it was deleted.
    pub(super) object: Arc<Value>,
    pub(super) deleted: bool,
}

/// A list as it was at a version.
pub(super) type Snapshot = Arc<Vec<Arc<Value>>>;

/// All objects of the cluster.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    history: Vec<Change>,
    /// The newest version.
    pub(super) version: u64,
    /// What is older was forgotten.
    pub(super) compacted: u64,
    /// Lists that somebody reads page by page, by their version.
    pub(super) pages: HashMap<u64, Snapshot>,
}

impl Store {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    /// All of a kind in a namespace (empty: in all), by name.
    pub(super) fn list(&self, kind: &Kind, namespace: &str) -> Vec<Arc<Value>> {
        let all = self.objects.iter();
        all.filter(|(key, _)| key.lies_in(kind, namespace))
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// Keys of everything in a namespace.
    pub(super) fn keys_in(&self, namespace: &str) -> Vec<Key> {
        let all = self.objects.keys();
        all.filter(|key| key.namespace == namespace)
            .cloned()
            .collect()
    }

    /// Keeps an object under the next version.
    pub(super) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.history.push(Change {
            version: self.version,
            key,
            before,
            object: Arc::clone(&object),
            deleted: false,
        });
        object
    }

    /// Removes an object under the next version.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.version += 1;
        let mut object = Value::clone(&before);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Arc::new(object);
        self.history.push(Change {
            version: self.version,
            key: key.clone(),
            before: Some(before),
            object: Arc::clone(&object),
            deleted: true,
        });
        Some(object)
    }

    /// What changed after a version.
    pub(super) fn since(&self, version: u64) -> &[Change] {
        let from = self
            .history
            .partition_point(|change| change.version <= version);
        self.history.get(from..).unwrap_or_default()
    }

    /// Forgets the history: who is behind must list again.
    pub(super) fn compact(&mut self) {
        // A version that nobody can have seen, so that everybody is behind.
        self.version += 1;
        self.compacted = self.version;
        self.history.clear();
        self.pages.clear();
    }
}

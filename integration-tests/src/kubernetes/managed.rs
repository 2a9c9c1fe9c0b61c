//! Who manages which field: server-side apply, and what other writes mean to it. Lists count as one
//! value; the objects of the tests have no list that two write.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// A field's way from the root.
type Path = Vec<String>;
type Fields = BTreeSet<Path>;

/// Metadata that nobody manages.
const NOBODYS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Who writes, and how it is noted.
#[derive(Clone, Debug)]
pub(super) struct Writer<'a> {
    pub(super) manager: &'a str,
    pub(super) api_version: String,
    pub(super) subresource: &'a str,
    pub(super) time: String,
}

struct Entry {
    /// All but the fields.
    note: Value,
    fields: Fields,
}

impl Entry {
    fn is(&self, writer: &Writer<'_>, operation: &str) -> bool {
        let note = &self.note;
        note["manager"] == writer.manager
            && note["operation"] == operation
            && note["subresource"].as_str().unwrap_or_default() == writer.subresource
    }

    fn of(writer: &Writer<'_>, operation: &str, fields: Fields) -> Self {
        let mut note = json!({ "manager": writer.manager, "operation": operation,
            "apiVersion": writer.api_version, "time": writer.time, "fieldsType": "FieldsV1" });
        if !writer.subresource.is_empty() {
            note["subresource"] = writer.subresource.into();
        }
        Self { note, fields }
    }
}

/// Applies a configuration. Fields that this manager applied before and omits now go, unless
/// another has them too.
///
/// The error: managers and fields of theirs that it would change.
pub(super) fn apply(
    live: &Value,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Vec<(String, String)>> {
    let mut entries = read(live);
    let wanted = leaves(applied);
    let own = entries.iter().position(|entry| entry.is(writer, "Apply"));
    let before = own.map(|own| entries.remove(own).fields);
    let mut conflicts = Vec::new();
    for entry in &mut entries {
        let contested = |path: &Path| {
            wanted.iter().any(|own| {
                touches(own, at(applied, own), path) && at(live, own) != at(applied, own)
            })
        };
        if force {
            entry.fields.retain(|path| !contested(path));
        } else {
            let manager = entry.note["manager"].as_str().unwrap_or_default();
            let fields = entry.fields.iter().filter(|path| contested(path));
            conflicts.extend(fields.map(|path| (manager.to_owned(), dotted(path))));
        }
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut object = live.clone();
    for path in before.unwrap_or_default() {
        let kept = wanted
            .iter()
            .any(|own| touches(own, at(applied, own), &path))
            || entries
                .iter()
                .any(|entry| entry.fields.iter().any(|other| overlap(other, &path)));
        if !kept {
            remove(&mut object, &path);
        }
    }
    for path in &wanted {
        if let Some(value) = at(applied, path) {
            put(&mut object, path, value.clone());
        }
    }
    entries.push(Entry::of(writer, "Apply", wanted));
    write(&mut object, entries);
    Ok(object)
}

/// Notes what a write other than an apply changed.
pub(super) fn track(before: Option<&Value>, after: &mut Value, writer: &Writer<'_>) {
    let old = before.map(leaves).unwrap_or_default();
    let new = leaves(after);
    let differs = |path: &&Path| before.is_none_or(|before| at(before, path) != at(after, path));
    let mut changed: Fields = new.iter().filter(differs).cloned().collect();
    let gone: Fields = old.difference(&new).cloned().collect();
    let mut entries = before.map(read).unwrap_or_default();
    if changed.is_empty() && gone.is_empty() {
        write(after, entries);
        return;
    }
    for entry in &mut entries {
        entry.fields.retain(|path| {
            let own = entry.note["manager"] == writer.manager;
            !gone.contains(path) && (own || !changed.contains(path))
        });
    }
    let own = entries.iter().position(|entry| entry.is(writer, "Update"));
    if let Some(own) = own {
        changed.append(&mut entries.remove(own).fields);
    }
    entries.push(Entry::of(writer, "Update", changed));
    write(after, entries);
}

/// The object without its notes of when who wrote: equal ones are the same object.
pub(super) fn without_times(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(entries) = object["metadata"]["managedFields"].as_array_mut() {
        for entry in entries {
            entry["time"] = Value::Null;
        }
    }
    object
}

fn read(object: &Value) -> Vec<Entry> {
    let entries = object["metadata"]["managedFields"].as_array();
    let entries = entries.into_iter().flatten().map(|entry| {
        let mut note = entry.clone();
        let mut fields = Fields::new();
        unfold(&note["fieldsV1"], &mut Path::new(), &mut fields);
        note["fieldsV1"] = Value::Null;
        Entry { note, fields }
    });
    entries.collect()
}

fn unfold(value: &Value, path: &mut Path, fields: &mut Fields) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let Some(name) = key.strip_prefix("f:") else {
            continue;
        };
        path.push(name.to_owned());
        if inner.as_object().is_none_or(Map::is_empty) {
            fields.insert(path.clone());
        } else {
            unfold(inner, path, fields);
        }
        path.pop();
    }
}

fn write(object: &mut Value, entries: Vec<Entry>) {
    let entries = entries.into_iter().filter(|entry| !entry.fields.is_empty());
    let entries: Vec<_> = entries
        .map(|entry| {
            let mut tree = json!({});
            for path in &entry.fields {
                let path: Path = path.iter().map(|name| format!("f:{name}")).collect();
                put(&mut tree, &path, json!({}));
            }
            let mut note = entry.note;
            note["fieldsV1"] = tree;
            note
        })
        .collect();
    object["metadata"]["managedFields"] = entries.into();
}

/// Fields of an object that can be managed, as deep as maps go.
fn leaves(object: &Value) -> Fields {
    let mut fields = Fields::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        if !["apiVersion", "kind"].contains(&key.as_str()) {
            descend(value, &mut vec![key.clone()], &mut fields);
        }
    }
    fields.retain(|path| match path.as_slice() {
        [first] => first != "metadata",
        [first, second, ..] => first != "metadata" || !NOBODYS.contains(&second.as_str()),
        [] => false,
    });
    fields
}

fn descend(value: &Value, path: &mut Path, fields: &mut Fields) {
    match value {
        Value::Null => {}
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                descend(value, path, fields);
                path.pop();
            }
        }
        _ => {
            fields.insert(path.clone());
        }
    }
}

/// Whether a wanted field is about another's; an empty map says nothing of what lies in it.
fn touches(own: &Path, value: Option<&Value>, path: &Path) -> bool {
    let empty = value.is_some_and(|value| *value == json!({}));
    own.starts_with(path) || (!empty && path.starts_with(own))
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn at<'a>(object: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

fn put(object: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        // An empty map says only that the map is there.
        if !(value == json!({}) && object.is_object()) {
            *object = value;
        }
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    put(&mut object[first.as_str()], rest, value);
}

/// Removes a field, and the maps around it that are empty then.
fn remove(object: &mut Value, path: &[String]) {
    let (Some((first, rest)), Some(map)) = (path.split_first(), object.as_object_mut()) else {
        return;
    };
    let Some(inner) = map.get_mut(first) else {
        return;
    };
    if rest.is_empty() {
        map.remove(first);
        return;
    }
    remove(inner, rest);
    if inner.as_object().is_some_and(Map::is_empty) {
        map.remove(first);
    }
}

fn dotted(path: &Path) -> String {
    path.iter().map(|name| format!(".{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(manager: &str) -> Writer<'_> {
        Writer {
            manager,
            api_version: "v1".to_owned(),
            subresource: "",
            time: "now".to_owned(),
        }
    }

    #[test]
    fn what_a_manager_omits_goes_unless_another_has_it() {
        let first = json!({ "data": { "a": "1", "b": "2", "c": "3" } });
        let object = apply(&json!({}), &first, &writer("one"), false).unwrap();
        let second = json!({ "data": { "b": "2", "d": "4" } });
        let object = apply(&object, &second, &writer("two"), false).unwrap();
        let third = json!({ "data": { "a": "1" } });
        let object = apply(&object, &third, &writer("one"), false).unwrap();
        assert_eq!(object["data"], json!({ "a": "1", "b": "2", "d": "4" }));
    }

    #[test]
    fn another_managers_field_is_a_conflict_unless_forced() {
        let object = json!({ "data": { "a": "1" } });
        let object = apply(&json!({}), &object, &writer("one"), false).unwrap();
        let other = json!({ "data": { "a": "2" } });
        let conflicts = apply(&object, &other, &writer("two"), false).unwrap_err();
        assert_eq!(conflicts, [("one".to_owned(), ".data.a".to_owned())]);
        let object = apply(&object, &other, &writer("two"), true).unwrap();
        assert_eq!(object["data"]["a"], "2");
        // It is theirs now: the first one's absence does not remove it.
        let object = apply(&object, &json!({}), &writer("one"), false).unwrap();
        assert_eq!(object["data"]["a"], "2");
    }

    #[test]
    fn a_write_takes_the_fields_that_it_changes() {
        let object = json!({ "data": { "a": "1", "b": "1" } });
        let object = apply(&json!({}), &object, &writer("one"), false).unwrap();
        let mut changed = object.clone();
        changed["data"]["a"] = "2".into();
        track(Some(&object), &mut changed, &writer("two"));
        let again = json!({ "data": { "a": "1", "b": "1" } });
        let conflicts = apply(&changed, &again, &writer("one"), false).unwrap_err();
        assert_eq!(conflicts, [("two".to_owned(), ".data.a".to_owned())]);
    }
}

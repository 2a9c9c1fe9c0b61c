//! The three patches that change an object: JSON merge patch (RFC 7396), strategic merge patch,
//! JSON patch (RFC 6902).

use serde_json::{Map, Value};

/// RFC 7396: null removes, maps are merged, all else is put in place.
pub(super) fn merge(into: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *into = patch;
        return;
    };
    let target = as_map(into);
    for (key, value) in fields {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// As the merge patch, but lists of maps are merged by a key that their field is known to have.
pub(super) fn strategic(into: &mut Value, patch: Value) {
    strategic_field("", into, patch);
}

fn strategic_field(field: &str, into: &mut Value, patch: Value) {
    match patch {
        Value::Object(mut fields) => {
            match fields.remove("$patch").as_ref().and_then(Value::as_str) {
                Some("replace") => {
                    *into = fields.into();
                    return;
                }
                Some("delete") => {
                    *into = Value::Object(Map::new());
                    return;
                }
                _ => {}
            }
            let target = as_map(into);
            if let Some(Value::Array(kept)) = fields.remove("$retainKeys") {
                target.retain(|key, _| kept.iter().any(|kept| kept == key));
            }
            for (key, value) in fields {
                if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
                    let gone = value.as_array().cloned().unwrap_or_default();
                    if let Some(Value::Array(list)) = target.get_mut(list) {
                        list.retain(|item| !gone.contains(item));
                    }
                } else if key.starts_with("$setElementOrder/") {
                    // Order means nothing to those who read here.
                } else if value.is_null() {
                    target.remove(&key);
                } else {
                    let old = target.entry(key.clone()).or_insert(Value::Null);
                    strategic_field(&key, old, value);
                }
            }
        }
        Value::Array(items) => strategic_list(field, into, items),
        other => *into = other,
    }
}

fn strategic_list(field: &str, into: &mut Value, items: Vec<Value>) {
    let all_maps = items.iter().all(Value::is_object);
    let key = merge_key(field, &items);
    if field == "finalizers" {
        let mut old = into.as_array().cloned().unwrap_or_default();
        for item in items {
            if !old.contains(&item) {
                old.push(item);
            }
        }
        *into = old.into();
        return;
    }
    let (Some(key), true) = (key, all_maps) else {
        *into = items.into();
        return;
    };
    let replaces = |item: &Value| item["$patch"] == "replace";
    let mut list = into.as_array().cloned().unwrap_or_default();
    if items.iter().any(replaces) {
        list.clear();
    }
    for mut item in items.into_iter().filter(|item| !replaces(item)) {
        let place = list.iter().position(|old| old[key] == item[key]);
        if item["$patch"] == "delete" {
            if let Some(place) = place {
                list.remove(place);
            }
            continue;
        }
        match place.and_then(|place| list.get_mut(place)) {
            Some(old) => strategic_field("", old, item),
            None => {
                as_map(&mut item).remove("$patch");
                list.push(item);
            }
        }
    }
    *into = list.into();
}

/// By what items of a field's list are told apart; `None` where the whole list is one value.
fn merge_key(field: &str, items: &[Value]) -> Option<&'static str> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets" => "name",
        "ports" if items.iter().any(|item| item.get("containerPort").is_some()) => "containerPort",
        "ports" => "port",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        "conditions" => "type",
        _ => return None,
    })
}

/// RFC 6902. The whole patch, or what is wrong with it.
pub(super) fn json(into: &mut Value, patch: &Value) -> Result<(), String> {
    let steps = patch
        .as_array()
        .ok_or("a JSON patch is a list of operations")?;
    for step in steps {
        let text = |name: &str| {
            let value = step[name].as_str();
            value.ok_or_else(|| format!("an operation without {name}"))
        };
        let path = text("path")?;
        let missing = || format!("nothing lies at {path}");
        match text("op")? {
            "add" => add(into, path, step["value"].clone())?,
            "remove" => drop(take(into, path).ok_or_else(missing)?),
            "replace" => {
                *into.pointer_mut(path).ok_or_else(missing)? = step["value"].clone();
            }
            "move" => {
                let moved = take(into, text("from")?).ok_or_else(missing)?;
                add(into, path, moved)?;
            }
            "copy" => {
                let copy = into.pointer(text("from")?).ok_or_else(missing)?.clone();
                add(into, path, copy)?;
            }
            "test" if into.pointer(path) == Some(&step["value"]) => {}
            "test" => return Err(format!("testing value {path} failed")),
            other => return Err(format!("no operation {other:?}")),
        }
    }
    Ok(())
}

fn add(into: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, last)) = path.rsplit_once('/') else {
        *into = value;
        return Ok(());
    };
    let missing = || format!("nothing lies at {parent}");
    match into.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => {
            map.insert(unescape(last), value);
        }
        Value::Array(list) => {
            let place = if last == "-" {
                Some(list.len())
            } else {
                last.parse().ok()
            };
            let place = place.filter(|&place| place <= list.len());
            list.insert(
                place.ok_or_else(|| format!("{path} is out of bounds"))?,
                value,
            );
        }
        _ => return Err(format!("{parent} holds nothing")),
    }
    Ok(())
}

fn take(from: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = path.rsplit_once('/')?;
    match from.pointer_mut(parent)? {
        Value::Object(map) => map.remove(&unescape(last)),
        Value::Array(list) => {
            let place = last
                .parse()
                .ok()
                .filter(|&place: &usize| place < list.len());
            place.map(|place| list.remove(place))
        }
        _ => None,
    }
}

fn unescape(text: &str) -> String {
    text.replace("~1", "/").replace("~0", "~")
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => {
            *other = Value::Object(Map::new());
            as_map(other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_strategic_patch_merges_containers_by_name_and_replaces_other_lists() {
        let mut object = json!({ "containers": [
            { "name": "a", "image": "1", "args": ["x", "y"] }, { "name": "b" }] });
        strategic(
            &mut object,
            json!({ "containers": [
                { "name": "a", "image": "2", "args": ["z"] },
                { "name": "b", "$patch": "delete" }, { "name": "c" }] }),
        );
        let expected = json!({ "containers": [
            { "name": "a", "image": "2", "args": ["z"] }, { "name": "c" }] });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_json_patch_is_done_in_order_and_tests_what_it_found() {
        let mut object = json!({ "a": { "b/c": 1 }, "l": [1, 3] });
        let patch = json!([
            { "op": "test", "path": "/a/b~1c", "value": 1 },
            { "op": "add", "path": "/l/1", "value": 2 },
            { "op": "add", "path": "/l/-", "value": 4 },
            { "op": "move", "from": "/a/b~1c", "path": "/d" },
            { "op": "remove", "path": "/l/0" },
        ]);
        json(&mut object, &patch).unwrap();
        assert_eq!(object, json!({ "a": {}, "d": 1, "l": [2, 3, 4] }));
        let wrong = json!([{ "op": "test", "path": "/d", "value": 2 }]);
        json(&mut object, &wrong).unwrap_err();
    }
}

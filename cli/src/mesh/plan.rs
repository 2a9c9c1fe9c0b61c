//! From what a mesh file says and what is there to what must be done. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::document::{self, Faults, Mesh, Named, Place};
use super::present::{Present, Row};
use super::{Key, Noun};

/// Members of a flow that say where its two ends are.
const ENDS: [(&str, Noun); 2] = [("endpoint_id", Noun::Endpoint), ("target_id", Noun::Target)];

/// A thing that shall be, with every name resolved.
pub(super) struct Wanted {
    place: Place,
    /// The API's members, without names and ids.
    body: Value,
    /// Endpoint and target of a flow.
    ends: Option<[Key; 2]>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) key: Key,
    pub(super) action: Action,
}

/// What is done to one thing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// It is made.
    Create(Body),
    /// It is changed.
    Change {
        id: String,
        /// As RFC 7396.
        patch: Value,
        fields: Vec<Field>,
    },
    /// A flow that shall have another end is removed here and made anew by a later step.
    Replace { id: String, fields: Vec<Field> },
    /// It is removed.
    Remove { id: String },
}

/// What a new thing is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Body {
    pub(super) members: Value,
    /// Of a flow: ids may only be known once these are made.
    pub(super) ends: Option<[Key; 2]>,
}

/// One member that changes; nothing stands for the product's default.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// Dotted.
    pub(super) name: String,
    pub(super) from: Option<Value>,
    pub(super) to: Option<Value>,
}

/// What must be done, in this order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Things that are as they shall be.
    pub(super) unchanged: usize,
}

/// Brings names together with what they name.
///
/// # Errors
/// Every name that names nothing, or several things.
pub(super) fn resolve(mesh: Mesh, present: &Present) -> anyhow::Result<BTreeMap<Key, Wanted>> {
    let mut wanted = BTreeMap::new();
    let mut faults = Faults::default();
    for endpoint in mesh.endpoints {
        let (named, plane) = (&endpoint.name, &endpoint.plane);
        if let Some(key) = placed(Noun::Endpoint, named, plane, present, &mut faults) {
            let place = named.place.clone();
            add(
                &mut wanted,
                &mut faults,
                key,
                place,
                members(&endpoint.map(name)),
                None,
            );
        }
    }
    for target in mesh.targets {
        let (named, plane) = (&target.name, &target.plane);
        if let Some(key) = placed(Noun::Target, named, plane, present, &mut faults) {
            let place = named.place.clone();
            add(
                &mut wanted,
                &mut faults,
                key,
                place,
                members(&target.map(name)),
                None,
            );
        }
    }
    for flow in mesh.flows {
        let mut end = |noun, named: &Named, plane: Option<&Named>| {
            let found = end(noun, named, plane, &wanted, present);
            found.map_err(|what| faults.add(&named.place, what)).ok()
        };
        let from = end(Noun::Endpoint, &flow.endpoint, flow.endpoint_plane.as_ref());
        let to = end(Noun::Target, &flow.target, flow.target_plane.as_ref());
        let key = Key {
            noun: Noun::Flow,
            plane: None,
            name: flow.name.name.clone(),
        };
        if let (Some(from), Some(to)) = (from, to) {
            let (place, ends) = (flow.name.place.clone(), Some([from, to]));
            add(
                &mut wanted,
                &mut faults,
                key,
                place,
                members(&flow.map(name)),
                ends,
            );
        }
    }
    faults.result()?;
    Ok(wanted)
}

fn name(named: Named) -> String {
    named.name
}

/// The key of an endpoint or target, if its plane is known.
fn placed(
    noun: Noun,
    named: &Named,
    plane: &Named,
    present: &Present,
    faults: &mut Faults,
) -> Option<Key> {
    match present.plane_id(&plane.name) {
        Ok(id) => Some(Key {
            noun,
            plane: Some(id),
            name: named.name.clone(),
        }),
        Err(what) => {
            faults.add(&plane.place, what);
            None
        }
    }
}

fn add(
    wanted: &mut BTreeMap<Key, Wanted>,
    faults: &mut Faults,
    key: Key,
    place: Place,
    body: Value,
    ends: Option<[Key; 2]>,
) {
    let what = format!("{} {}", key.noun, key.name);
    let at = place.clone();
    if let Some(first) = wanted.insert(key, Wanted { place, body, ends }) {
        faults.add(&at, format!("{what} stands at {} already", first.place));
    }
}

/// The endpoint or target that a flow names, be it there already or still to be made.
fn end(
    noun: Noun,
    named: &Named,
    plane: Option<&Named>,
    wanted: &BTreeMap<Key, Wanted>,
    present: &Present,
) -> Result<Key, String> {
    let plane = plane
        .map(|plane| present.plane_id(&plane.name))
        .transpose()?;
    let fits = |key: &&Key| {
        key.noun == noun
            && key.name == named.name
            && plane
                .as_ref()
                .is_none_or(|id| key.plane.as_ref() == Some(id))
    };
    let all = wanted.keys().chain(present.rows.keys());
    let found: BTreeSet<&Key> = all.filter(fits).collect();
    let name = &named.name;
    match found.len() {
        1 => Ok(found.into_iter().next().cloned().ok_or_else(String::new)?),
        0 => Err(format!(
            "there is no {noun} {name}, here or in the control plane"
        )),
        _ => Err(format!(
            "several planes have a {noun} {name}: add {noun}_plane"
        )),
    }
}

/// The members the API knows, without names, which become ids, and without what is not said.
fn members<T: serde::Serialize>(document: &T) -> Value {
    let mut value = serde_json::to_value(document).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        for name in [
            "name",
            "plane",
            "endpoint",
            "endpoint_plane",
            "target",
            "target_plane",
        ] {
            members.remove(name);
        }
    }
    value
}

/// Compares what shall be with what is. `pruned` are the ids of planes in which whatever the
/// files do not name is removed.
///
/// # Errors
/// When something that would be removed is still needed.
pub(super) fn plan(
    wanted: &BTreeMap<Key, Wanted>,
    present: &Present,
    pruned: &BTreeSet<String>,
) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    for (key, wanted) in wanted {
        match present.rows.get(key) {
            None => plan.create(key, wanted),
            Some(row) => plan.compare(key, wanted, row, present),
        }
    }
    let unnamed = present
        .rows
        .iter()
        .filter(|(key, _)| !wanted.contains_key(key));
    let (gone, kept): (Vec<_>, Vec<_>) =
        unnamed.partition(|(key, row)| is_pruned(key, row, present, pruned));
    for (key, row) in &kept {
        refuse_if_needed(key, row, &gone)?;
    }
    plan.steps.extend(gone.into_iter().map(|(key, row)| Step {
        key: key.clone(),
        action: Action::Remove { id: row.id.clone() },
    }));
    plan.steps
        .sort_by(|a, b| turn(a).cmp(&turn(b)).then_with(|| a.key.cmp(&b.key)));
    Ok(plan)
}

/// Endpoints and targets before the flows that need them; flows gone before what they need.
const fn turn(step: &Step) -> u8 {
    match (&step.action, step.key.noun) {
        (Action::Create(_) | Action::Change { .. }, Noun::Endpoint | Noun::Target) => 0,
        (Action::Remove { .. } | Action::Replace { .. }, Noun::Flow) => 1,
        (_, Noun::Flow) => 2,
        _ => 3,
    }
}

fn is_pruned(key: &Key, row: &Row, present: &Present, pruned: &BTreeSet<String>) -> bool {
    let lives = |key: &Key| {
        key.plane
            .as_ref()
            .is_some_and(|plane| pruned.contains(plane))
    };
    if key.noun != Noun::Flow {
        return lives(key);
    }
    let mut ends = ENDS
        .iter()
        .filter_map(|(member, noun)| present.key_of(*noun, row.text(member)));
    ends.any(lives)
}

/// A flow that stays keeps its ends.
fn refuse_if_needed(key: &Key, row: &Row, gone: &[(&Key, &Row)]) -> anyhow::Result<()> {
    let needed = gone.iter().find(|(_, lost)| {
        key.noun == Noun::Flow && ENDS.iter().any(|(member, _)| row.text(member) == lost.id)
    });
    if let Some((lost, _)) = needed {
        anyhow::bail!(
            "{} {} cannot be removed: flow {} needs it",
            lost.noun,
            lost.name,
            key.name
        );
    }
    Ok(())
}

impl Plan {
    fn create(&mut self, key: &Key, wanted: &Wanted) {
        let body = Body {
            members: wanted.body.clone(),
            ends: wanted.ends.clone(),
        };
        self.steps.push(Step {
            key: key.clone(),
            action: Action::Create(body),
        });
    }

    fn compare(&mut self, key: &Key, wanted: &Wanted, row: &Row, present: &Present) {
        let is = only(&row.row, key.noun);
        let moved = moved(wanted, row, present);
        let mut fields = moved.clone();
        differences(&is, &plain(&wanted.body), "", &mut fields);
        if fields.is_empty() {
            self.unchanged += 1;
            return;
        }
        let id = row.id.clone();
        let action = if moved.is_empty() {
            let patch = patch(&is, &plain(&wanted.body));
            Action::Change { id, patch, fields }
        } else {
            self.create(key, wanted);
            Action::Replace { id, fields }
        };
        self.steps.push(Step {
            key: key.clone(),
            action,
        });
    }
}

/// The ends of a flow that are not what they shall be.
fn moved(wanted: &Wanted, row: &Row, present: &Present) -> Vec<Field> {
    let ends = wanted.ends.iter().flatten();
    let moved = ends.zip(ENDS).filter_map(|(end, (member, noun))| {
        let now = present.key_of(noun, row.text(member));
        let shown = |key: &Key| {
            let plane = key.plane.as_deref().unwrap_or_default();
            format!("{}/{}", present.plane_called(plane), key.name).into()
        };
        (now != Some(end)).then(|| Field {
            name: noun.word().to_owned(),
            from: now.map(shown),
            to: Some(shown(end)),
        })
    });
    moved.collect()
}

/// The members of a row that a file may say something about, without those at their defaults.
fn only(row: &Value, noun: Noun) -> Value {
    let mut members = row.as_object().cloned().unwrap_or_default();
    members.retain(|name, _| document::written(noun).contains(&name.as_str()));
    if members.get("enabled") == Some(&Value::Bool(true)) {
        members.remove("enabled");
    }
    plain(&Value::Object(members))
}

/// Without nulls, empty lists and empty objects: they all mean the default.
fn plain(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let members: Map<_, _> = members
        .iter()
        .map(|(name, member)| (name.clone(), plain(member)))
        .filter(|(_, member)| match member {
            Value::Null => false,
            Value::Array(entries) => !entries.is_empty(),
            Value::Object(members) => !members.is_empty(),
            _ => true,
        })
        .collect();
    Value::Object(members)
}

/// Each member that differs, objects member by member.
fn differences(is: &Value, shall: &Value, under: &str, fields: &mut Vec<Field>) {
    let empty = Map::new();
    let (before, after) = (
        is.as_object().unwrap_or(&empty),
        shall.as_object().unwrap_or(&empty),
    );
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (from, to) = (before.get(name), after.get(name));
        let name = format!("{under}{name}");
        match (from, to) {
            (from, to) if from == to => {}
            (Some(from @ Value::Object(_)), Some(to @ Value::Object(_))) => {
                differences(from, to, &format!("{name}."), fields);
            }
            (from, to) => fields.push(Field {
                name,
                from: from.cloned(),
                to: to.cloned(),
            }),
        }
    }
}

/// The merge patch (RFC 7396) that makes the one the other.
fn patch(is: &Value, shall: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (is, shall) else {
        return shall.clone();
    };
    let mut patched = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patched.insert(name.clone(), Value::Null);
    }
    for (name, to) in after {
        match before.get(name) {
            Some(from) if from == to => {}
            Some(from) => {
                patched.insert(name.clone(), patch(from, to));
            }
            None => {
                patched.insert(name.clone(), to.clone());
            }
        }
    }
    Value::Object(patched)
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;

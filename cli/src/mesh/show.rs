//! A plan as text for people and as JSON for scripts.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::plan::{Action, Field, Plan, Step};
use super::present::Present;

/// What a plan comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) create: usize,
    pub(super) change: usize,
    pub(super) replace: usize,
    pub(super) remove: usize,
}

impl Count {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut count = Self::default();
        for step in &plan.steps {
            match step.action {
                Action::Create(_) => count.create += 1,
                Action::Change { .. } => count.change += 1,
                Action::Replace { .. } => count.replace += 1,
                Action::Remove { .. } => count.remove += 1,
            }
        }
        // A replacement is one step that removes and one that makes.
        count.create -= count.replace.min(count.create);
        count
    }

    pub(super) const fn is_nothing(self) -> bool {
        self.create + self.change + self.replace + self.remove == 0
    }
}

/// The plan, a line for each thing and one below it for each member that changes.
pub(super) fn text(plan: &Plan, present: &Present) -> String {
    let mut lines = String::new();
    for step in shown(plan) {
        let what = called(step, present);
        let (sign, fields): (_, &[Field]) = match &step.action {
            Action::Create(_) => ("+ create ", &[]),
            Action::Change { fields, .. } => ("~ change ", fields),
            Action::Replace { fields, .. } => ("± replace", fields),
            Action::Remove { .. } => ("- remove ", &[]),
        };
        // Writing to a string cannot fail.
        let _written = writeln!(lines, "{sign} {what}");
        for field in fields {
            let (from, to) = (value(field.from.as_ref()), value(field.to.as_ref()));
            let _written = writeln!(lines, "      {}: {from} -> {to}", field.name);
        }
    }
    lines.push_str(&summary(plan));
    lines
}

/// One line: how much of what.
pub(super) fn summary(plan: &Plan) -> String {
    let count = Count::of(plan);
    if count.is_nothing() {
        return format!("nothing to do: {} as they shall be", plan.unchanged);
    }
    let Count {
        create,
        change,
        replace,
        remove,
    } = count;
    let mut parts = vec![format!("{create} to create"), format!("{change} to change")];
    if replace > 0 {
        parts.push(format!("{replace} to replace"));
    }
    parts.push(format!("{remove} to remove"));
    parts.push(format!("{} unchanged", plan.unchanged));
    parts.join(", ")
}

/// The plan for scripts.
pub(super) fn json(plan: &Plan, present: &Present, applied: bool) -> Value {
    let steps = shown(plan).map(|step| {
        let (action, fields): (_, &[Field]) = match &step.action {
            Action::Create(_) => ("create", &[]),
            Action::Change { fields, .. } => ("change", fields),
            Action::Replace { fields, .. } => ("replace", fields),
            Action::Remove { .. } => ("remove", &[]),
        };
        let plane = step.key.plane.as_deref();
        let fields: Vec<_> = fields
            .iter()
            .map(|field| json!({ "field": field.name, "from": field.from, "to": field.to }))
            .collect();
        json!({ "action": action, "kind": step.key.noun.word(), "name": step.key.name,
            "plane": plane.map(|id| present.plane_called(id)), "fields": fields })
    });
    json!({ "changes": steps.collect::<Vec<_>>(), "unchanged": plan.unchanged,
        "applied": applied })
}

/// The steps that people see: of a replacement, the first half.
fn shown(plan: &Plan) -> impl Iterator<Item = &Step> {
    let replaced = |step: &Step| {
        matches!(step.action, Action::Create(_))
            && plan.steps.iter().any(|other| {
                other.key == step.key && matches!(other.action, Action::Replace { .. })
            })
    };
    plan.steps.iter().filter(move |step| !replaced(step))
}

/// What a step is about.
pub(super) fn called(step: &Step, present: &Present) -> String {
    let key = &step.key;
    match &key.plane {
        Some(plane) => format!(
            "{:<8} {}  (plane {})",
            key.noun.word(),
            key.name,
            present.plane_called(plane)
        ),
        None => format!("{:<8} {}", key.noun.word(), key.name),
    }
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "(default)".to_owned(),
        Some(Value::String(text)) if text.contains('\n') => {
            let lines = text.lines().count();
            format!("({lines} lines)")
        }
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

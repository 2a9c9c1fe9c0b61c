//! `zen apply`: plan, ask, do. What has changed since the plan was made is not overwritten: the
//! control plane is told which version is meant, and a lost race ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use http::StatusCode;
use serde_json::Value;

use super::plan::{Action, Plan, Step, plan, resolve};
use super::present::Present;
use super::show::{self, Count};
use super::{Key, Noun, document};
use crate::api::{Api, Problem};
use crate::args::{Apply, Format};
use crate::output;

/// Exit code of `--plan-only --exit-code` when there is something to do.
const HAS_CHANGES: u8 = 2;

/// The whole way of one run.
///
/// # Errors
/// What is wrong with the files, or why it stopped and what had been done by then.
pub(crate) async fn run(options: Apply, api: &Api, format: Format) -> anyhow::Result<ExitCode> {
    let mesh = document::read(&options.files)?;
    let present = Present::read(api).await?;
    let wanted = resolve(mesh, &present)?;
    let pruned = options
        .prune
        .iter()
        .map(|called| present.plane_id(called).map_err(anyhow::Error::msg))
        .collect::<anyhow::Result<BTreeSet<_>>>()
        .context("--prune")?;
    let plan = plan(&wanted, &present, &pruned)?;
    let versions = versions(&plan, &present, api).await?;
    let nothing = Count::of(&plan).is_nothing();
    if format == Format::Table || !(nothing || options.plan_only) {
        output::say(&show::text(&plan, &present));
    }
    if nothing || options.plan_only {
        report(&plan, &present, format, false)?;
        let changes = !nothing && options.exit_code;
        return Ok(ExitCode::from(if changes { HAS_CHANGES } else { 0 }));
    }
    if !options.yes && !agreed(&options)? {
        output::say("nothing was applied");
        return Ok(ExitCode::FAILURE);
    }
    Run {
        api,
        present: &present,
        versions,
        ids: present
            .rows
            .iter()
            .map(|(key, row)| (key.clone(), row.id.clone()))
            .collect(),
        done: Vec::new(),
    }
    .apply(&plan)
    .await?;
    report(&plan, &present, format, true)?;
    Ok(ExitCode::SUCCESS)
}

fn report(plan: &Plan, present: &Present, format: Format, applied: bool) -> anyhow::Result<()> {
    if format == Format::Table {
        if applied {
            output::say("applied");
        }
        return Ok(());
    }
    output::one(format, &show::json(plan, present, applied), |_| {
        String::new()
    })
}

/// Asks the person at the terminal.
fn agreed(options: &Apply) -> anyhow::Result<bool> {
    let piped = options.files.iter().any(|file| file.as_os_str() == "-");
    anyhow::ensure!(
        !piped && std::io::stdin().is_terminal(),
        "there is nobody to ask here: give --yes to apply the plan, or --plan-only"
    );
    output::ask("Apply this? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The version of everything that will be changed or removed, as the control plane names it; none
/// where it names none.
async fn versions(
    plan: &Plan,
    present: &Present,
    api: &Api,
) -> anyhow::Result<BTreeMap<Key, Option<String>>> {
    let mut versions = BTreeMap::new();
    for step in &plan.steps {
        if step.id().is_none() {
            continue;
        }
        let Some(row) = present.rows.get(&step.key) else {
            continue;
        };
        let (now, version) = api
            .get_with_version(&format!("{}/{}", step.key.noun.path(), row.id))
            .await?;
        anyhow::ensure!(
            now["updated_at"] == row.row["updated_at"],
            "{} was changed while the plan was made: run zen apply again",
            show::called(step, present)
        );
        versions.insert(step.key.clone(), version);
    }
    Ok(versions)
}

impl Step {
    /// The id of what is there already.
    fn id(&self) -> Option<&str> {
        match &self.action {
            Action::Create(_) => None,
            Action::Change { id, .. } | Action::Replace { id, .. } | Action::Remove { id } => {
                Some(id)
            }
        }
    }
}

/// A plan on its way.
struct Run<'a> {
    api: &'a Api,
    present: &'a Present,
    versions: BTreeMap<Key, Option<String>>,
    /// Ids of everything there is, by now.
    ids: BTreeMap<Key, String>,
    done: Vec<String>,
}

impl Run<'_> {
    /// Does every step, or stops at the first that fails and says what was done.
    async fn apply(mut self, plan: &Plan) -> anyhow::Result<()> {
        for step in &plan.steps {
            let what = show::called(step, self.present);
            let outcome = self.step(step).await;
            let Err(error) = outcome else {
                self.done.push(what);
                continue;
            };
            let lost = error.downcast_ref::<Problem>().is_some_and(|problem| {
                problem.status == StatusCode::PRECONDITION_FAILED
                    || problem.code == "CHANGED_MEANWHILE"
            });
            let left = plan.steps.len() - self.done.len();
            let mut why = format!(
                "stopped at {what}; {left} of {} steps not done",
                plan.steps.len()
            );
            if lost {
                why.push_str("; somebody else changed it since the plan was made");
            }
            why.push_str(if self.done.is_empty() {
                "; nothing was applied"
            } else {
                "; applied before it: "
            });
            why.push_str(&self.done.join(", "));
            why.push_str(". Run zen apply again for a new plan");
            return Err(error.context(why));
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        let path = step.key.noun.path();
        let version = self.versions.get(&step.key).and_then(Option::as_deref);
        match &step.action {
            Action::Create(body) => {
                let mut members = body.members.clone();
                members["name"] = step.key.name.clone().into();
                if let Some(plane) = &step.key.plane {
                    members["plane_id"] = plane.clone().into();
                }
                for end in body.ends.iter().flatten() {
                    let id = self.ids.get(end).context("an end that is not there")?;
                    let member = match end.noun {
                        Noun::Endpoint => "endpoint_id",
                        Noun::Target | Noun::Flow => "target_id",
                    };
                    members[member] = id.clone().into();
                }
                let made = self.api.post(path, &members).await?;
                let id = made["id"].as_str().context("the API sent no id")?;
                self.ids.insert(step.key.clone(), id.to_owned());
            }
            Action::Change { id, patch, .. } => {
                let path = format!("{path}/{id}");
                let _changed: Value = self.api.patch_if(&path, patch, version).await?;
            }
            Action::Replace { id, .. } | Action::Remove { id } => {
                self.api.delete_if(&format!("{path}/{id}"), version).await?;
            }
        }
        Ok(())
    }
}

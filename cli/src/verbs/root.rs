//! `zen root …`

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::api::{Api, query};
use crate::args::{Format, Root};
use crate::output::{self, Column};

const ROOTS: &str = "/v1/roots";
const COLUMNS: &[Column] = &[
    ("ID", "/id"),
    ("STAGE", "/stage"),
    ("MADE", "/created_at"),
    ("ENDS", "/not_after"),
    ("ACKNOWLEDGED", "/acknowledged"),
    ("PLANES", "/planes"),
    ("WAITS FOR", "/waiting"),
];
/// Pause between two looks at how far a rotation is.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) async fn run(verb: Root, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Root::List => {
            let mut rows = all(api).await?;
            for row in &mut rows {
                row["waiting"] = waiting(row).into();
            }
            output::rows(format, &rows, COLUMNS)
        }
        Root::Rotate { wait } => {
            let begun = api.post(ROOTS, &json!({})).await?;
            if !wait {
                return output::one(format, &begun, announced);
            }
            let id = begun["id"].as_str().context("the API sent no id")?;
            let ready = acknowledged(api, id).await?;
            output::say(&format!("{ready} planes have acknowledged root {id}"));
            sign(api, id, &[], format).await
        }
        Root::Sign { root, without } => {
            sign(api, &id_of(api, &root).await?, &without, format).await
        }
        Root::Retire { root, without } => {
            let id = id_of(api, &root).await?;
            let without = Some(without.join(",")).filter(|ids| !ids.is_empty());
            let asked = query(&[("without", without.as_deref())]);
            let asked = asked.replacen('&', "?", 1);
            api.delete(&format!("{ROOTS}/{id}{asked}")).await?;
            let retired = json!({ "id": id, "stage": "retired" });
            output::one(format, &retired, |_| {
                format!("root {id} is trusted no more")
            })
        }
    }
}

async fn all(api: &Api) -> anyhow::Result<Vec<Value>> {
    let roots = api.get(ROOTS).await?;
    Ok(roots["items"].as_array().cloned().unwrap_or_default())
}

/// The whole id of the one root whose id begins so.
async fn id_of(api: &Api, given: &str) -> anyhow::Result<String> {
    let roots = all(api).await?;
    let ids = roots.iter().filter_map(|root| root["id"].as_str());
    let mut found = ids.filter(|id| id.starts_with(given));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        (None, _) => anyhow::bail!("no root's id begins with {given:?}"),
        (Some(_), Some(_)) => anyhow::bail!("several roots' ids begin with {given:?}"),
    }
}

async fn sign(api: &Api, id: &str, without: &[String], format: Format) -> anyhow::Result<()> {
    let path = format!("{ROOTS}/{id}/sign");
    let signs = api.post(&path, &json!({ "without": without })).await?;
    output::one(format, &signs, |_| {
        format!(
            "root {id} signs now: every plane gets a new CA by it\n\
             `zen root list` shows what still leads to the old root; then: zen root retire OLD"
        )
    })
}

/// Waits until no plane is waited for any more, and says how far it is; Ctrl-C gives up the wait,
/// not the rotation.
async fn acknowledged(api: &Api, id: &str) -> anyhow::Result<u64> {
    let mut told = String::new();
    loop {
        let roots = all(api).await?;
        let root = roots.iter().find(|root| root["id"] == id);
        let root = root.context("the root was given up meanwhile")?;
        let names = waiting(root);
        if names.is_empty() {
            return Ok(root["acknowledged"].as_u64().unwrap_or_default());
        }
        if names != told {
            output::say(&format!("waiting for {names}"));
            told = names;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The names of the planes that a root's next step waits for.
fn waiting(root: &Value) -> String {
    let planes = root["waits_for"].as_array().into_iter().flatten();
    let named = planes.map(|plane| {
        let text = |key: &str| plane[key].as_str().unwrap_or("?").to_owned();
        format!("{} ({})", text("name"), text("why"))
    });
    named.collect::<Vec<_>>().join(", ")
}

fn announced(root: &Value) -> String {
    let id = root["id"].as_str().unwrap_or("?");
    format!("root {id} is announced\nwhen `zen root list` waits for nobody: zen root sign {id}")
}

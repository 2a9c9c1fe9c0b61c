//! `zen audit …`

use serde_json::Value;

use crate::api::{Api, query};
use crate::args::{Audit, Format};
use crate::output::{self, Column};

const AUDIT: &str = "/v1/audit";
const COLUMNS: &[Column] = &[
    ("AT", "/at"),
    ("NO", "/seq"),
    ("WHO", "/actor/name"),
    ("ACTION", "/action"),
    ("SUBJECT", "/subject"),
    ("FROM", "/address"),
];

pub(crate) async fn run(verb: Audit, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Audit::List {
            from,
            until,
            actor,
            action,
            subject,
            limit,
        } => {
            let filter = query(&[
                ("from", from.as_deref()),
                ("until", until.as_deref()),
                ("actor", actor.as_deref()),
                ("action", action.as_deref()),
                ("subject", subject.as_deref()),
            ]);
            let rows = api.some(AUDIT, &filter, limit).await?;
            output::rows(format, &rows, COLUMNS)
        }
        Audit::Verify { kept } => {
            let kept = kept.as_deref().and_then(|kept| kept.split_once(':'));
            let filter = query(&[
                ("seq", kept.map(|(seq, _)| seq)),
                ("hash", kept.map(|(_, hash)| hash)),
            ]);
            let question = filter.trim_start_matches('&');
            verify(
                &api.get(&format!("{AUDIT}/verify?{question}")).await?,
                format,
            )
        }
    }
}

/// Says what the walk along the chain found; a broken chain is a failure that names its first bad
/// entry.
fn verify(found: &Value, format: Format) -> anyhow::Result<()> {
    output::one(format, found, |found| {
        let entries = found["entries"].as_u64().unwrap_or(0);
        let hash = found["head"]["hash"].as_str().unwrap_or("-");
        format!(
            "{entries} entries hold\nhead  {}:{hash}",
            found["head"]["seq"]
        )
    })?;
    if found["holds"] == true {
        if format == Format::Table {
            output::say("keep the head elsewhere: `zen audit verify --kept HEAD` proves it later");
        }
        return Ok(());
    }
    let fault = &found["fault"];
    let code = fault["code"].as_str().unwrap_or("UNKNOWN");
    let place = fault["seq"]
        .as_u64()
        .map(|seq| format!(" at entry {seq}"))
        .unwrap_or_default();
    let detail = fault["detail"]
        .as_str()
        .unwrap_or("it does not fit the chain");
    anyhow::bail!("the audit log does not hold: {code}{place}: {detail}")
}

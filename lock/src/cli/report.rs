//! `zen-lock report`: what is sealed to which key, so that an old one can be retired knowingly.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use zen_chassis::files::read_capped;
use zen_seal::{Identity, Recipient, unseal};

use super::armor::blocks;
use super::files::{LARGEST, all, day};
use super::keys::IdentityArgs;
use super::terminal::print;

/// List the secrets in files and folders with the keys they are sealed to.
///
/// Ends with 1 if a secret does not open, or is sealed to another key than the first --identity.
#[derive(Args)]
pub(super) struct Report {
    #[command(flatten)]
    identities: IdentityArgs,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
    /// Files and folders.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// One secret.
#[derive(Serialize)]
struct Row {
    file: String,
    /// Its scope; empty if it does not open.
    secret: String,
    key_ids: Vec<String>,
    sealed: String,
    /// `current`, `old key`, or the code that says why it does not open.
    state: String,
}

const CURRENT: &str = "current";

#[expect(
    clippy::needless_pass_by_value,
    reason = "every verb takes its arguments whole"
)]
pub(super) fn run(asked: Report) -> anyhow::Result<ExitCode> {
    let identities = asked.identities.read()?;
    let newest = identities.first().map(Identity::recipient);
    let mut rows = Vec::new();
    for path in all(&asked.paths)? {
        let bytes = read_capped(&path, LARGEST)?;
        let text = String::from_utf8_lossy(&bytes);
        for block in blocks(&text) {
            let file = path.display().to_string();
            rows.push(row(file, &block.sealed, &identities, newest.as_ref())?);
        }
    }
    match asked.format {
        Form::Table => print(table(&rows).as_bytes())?,
        Form::Json => print(format!("{}\n", serde_json::to_string_pretty(&rows)?).as_bytes())?,
    }
    Ok(if rows.iter().all(|row| row.state == CURRENT) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn row(
    file: String,
    sealed: &str,
    identities: &[Identity],
    newest: Option<&Recipient>,
) -> anyhow::Result<Row> {
    let opened = match unseal(sealed.as_bytes(), identities) {
        Ok(opened) => opened,
        Err(error) => {
            return Ok(Row {
                file,
                secret: String::new(),
                key_ids: Vec::new(),
                sealed: String::new(),
                state: error.code().code().to_owned(),
            });
        }
    };
    let key_ids = opened.seal.key_ids;
    let newest = newest.map(Recipient::key_id);
    let only_newest = key_ids.iter().all(|id| Some(id) == newest.as_ref());
    Ok(Row {
        file,
        secret: opened.secret.scope.to_string(),
        sealed: day(opened.seal.sealed_at_ms)?,
        state: if only_newest { CURRENT } else { "old key" }.to_owned(),
        key_ids,
    })
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![["STATE", "SECRET", "SEALED TO", "SEALED", "FILE"].map(ToOwned::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.state.clone(),
            row.secret.clone(),
            row.key_ids.join(" "),
            row.sealed.clone(),
            row.file.clone(),
        ]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
    let widths = [0, 1, 2, 3].map(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(&line[4]);
        text.push('\n');
    }
    text
}

//! `zen-lock decrypt`: what a sealed secret says of itself, and its values to who holds a key.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zen_chassis::files;
use zen_proto::limits;
use zen_seal::{Unsealed, unseal};

use super::armor::sealed_of;
use super::files::day;
use super::keys::IdentityArgs;
use super::terminal::print;
use super::values::read;

/// Open a sealed secret with its identity: show what it is, or print one value.
#[derive(Args)]
pub(super) struct Decrypt {
    #[command(flatten)]
    identities: IdentityArgs,
    /// The value to print, as it is; without it, what the secret is and which keys it has.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// File to write the value to, mode 0600; default standard output.
    #[arg(long, short, value_name = "FILE", requires = "key")]
    out: Option<PathBuf>,
    /// The sealed secret: an age file or a ZenLock's manifest, `-` for standard input.
    #[arg(value_name = "SEALED")]
    file: PathBuf,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "every verb takes its arguments whole"
)]
pub(super) fn run(asked: Decrypt) -> anyhow::Result<ExitCode> {
    let identities = asked.identities.read()?;
    let bytes = read(&asked.file, 2 * limits::SECRET_SEALED)?;
    let sealed = sealed_of(&bytes);
    let opened = unseal(&sealed, &identities).map_err(|error| {
        let code = error.code();
        anyhow::Error::new(error).context(format!("{code}, {}", code.remedy()))
    })?;
    let Some(key) = &asked.key else {
        print(described(&opened)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let value = opened
        .secret
        .value(Some(key))
        .with_context(|| format!("the secret has no value {key:?}"))?;
    match &asked.out {
        Some(path) => files::write_durable(path, value.expose(), 0o600)?,
        None => print(value.expose())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn described(opened: &Unsealed) -> anyhow::Result<String> {
    let secret = &opened.secret;
    let or_none = |all: Vec<String>| {
        if all.is_empty() {
            "none".to_owned()
        } else {
            all.join(", ")
        }
    };
    let purposes = secret.purposes.iter().map(ToString::to_string).collect();
    let writer = opened.writer.as_ref();
    let rows = [
        ("secret", secret.scope.to_string()),
        ("values", or_none(secret.values.keys().cloned().collect())),
        ("service accounts", or_none(secret.service_accounts.clone())),
        ("purposes", or_none(purposes)),
        ("written", day(secret.created_at_ms)?),
        ("sealed", day(opened.seal.sealed_at_ms)?),
        ("sealed to", or_none(opened.seal.key_ids.clone())),
        ("opened with", opened.opened_with.clone()),
        ("version", secret.version.clone()),
        (
            "signed by",
            writer.map_or_else(|| "nobody".to_owned(), ToString::to_string),
        ),
    ];
    Ok(rows
        .iter()
        .map(|(name, value)| format!("{name:<17} {value}\n"))
        .collect())
}

//! `zen-lock pubkey`: the public half of a key, to seal for or to believe.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zen_chassis::files;
use zen_seal::{Identity, WriterKey};
use zeroize::Zeroizing;

use super::terminal::{print, say};

const KEY_FILE: usize = 64 * 1024;

/// Print the public half of an identity or of a writer's key.
#[derive(Args)]
pub(super) struct Pubkey {
    /// File with the key.
    #[arg(long, short, value_name = "FILE")]
    identity: PathBuf,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "every verb takes its arguments whole"
)]
pub(super) fn run(asked: Pubkey) -> anyhow::Result<ExitCode> {
    let bytes = Zeroizing::new(files::read_capped(&asked.identity, KEY_FILE)?);
    let text = std::str::from_utf8(&bytes).context("the file is not text")?;
    let public = if let Ok(writer) = WriterKey::parse(text) {
        writer.public()?
    } else {
        let recipient = Identity::parse(text)?.recipient();
        say(&format!("key id {}", recipient.key_id()));
        recipient.to_string()
    };
    print(format!("{public}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

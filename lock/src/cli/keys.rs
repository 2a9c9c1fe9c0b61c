//! Keys that a command line names: recipients as they are or from a file, identities from files.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use zen_chassis::files;
use zen_seal::{Identity, Recipient};

const RECIPIENTS_FILE: usize = 64 * 1024;

/// Whom to seal for.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RecipientArgs {
    /// A key to seal for, `age1…`, as `zen-lock pubkey` shows it; may be repeated.
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// A file with one recipient a line, `#` before comments.
    #[arg(long, value_name = "FILE")]
    recipients_file: Option<PathBuf>,
}

impl RecipientArgs {
    /// The recipients, each once.
    pub(super) fn read(&self) -> anyhow::Result<Vec<Recipient>> {
        self.read_with(&[])
    }

    /// The same, beside some that are known from elsewhere.
    pub(super) fn read_with(&self, known: &[Recipient]) -> anyhow::Result<Vec<Recipient>> {
        let mut texts = self.recipient.clone();
        if let Some(path) = &self.recipients_file {
            let text = files::read_capped(path, RECIPIENTS_FILE)?;
            let text = String::from_utf8(text).context("--recipients-file is not text")?;
            let lines = text.lines().map(str::trim);
            let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            texts.extend(keys.map(ToOwned::to_owned));
        }
        let mut recipients = known.to_vec();
        for text in &texts {
            let recipient = text.parse()?;
            if !recipients.contains(&recipient) {
                recipients.push(recipient);
            }
        }
        ensure!(
            !recipients.is_empty(),
            "no key to seal for: give --recipient age1… (zen-lock pubkey shows it) or --recipients-file"
        );
        Ok(recipients)
    }
}

/// What to open with.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct IdentityArgs {
    /// File with an identity to open with; may be repeated.
    #[arg(long, short, value_name = "FILE", required = true)]
    identity: Vec<PathBuf>,
}

impl IdentityArgs {
    /// The identities, in the order given.
    pub(super) fn read(&self) -> anyhow::Result<Vec<Identity>> {
        let read = |path: &PathBuf| {
            Identity::from_file(path).with_context(|| format!("--identity {}", path.display()))
        };
        self.identity.iter().map(read).collect()
    }
}

//! `zen-lock rotate`: seals what lies in files again, for other keys. Content, scope and writer's
//! signature stay; a file is replaced whole or not at all.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zen_chassis::chain::Chain;
use zen_chassis::{Clock, files};
use zen_seal::{Identity, Recipient, ResealError, reseal, unseal};

use super::armor::{blocks, exchanged};
use super::files::{LARGEST, all};
use super::keys::{IdentityArgs, RecipientArgs};
use super::terminal::say;

/// Seal every secret in files and folders again, for other keys, in place.
///
/// Opens with --identity, seals for --recipient. Text around a secret, such as the rest of a
/// ZenLock's manifest, is not touched. What is sealed to exactly these keys already is passed over.
#[derive(Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    identities: IdentityArgs,
    #[command(flatten)]
    recipients: RecipientArgs,
    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Files and folders.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// What became of one file.
#[derive(Default)]
struct Done {
    resealed: usize,
    current: usize,
    failed: usize,
}

pub(super) fn run(asked: Rotate) -> anyhow::Result<ExitCode> {
    let work = Work {
        identities: asked.identities.read()?,
        recipients: asked.recipients.read()?,
        dry_run: asked.dry_run,
        clock: Clock::system(),
    };
    let files = all(&asked.paths)?;
    let mut total = Done::default();
    for (number, path) in files.iter().enumerate() {
        let done = work.file(path).unwrap_or_else(|error| {
            say(&format!("{}: {}", path.display(), Chain(error.as_ref())));
            Done {
                failed: 1,
                ..Done::default()
            }
        });
        if done.resealed > 0 {
            let place = format!("{}/{}", number + 1, files.len());
            say(&format!(
                "{place} {} sealed again: {}",
                path.display(),
                done.resealed
            ));
        }
        total.resealed += done.resealed;
        total.current += done.current;
        total.failed += done.failed;
    }
    let word = if asked.dry_run {
        "to seal again"
    } else {
        "sealed again"
    };
    say(&format!(
        "{} {word}, {} current already, {} failed",
        total.resealed, total.current, total.failed
    ));
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Work {
    identities: Vec<Identity>,
    recipients: Vec<Recipient>,
    dry_run: bool,
    clock: Clock,
}

impl Work {
    fn file(&self, path: &Path) -> anyhow::Result<Done> {
        let text = files::read_capped(path, LARGEST)?;
        let text = String::from_utf8(text)
            .context("not armored: only armored secrets are sealed again")?;
        let mut done = Done::default();
        let mut new = Vec::new();
        for block in blocks(&text) {
            match self.again(&block.sealed) {
                Ok(Some(sealed)) => {
                    done.resealed += 1;
                    new.push((block, sealed));
                }
                Ok(None) => done.current += 1,
                Err(error) => {
                    let code = match &error {
                        ResealError::Unseal(error) => error.code().code(),
                        ResealError::Seal(_) => "not sealed",
                    };
                    say(&format!("{}: {code}: {}", path.display(), Chain(&error)));
                    done.failed += 1;
                }
            }
        }
        if !self.dry_run && !new.is_empty() {
            let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
            files::write_durable(path, exchanged(&text, &new).as_bytes(), mode)?;
        }
        Ok(done)
    }

    /// The secret sealed for the new keys; nothing if it is already.
    fn again(&self, sealed: &str) -> Result<Option<String>, ResealError> {
        let opened = unseal(sealed.as_bytes(), &self.identities)?;
        let mut wanted: Vec<_> = self.recipients.iter().map(Recipient::key_id).collect();
        let mut held = opened.seal.key_ids;
        wanted.sort();
        held.sort();
        if wanted == held {
            return Ok(None);
        }
        let now_ms = self.clock.unix_ms();
        reseal(
            sealed.as_bytes(),
            &self.identities,
            &self.recipients,
            now_ms,
        )
        .map(Some)
    }
}

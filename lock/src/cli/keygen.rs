//! `zen-lock keygen`: a fresh key, into a file that nobody else may read.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zen_chassis::{Clock, Random};
use zen_seal::{Identity, WriterKey};
use zeroize::Zeroizing;

use super::terminal::print;

/// Make a key and print its public half.
#[derive(Args)]
pub(super) struct Keygen {
    /// File to write the secret half to, mode 0600; one that exists is never overwritten.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Make a writer's key, which signs, in place of an identity, which opens.
    #[arg(long)]
    writer: bool,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "every verb takes its arguments whole"
)]
pub(super) fn run(asked: Keygen) -> anyhow::Result<ExitCode> {
    let (secret, public) = if asked.writer {
        let key = WriterKey::new(Random::system().bytes());
        let public = key.public()?;
        (key.to_secret_text(), public)
    } else {
        let identity = Identity::generate();
        (identity.to_secret_text(), identity.recipient().to_string())
    };
    let created = OffsetDateTime::from(Clock::system().now());
    let created = created.replace_millisecond(0)?.replace_nanosecond(0)?;
    let head = format!(
        "# created: {}\n# public key: {public}\n",
        created.format(&Rfc3339)?
    );
    write_new(&asked.out, &[head.as_bytes(), secret.as_bytes(), b"\n"])?;
    print(format!("{public}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn write_new(path: &Path, parts: &[&[u8]]) -> anyhow::Result<()> {
    let whole = Zeroizing::new(parts.concat());
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be made", path.display()))?;
    file.write_all(&whole)?;
    file.sync_all()?;
    Ok(())
}

//! `zen-lock audit`: whether an audit log is what was written.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::terminal::print;
use crate::audit::check;

/// Check the chain of an audit log: each line carries the hash of the one before.
///
/// Prints number and hash of the last line; kept somewhere else, they show later that nothing was cut
/// off at the end.
#[derive(Args)]
pub(super) struct Audit {
    /// The log, such as /var/lib/zen/lock/audit.jsonl.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "every verb takes its arguments whole"
)]
pub(super) fn run(asked: Audit) -> anyhow::Result<ExitCode> {
    let name = asked.file.display();
    let mut file = File::open(&asked.file).with_context(|| name.to_string())?;
    let end = check(&mut file).with_context(|| name.to_string())?;
    print(format!("whole: {} lines, the last is {}\n", end.seq, end.prev).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

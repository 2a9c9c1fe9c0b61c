//! Running other programs, with what is run said first and a failure that names it.

use std::process::{Command, Stdio};

use anyhow::Context;

/// Runs a program with the terminal; `environment` is added.
pub(crate) fn run(words: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    println!("\n$ {}", words.join(" "));
    let (program, arguments) = words.split_first().context("nothing to run")?;
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    anyhow::ensure!(status.success(), "{} failed: {status}", words.join(" "));
    Ok(())
}

/// Whether a program starts and is content.
pub(crate) fn works(words: &[&str]) -> bool {
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

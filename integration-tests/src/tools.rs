//! Tools of the machine that a test needs, and the built binaries.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// Whether a tool can be used. A missing one is said aloud, and is a failure where `CI` is set.
///
/// # Errors
/// Under `CI=true`, when the tool is missing.
#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests speak to people"
)]
pub fn have(tool: &str, package: &str) -> anyhow::Result<bool> {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        let text = format!("{tool} is missing: apt-get install {package}, or `cargo xtask test`");
        anyhow::ensure!(std::env::var("CI").is_err(), text.clone());
        eprintln!("SKIPPED: {text}");
    }
    Ok(found)
}

/// The path of a binary of this workspace, built in the same profile as the caller.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("no folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent().context("no folder")?
    } else {
        folder
    };
    let path = folder.join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not built: cargo build --workspace --bins",
        path.display()
    );
    Ok(path)
}

//! Tools of the machine that a test needs, and the built binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// Whether a tool can be used. A missing one is said aloud, and is a failure where `CI` is set.
///
/// # Errors
/// Under `CI=true`, when the tool is missing.
pub fn have(tool: &str, package: &str) -> anyhow::Result<bool> {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        missing(&format!(
            "{tool} is missing: apt-get install {package}, or `cargo xtask test`"
        ))?;
    }
    Ok(found)
}

/// The same for a file that `cargo xtask setup` puts below [`target`].
///
/// # Errors
/// Under `CI=true`, when the file is missing.
pub fn have_file(tool: &str, file: &Path) -> anyhow::Result<bool> {
    let found = file.exists();
    if !found {
        missing(&format!("{tool} is missing: `cargo xtask setup`"))?;
    }
    Ok(found)
}

#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests speak to people"
)]
fn missing(text: &str) -> anyhow::Result<()> {
    anyhow::ensure!(std::env::var("CI").is_err(), text.to_owned());
    eprintln!("SKIPPED: {text}");
    Ok(())
}

/// The target folder of this build: tools and screenshots are kept there.
///
/// # Errors
/// When this program lies in none.
pub fn target() -> anyhow::Result<PathBuf> {
    let folder = profile()?;
    Ok(folder.parent().context("no target folder")?.to_owned())
}

/// The path of a binary of this workspace, built in the same profile as the caller.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let path = profile()?.join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not built: cargo build --workspace --bins",
        path.display()
    );
    Ok(path)
}

/// Where the binaries of this program's profile lie: `target/debug`, say.
fn profile() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("no folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent().context("no folder")?
    } else {
        folder
    };
    Ok(folder.to_owned())
}

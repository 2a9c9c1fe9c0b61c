//! `cargo xtask test`: everything that must hold before a change lands, in the order in which a
//! failure is cheapest.

use crate::{images, setup, shell, tidy};

pub(crate) fn run(filters: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    if filters.is_empty() {
        tidy::run()?;
        shell::run(&["cargo", "fmt", "--all", "--check"], &[])?;
        shell::run(
            &["cargo", "deny", "check", "licenses", "bans", "sources"],
            &[],
        )?;
        let clippy = [
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        shell::run(&clippy, &[])?;
    }
    if filters.is_empty() {
        // The container tests run what is shipped; without the tool they say that they are skipped.
        if shell::works(&["buildah", "--version"]) {
            images::run()?;
        } else {
            println!("missing tool: the container images need buildah");
        }
    }
    // The tests start the binaries they find beside themselves.
    shell::run(&["cargo", "build", "--workspace", "--bins"], &[])?;
    let mut words = vec!["cargo", "nextest", "run", "--workspace", "--profile", "ci"];
    words.extend(filters.iter().map(String::as_str));
    shell::run(&words, &[])?;
    if filters.is_empty() {
        let doc = [
            "cargo",
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ];
        shell::run(&doc, &[("RUSTDOCFLAGS", "-D warnings")])?;
    }
    Ok(())
}

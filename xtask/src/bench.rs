//! `cargo xtask bench`: builds everything for release and runs the measuring program.

use crate::shell;

pub(crate) fn run(names: &[String], json: bool, agents: Option<u32>) -> anyhow::Result<()> {
    shell::run(
        &["cargo", "build", "--release", "--workspace", "--bins"],
        &[],
    )?;
    let mut words = vec!["cargo", "run", "--quiet", "--release", "--package"];
    words.extend(["zen-integration-tests", "--bin", "zen-bench", "--"]);
    words.extend(names.iter().map(String::as_str));
    if json {
        words.push("--json");
    }
    let agents = agents.map(|agents| agents.to_string());
    if let Some(agents) = &agents {
        words.extend(["--agents", agents]);
    }
    shell::run(&words, &[])
}

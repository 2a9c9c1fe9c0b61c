//! `cargo xtask charts`: builds the Helm charts with their dependencies, renders them for every set of
//! values below `deploy/charts/*/ci`, and compares the result with `deploy/charts/golden`; with
//! `--bless` the result is written there instead.

use crate::{setup, shell};

/// The binaries that must accept what the charts write into their configuration.
const BINARIES: [&str; 6] = [
    "zen-agent",
    "zen-ingester",
    "zen-egress",
    "zen-bridge",
    "zen-lock",
    "zen-control-plane",
];

pub(crate) fn run(bless: bool) -> anyhow::Result<()> {
    setup::run()?;
    let mut build = vec!["cargo", "build", "--bins"];
    build.extend(BINARIES.iter().flat_map(|name| ["-p", name]));
    shell::run(&build, &[])?;
    let tests = ["cargo", "nextest", "run", "-p", "zen-integration-tests"];
    let tests = [&tests[..], &["--test", "charts"]].concat();
    if bless {
        // The test that compares writes instead; the others then judge what it wrote.
        let only = [&tests[..], &["every_rendered_chart_is_as_committed"]].concat();
        shell::run(&only, &[("ZEN_BLESS", "1")])?;
    }
    shell::run(&tests, &[])
}

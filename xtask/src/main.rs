//! The project's own tool.
//!
//! `cargo xtask test [FILTER…]` sets up what the tests need and runs every check.
//! `cargo xtask images` builds the container images.
//! `cargo xtask charts [--bless]` renders and judges the Helm charts.
//! `cargo xtask bench [journal|intake|e2e|idle|lock|sessions] [--json]` measures, in a release build.
#![expect(clippy::print_stdout, reason = "a tool speaks to the terminal")]

mod bench;
mod charts;
mod images;
mod setup;
mod shell;
mod test;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tool")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up tools, then format, lint, licence and documentation checks, then every test.
    Test {
        /// Only run tests whose name has one of these; skips the other checks.
        filters: Vec<String>,
    },
    /// Install what the tests need and nothing more.
    Setup,
    /// Check the house rules that the compiler does not know.
    Tidy,
    /// Build the container images from static binaries, into target/images.
    Images,
    /// Render the Helm charts for every documented set of values, and judge the result.
    Charts {
        /// Write what was rendered to deploy/charts/golden instead of comparing.
        #[arg(long)]
        bless: bool,
    },
    /// Measure against the limits of this machine, in the same run.
    Bench {
        /// journal, intake, e2e, idle, sessions; all if none is named.
        names: Vec<String>,
        /// One JSON object a benchmark instead of a table.
        #[arg(long)]
        json: bool,
        /// Agents of `sessions`; 5,000 if not given.
        #[arg(long)]
        agents: Option<u32>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Test { filters } => test::run(&filters),
        Command::Setup => setup::run(),
        Command::Tidy => tidy::run(),
        Command::Images => images::run(),
        Command::Charts { bless } => charts::run(bless),
        Command::Bench {
            names,
            json,
            agents,
        } => bench::run(&names, json, agents),
    }
}

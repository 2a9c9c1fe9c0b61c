//! Measures Zen Mesh against the limits of this disk and machine, side by side in one run.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool speaks to the terminal"
)]

mod e2e;
mod idle;
mod intake;
mod journal;
mod lock;
mod machine;
mod report;
mod sessions;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::machine::Machine;

#[derive(Parser)]
struct Cli {
    /// journal, intake, e2e, idle, lock, sessions; all if none is named.
    names: Vec<String>,
    /// One JSON object a benchmark.
    #[arg(long)]
    json: bool,
    /// Agents of `sessions`.
    #[arg(long, default_value_t = 5_000)]
    agents: usize,
    /// File with the address of a PostgreSQL database that `sessions` may fill; SQLite without.
    #[arg(long, value_name = "FILE")]
    postgres: Option<PathBuf>,
    /// Be the bare server that `sessions` is compared with, with the certificates in this folder.
    #[arg(long, hide = true, requires = "echo_address")]
    echo_server: Option<PathBuf>,
    #[arg(long, hide = true)]
    echo_address: Option<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let all = ["journal", "intake", "e2e", "idle", "lock", "sessions"];
    let names = if cli.names.is_empty() {
        all.map(ToOwned::to_owned).to_vec()
    } else {
        cli.names
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let (Some(folder), Some(address)) = (cli.echo_server, cli.echo_address) {
        return runtime.block_on(sessions::echo::serve(folder, address));
    }
    for name in &names {
        let machine = Machine::look()?;
        if !cli.json {
            println!("\n{name}  on {machine}");
        }
        let rows = match name.as_str() {
            "journal" => runtime.block_on(journal::run())?,
            "intake" => runtime.block_on(intake::run())?,
            "e2e" => runtime.block_on(e2e::run())?,
            "idle" => runtime.block_on(idle::run())?,
            "lock" => runtime.block_on(lock::run())?,
            "sessions" => {
                let asked = sessions::Asked {
                    agents: cli.agents,
                    postgres: cli.postgres.clone(),
                };
                runtime.block_on(sessions::run(asked))?
            }
            other => anyhow::bail!("there is no benchmark {other:?}: {}", all.join(", ")),
        };
        report::print(name, &machine, &rows, cli.json);
    }
    Ok(())
}

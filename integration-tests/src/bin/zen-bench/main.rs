//! Measures Zen Mesh against the limits of this disk and machine, side by side in one run.
#![expect(clippy::print_stdout, reason = "a tool speaks to the terminal")]

mod e2e;
mod idle;
mod intake;
mod journal;
mod machine;
mod report;

use clap::Parser;

use crate::machine::Machine;

#[derive(Parser)]
struct Cli {
    /// journal, intake, e2e, idle; all if none is named.
    names: Vec<String>,
    /// One JSON object a benchmark.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let all = ["journal", "intake", "e2e", "idle"];
    let names = if cli.names.is_empty() {
        all.map(ToOwned::to_owned).to_vec()
    } else {
        cli.names
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
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
            other => anyhow::bail!("there is no benchmark {other:?}: {}", all.join(", ")),
        };
        report::print(name, &machine, &rows, cli.json);
    }
    Ok(())
}

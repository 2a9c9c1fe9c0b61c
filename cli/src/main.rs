//! `zen`: the one command a person runs. `zen up` is the whole product in one process, `zen edge
//! run` an edge plane without Kubernetes, `zen doctor` looks for what is in an agent's way, every
//! other verb speaks to the REST API.
//!
//! Exit codes: 0 done, 1 failed, 2 there is something to do (`zen apply --plan-only --exit-code`),
//! 64 wrong usage, 78 wrong configuration.

mod api;
mod args;
mod context;
mod doctor;
mod edge;
mod embed;
mod mesh;
mod output;
mod seal;
#[cfg(feature = "up")]
mod up;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use zen_chassis::chain::Chain;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    zen_chassis::run::no_core_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do if the terminal is gone.
            let _printed = error.print();
            return if error.use_stderr() {
                ExitCode::from(zen_chassis::run::EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::complain(&Chain(error.as_ref()).to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli {
        output,
        connection,
        command,
    } = cli;
    let done = match command {
        Command::Apply(options) => {
            return mesh::apply::run(options, &connection.open()?, output).await;
        }
        Command::Export(options) => mesh::export::run(options, &connection.open()?, output).await,
        Command::Audit(verb) => verbs::audit::run(verb, &connection.open()?, output).await,
        Command::Root(verb) => verbs::root::run(verb, &connection.open()?, output).await,
        Command::User(verb) => verbs::user::run(verb, &connection.open()?, output).await,
        Command::ApiKey(verb) => verbs::api_key::run(verb, &connection.open()?, output).await,
        #[cfg(feature = "up")]
        Command::Up(options) => up::up(options, output).await,
        Command::Edge(args::Edge::Run(options)) => edge::run(options).await,
        Command::Edge(args::Edge::Health { admin }) => edge::health::run(admin).await,
        Command::Edge(args::Edge::Install(options)) => edge::install::run(&options),
        Command::Seal(options) => seal::run(options, &connection).await,
        Command::Doctor(options) => return doctor::run(options, &connection, output).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "zen", &mut std::io::stdout());
            Ok(())
        }
        Command::Plane(verb) => verbs::plane::run(verb, &connection.open()?, output).await,
        Command::Endpoint(verb) => verbs::endpoint::run(verb, &connection.open()?, output).await,
        Command::Target(verb) => verbs::target::run(verb, &connection.open()?, output).await,
        Command::Secret(verb) => verbs::secret::run(verb, &connection.open()?, output).await,
        Command::Flow(verb) => verbs::flow::run(verb, &connection.open()?, output).await,
        Command::Delivery(verb) => verbs::delivery::run(verb, &connection.open()?, output).await,
        Command::DeadLetter(verb) => {
            verbs::dead_letter::run(verb, &connection.open()?, output).await
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

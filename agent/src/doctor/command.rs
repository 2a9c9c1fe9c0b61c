//! `zen-agent doctor`: the checks with the agent's own settings. It only tells, so that an init
//! container keeps no agent from starting; with `--strict` a failed check is exit code 1.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use zen_chassis::Clock;
use zen_chassis::run::Subcommand;

use super::{Plan, Report, examine};
use crate::config::Config;

/// What the doctor adds to the agent's binary.
#[must_use]
pub fn subcommand() -> Subcommand<Config> {
    let command = Command::new("doctor")
        .about("Look for what stands between this agent and its work, and say how to mend it")
        .arg(
            Arg::new("strict")
                .long("strict")
                .action(ArgAction::SetTrue)
                .help("end with exit code 1 if a check fails"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_parser(["table", "json"])
                .default_value("table")
                .help("how the outcome is printed"),
        )
        .arg(
            Arg::new("control-plane")
                .long("control-plane")
                .value_name("HOST:PORT")
                .help("where the control plane is; default what identity or bundle say"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..=60))
                .help("time for each step of a check [default: 5]"),
        );
    Subcommand::new(command, |config, matches| Box::pin(run(config, matches)))
}

async fn run(config: Config, matches: ArgMatches) -> ExitCode {
    let mut plan = Plan::of(&config, Clock::system());
    plan.control_plane = matches.get_one("control-plane").cloned();
    plan.environment = super::environment();
    if let Some(seconds) = matches.get_one("timeout") {
        plan.patience = Duration::from_secs(*seconds);
    }
    let report = Box::pin(examine(&plan)).await;
    let as_json = matches
        .get_one::<String>("output")
        .is_some_and(|o| o == "json");
    print(&report, as_json);
    if report.failed() && matches.get_flag("strict") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[expect(clippy::print_stdout, reason = "the outcome is this command's result")]
fn print(report: &Report, as_json: bool) {
    if as_json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
}

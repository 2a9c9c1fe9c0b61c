//! What people do with `zen-lock` at a terminal: make keys, seal, open, seal again, look what is
//! sealed to which key. Nothing here needs a running zen-lock, and no secret is ever an argument.

mod armor;
mod audit;
mod content;
mod decrypt;
mod encrypt;
mod files;
mod import;
mod keygen;
mod keys;
mod manifest;
mod pubkey;
mod report;
mod rotate;
mod terminal;
mod values;

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command};
use zen_chassis::chain::Chain;
use zen_chassis::run::{EXIT_USAGE, Subcommand};

pub use content::{Content, Sealed};
use terminal::complain;

#[cfg(feature = "kubernetes")]
use crate::kubernetes::fetch::{self, Fetch};

/// Everything `zen-lock` does beside running.
#[must_use]
pub fn subcommands<C: 'static>() -> Vec<Subcommand<C>> {
    vec![
        verb("keygen", keygen::run),
        verb("pubkey", pubkey::run),
        verb("encrypt", encrypt::run),
        verb("decrypt", decrypt::run),
        verb("rotate", rotate::run),
        verb("report", report::run),
        verb("import", import::run),
        verb("audit", audit::run),
        #[cfg(feature = "kubernetes")]
        fetch(),
    ]
}

#[cfg(feature = "kubernetes")]
/// What the init container of a pod does.
fn fetch<C: 'static>() -> Subcommand<C> {
    let command = Fetch::augment_args(Command::new("fetch"));
    Subcommand::new(command, |_settings, matches| {
        Box::pin(async move {
            let outcome = match <Fetch as clap::FromArgMatches>::from_arg_matches(&matches) {
                Ok(asked) => fetch::run(asked).await,
                Err(error) => Err(error.into()),
            };
            match outcome {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&Chain(error.as_ref()).to_string());
                    ExitCode::FAILURE
                }
            }
        })
    })
}

/// A verb whose help is the documentation of its arguments.
fn verb<C: 'static, A: Args + Send + 'static>(
    name: &'static str,
    run: fn(A) -> anyhow::Result<ExitCode>,
) -> Subcommand<C> {
    let command = A::augment_args(Command::new(name));
    Subcommand::new(command, move |_settings, matches| {
        Box::pin(async move { carried_out(&matches, run) })
    })
}

fn carried_out<A: Args>(matches: &ArgMatches, run: fn(A) -> anyhow::Result<ExitCode>) -> ExitCode {
    let arguments = match A::from_arg_matches(matches) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to do if the terminal is gone.
            let _printed = error.print();
            return ExitCode::from(EXIT_USAGE);
        }
    };
    run(arguments).unwrap_or_else(|error| {
        complain(&Chain(error.as_ref()).to_string());
        ExitCode::FAILURE
    })
}

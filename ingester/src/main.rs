//! Entry point of zen-ingester.

use std::process::ExitCode;

fn main() -> ExitCode {
    zen_chassis::main::<zen_ingester::Ingester>()
}

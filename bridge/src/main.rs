//! Entry point of zen-bridge.

use std::process::ExitCode;

fn main() -> ExitCode {
    zen_chassis::main::<zen_bridge::Bridge>()
}

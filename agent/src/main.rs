//! Entry point of zen-agent.

fn main() -> std::process::ExitCode {
    zen_chassis::run::main_with::<zen_agent::Agent>(vec![zen_agent::doctor::subcommand()])
}

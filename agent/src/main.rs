//! Entry point of zen-agent.

fn main() -> std::process::ExitCode {
    zen_chassis::main::<zen_agent::Agent>()
}

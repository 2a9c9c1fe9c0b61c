//! Entry point of zen-lock.

fn main() -> std::process::ExitCode {
    zen_chassis::run::main_with::<zen_lock::Lock>(zen_lock::cli::subcommands())
}

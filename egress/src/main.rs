//! Entry point of zen-egress.

fn main() -> std::process::ExitCode {
    zen_chassis::main::<zen_egress::Egress>()
}

//! Entry point of zen-control-plane.

fn main() -> std::process::ExitCode {
    zen_chassis::main::<zen_control_plane::ControlPlane>()
}

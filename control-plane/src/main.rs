//! Entry point of zen-control-plane.

fn main() -> std::process::ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some("show") {
        return zen_control_plane::show(words);
    }
    zen_chassis::main::<zen_control_plane::ControlPlane>()
}

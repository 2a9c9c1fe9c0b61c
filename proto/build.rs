//! Compiles the protobuf files in pure Rust: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=protos");
    let files = [
        "agent",
        "delivery",
        "enrollment",
        "lock",
        "query",
        "relay",
        "session",
        "snapshot",
    ]
    .map(|name| format!("zen/{name}/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["protos"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

//! Packs the Helm charts of `../deploy/charts` into the binary: the control plane serves them, so a
//! cluster needs nothing but the control plane's own address.

#[path = "build/pack.rs"]
mod pack;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells its build scripts by environment"
)]
fn main() -> anyhow::Result<()> {
    let charts = Path::new("../deploy/charts");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed={}", charts.display());
    let out = PathBuf::from(std::env::var("OUT_DIR").context("OUT_DIR")?);
    let packages = pack::all(charts)?;
    let index = pack::index(&packages);
    let mut table = String::from("static SERVED: &[Served] = &[\n");
    let mut add = |file: &str, bytes: &[u8], digest: &str| -> anyhow::Result<()> {
        std::fs::write(out.join(file), bytes)?;
        writeln!(
            table,
            "    Served {{ file: {file:?}, digest: {digest:?}, \
             bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")) }},"
        )?;
        Ok(())
    };
    add(
        "index.yaml",
        index.as_bytes(),
        &pack::digest(index.as_bytes()),
    )?;
    for package in packages.iter().filter(|package| !package.library) {
        add(&package.file(), &package.bytes, &package.digest)?;
    }
    table.push_str("];\n");
    std::fs::write(out.join("charts.rs"), table)?;
    Ok(())
}

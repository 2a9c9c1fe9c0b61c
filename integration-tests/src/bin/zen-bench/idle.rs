//! What the product costs when nothing happens: memory of each component, size of each binary,
//! time from exec to ready.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use zen_integration_tests::tools;
use zen_integration_tests::unit::Unit;
use zen_integration_tests::world::World;

use crate::machine;
use crate::report::{Row, median};

const STARTS: usize = 5;
const BINARIES: [&str; 7] = [
    "zen-agent",
    "zen-ingester",
    "zen-egress",
    "zen-bridge",
    "zen-lock",
    "zen-control-plane",
    "zen",
];

pub(crate) async fn run() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut world = World::start_with(&["log.level=warn".to_owned()]).await?;
    // Memory settles after the first minute's worth of start-up work is given back.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut seen = Vec::new();
    for unit in world.units() {
        if seen.contains(&unit.binary) {
            continue;
        }
        seen.push(unit.binary);
        rows.push(figure(
            format!("{} RSS", unit.binary),
            rss_mib(unit)?,
            "MiB",
        ));
    }
    seen.clear();
    for unit in world.units() {
        if seen.contains(&unit.binary) {
            continue;
        }
        seen.push(unit.binary);
        rows.push(figure(
            format!("{} exec to ready", unit.binary),
            start_ms(unit).await?,
            "ms",
        ));
    }
    for binary in BINARIES {
        rows.push(figure(
            format!("{binary} stripped"),
            stripped_mb(binary)?,
            "MB",
        ));
    }
    Ok(rows)
}

fn figure(name: String, ours: f64, unit: &'static str) -> Row {
    Row {
        name,
        ours,
        unit,
        ..Row::default()
    }
}

pub(crate) fn rss_mib(unit: &Unit) -> anyhow::Result<f64> {
    let pid = unit.pid().context("not running")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .parse()?;
    Ok(kib / 1024.0)
}

/// Median time from exec until `/readyz` says so, with state on disk as after any restart.
async fn start_ms(unit: &mut Unit) -> anyhow::Result<f64> {
    let mut took = Vec::new();
    for _ in 0..STARTS {
        unit.terminate().await?;
        let start = Instant::now();
        unit.start()?;
        while !matches!(unit.pending().await, Ok(None)) {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(60),
                "{} not ready",
                unit.binary
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(took))
}

/// Size of the binary without symbols; with them if this machine has no `strip`.
fn stripped_mb(binary: &str) -> anyhow::Result<f64> {
    let path = tools::binary(binary)?;
    let folder = machine::folder()?;
    let copy = folder.path().join(binary);
    let stripped = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(&path)
        .status();
    let measured = if stripped.is_ok_and(|status| status.success()) {
        copy
    } else {
        path
    };
    Ok(std::fs::metadata(measured)?.len() as f64 / 1e6)
}

//! What the figures were taken on: processor, cores, load, and how long this disk takes to sync.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::report::median;

/// The machine as it was when the run began.
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    load: String,
    kernel: String,
    fdatasync_ms: f64,
}

impl Machine {
    pub(crate) fn look() -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned());
        Ok(Self {
            cpu,
            cores: std::thread::available_parallelism()?.get(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            fdatasync_ms: fdatasync_ms()?,
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "cpu": self.cpu, "cores": self.cores, "load": self.load, "kernel": self.kernel,
            "fdatasync_ms": self.fdatasync_ms })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            cores,
            load,
            kernel,
            fdatasync_ms,
        } = self;
        write!(
            f,
            "{cpu}, {cores} cores, load {load}, Linux {kernel}, fdatasync {fdatasync_ms:.2} ms"
        )
    }
}

/// A folder on the disk that the workspace is on.
pub(crate) fn folder() -> anyhow::Result<tempfile::TempDir> {
    let own = std::env::current_exe()?;
    let beside = own
        .parent()
        .map_or_else(|| PathBuf::from("."), ToOwned::to_owned);
    Ok(tempfile::Builder::new()
        .prefix("bench")
        .tempdir_in(beside)?)
}

/// Median time of one 4 KiB append with fdatasync.
fn fdatasync_ms() -> anyhow::Result<f64> {
    let folder = folder()?;
    let mut file = std::fs::File::create(folder.path().join("sync"))?;
    let mut took = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(took))
}

//! What another process costs, as the kernel counts it, and how many descriptors this one may have.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, getrlimit};

/// Descriptors left for everything that is not an agent's connection.
const OTHER_DESCRIPTORS: u64 = 500;
/// Clock ticks a second in `/proc/<pid>/stat` (`USER_HZ`, the same on every Linux).
const TICKS: f64 = 100.0;

/// Resident memory in KiB.
pub(super) fn rss_kib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("no VmRSS")?;
    Ok(kib.parse()?)
}

/// Processor time used so far, in seconds.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces: fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(") ").context("no fields")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |place: usize| -> anyhow::Result<f64> {
        Ok(fields.get(place).context("too few fields")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// Share of one core that a process uses over a span, in percent.
pub(super) async fn cpu_percent(pid: u32, span: Duration) -> anyhow::Result<f64> {
    let (start, before) = (Instant::now(), cpu_seconds(pid)?);
    tokio::time::sleep(span).await;
    Ok(100.0 * (cpu_seconds(pid)? - before) / start.elapsed().as_secs_f64())
}

/// As many of the agents wanted as this machine has descriptors for; the bound is the hard limit,
/// which only an administrator raises.
pub(super) fn affordable(wanted: usize) -> (usize, Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.current.or(limit.maximum);
    let fits = most.map_or(usize::MAX, |most| {
        usize::try_from(most.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(usize::MAX)
    });
    (wanted.min(fits), most)
}

/// Waits until a process's memory has not grown or shrunk by more than 1 % for five seconds.
pub(super) async fn settled_rss_kib(pid: u32) -> anyhow::Result<f64> {
    let mut last = rss_kib(pid)?;
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = rss_kib(pid)?;
        if (now - last).abs() > last / 100.0 {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(5) {
            return Ok(now);
        }
    }
}

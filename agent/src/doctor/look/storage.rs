//! How long the disk takes to keep something: small writes, each synced as the journal syncs.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zen_chassis::Random;
use zen_chassis::files;

/// Writes that are measured.
const WRITES: usize = 100;
/// Bytes of each.
const SIZE: usize = 4096;
/// No further write is begun after this.
const BUDGET: Duration = Duration::from_secs(3);
/// A disk that has not come to an end by then is slow, whatever the numbers.
const LIMIT: Duration = Duration::from_secs(10);

/// What was found.
pub(crate) enum Disk {
    /// Nothing is kept in a folder.
    None,
    /// Nothing can be kept there.
    Unwritable { folder: PathBuf, error: String },
    /// 99 of 100 writes were synced within this.
    Measured {
        folder: PathBuf,
        p99: Duration,
        writes: usize,
    },
    /// Not even the few writes came to an end.
    NoEnd { folder: PathBuf, limit: Duration },
}

/// Measures the disk of `folder`, which is made for the while if it is not there.
pub(crate) async fn look(folder: Option<&Path>) -> Disk {
    let Some(folder) = folder.map(ToOwned::to_owned) else {
        return Disk::None;
    };
    let inside = folder.clone();
    let measuring = tokio::task::spawn_blocking(move || measure(&inside));
    let unwritable = |error| Disk::Unwritable {
        folder: folder.clone(),
        error,
    };
    match tokio::time::timeout(LIMIT, measuring).await {
        Ok(Ok(Ok(mut took))) => Disk::Measured {
            p99: p99(&mut took),
            writes: took.len(),
            folder,
        },
        Ok(Ok(Err(error))) => unwritable(error.to_string()),
        Ok(Err(error)) => unwritable(error.to_string()),
        Err(_) => Disk::NoEnd {
            folder,
            limit: LIMIT,
        },
    }
}

fn measure(folder: &Path) -> io::Result<Vec<Duration>> {
    let was_there = folder.exists();
    if !was_there {
        files::make_private_folder(folder).map_err(|error| error.source)?;
    }
    let took = writes(folder);
    if !was_there {
        // Left to the agent to make; if something is in it already, it stays.
        let _kept = std::fs::remove_dir(folder);
    }
    took
}

fn writes(folder: &Path) -> io::Result<Vec<Duration>> {
    let name = hex::encode(Random::system().bytes::<8>());
    let path = folder.join(format!(".zen-doctor-{name}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    // Without a name, it is gone whatever happens.
    std::fs::remove_file(&path)?;
    let begun = Instant::now();
    let mut took = Vec::with_capacity(WRITES);
    while took.len() < WRITES && begun.elapsed() < BUDGET {
        let one = Instant::now();
        file.write_all(&[0x5a; SIZE])?;
        file.sync_data()?;
        took.push(one.elapsed());
    }
    Ok(took)
}

fn p99(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    let place = (took.len() * 99).div_ceil(100).saturating_sub(1);
    took.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p99_is_the_one_that_one_in_a_hundred_exceeds() {
        let mut took: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(p99(&mut took), Duration::from_millis(99));
        assert_eq!(p99(&mut took[..1]), Duration::from_millis(1));
        assert_eq!(p99(&mut []), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_disk_is_measured_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let not_there = folder.path().join("a/state");
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let found = look(Some(&not_there)).await;
        assert!(matches!(found, Disk::Measured { writes: 1.., .. }));
        assert!(!not_there.exists());
        let found = look(Some(folder.path())).await;
        assert!(matches!(found, Disk::Measured { .. }));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

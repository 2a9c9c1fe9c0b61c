//! Ports that a test may bind again and again: below the range the kernel hands out by itself
//! (ip_local_port_range), so that no outgoing connection takes them while their owner is dead,
//! and locked against other test processes.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use rand::RngExt;
use rustix::fs::{FlockOperation, flock};

/// A reserved loopback port; given back when it is dropped.
pub struct Port {
    /// The address to bind.
    pub address: SocketAddr,
    _lock: File,
}

/// Reserves a free port.
///
/// # Errors
/// When none is found.
pub fn reserve() -> anyhow::Result<Port> {
    let folder = std::env::temp_dir().join("zen-test-ports");
    std::fs::create_dir_all(&folder)?;
    for _ in 0..1_000 {
        let port: u16 = rand::rng().random_range(10_000..30_000);
        let lock = File::create(folder.join(port.to_string()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(Port {
                address,
                _lock: lock,
            });
        }
    }
    None.context("no free port found")
}

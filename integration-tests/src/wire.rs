//! A TCP wire between two processes that a test can cut, or make swallow what flows back: the
//! lost reply.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the wire does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Passes everything.
    Pass = 0,
    /// Accepts connections and closes them.
    Cut = 1,
}

/// A running wire.
pub struct Wire {
    /// Where to dial instead of the real address.
    pub address: SocketAddr,
    mode: Arc<AtomicU8>,
    /// Bytes that may still flow back on a connection before it is cut; `u64::MAX` is no limit.
    back: Arc<std::sync::atomic::AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Wire {
    /// A wire on `listener` to `to`.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start(listener: TcpListener, to: SocketAddr) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let mode = Arc::new(AtomicU8::new(Mode::Pass as u8));
        let back = Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
        let mut tasks = JoinSet::new();
        tasks.spawn(carry(listener, to, Arc::clone(&mode), Arc::clone(&back)));
        Ok(Self {
            address,
            mode,
            back,
            _tasks: tasks,
        })
    }

    /// Changes what new connections, and those open, meet.
    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Lets only so many bytes flow back on each new connection, then cuts it: the request
    /// arrived, its reply is lost.
    pub fn limit_replies(&self, bytes: u64) {
        self.back.store(bytes, Ordering::SeqCst);
    }
}

async fn carry(
    listener: TcpListener,
    to: SocketAddr,
    mode: Arc<AtomicU8>,
    back: Arc<std::sync::atomic::AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let near = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        if mode.load(Ordering::SeqCst) == Mode::Cut as u8 {
            continue;
        }
        let (mode, left) = (Arc::clone(&mode), back.load(Ordering::SeqCst));
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(to).await else {
                return;
            };
            let ((near_read, near_write), (far_read, far_write)) =
                (near.into_split(), far.into_split());
            tokio::select! {
                () = pump(near_read, far_write, &mode, u64::MAX) => {}
                () = pump(far_read, near_write, &mode, left) => {}
            }
        });
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mode: &AtomicU8,
    mut left: u64,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        let over = count as u64 > left;
        if count == 0 || over || mode.load(Ordering::SeqCst) == Mode::Cut as u8 {
            return;
        }
        if left != u64::MAX {
            left -= count as u64;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

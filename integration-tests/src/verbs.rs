//! The built `zen` against a running control plane.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::tools;
use crate::world::Seat;

/// Runs a verb as the owner and waits for its end; `input` is its standard input.
///
/// # Errors
/// When it cannot be run.
pub async fn zen(seat: &Seat, words: &[&str], input: &str) -> anyhow::Result<Output> {
    let server = format!("http://{}", seat.http.address);
    zen_at(&server, &seat.dir.path().join("cp/api-key"), words, input).await
}

/// Runs a verb against a server with a key.
///
/// # Errors
/// When it cannot be run.
pub async fn zen_at(
    server: &str,
    key: &Path,
    words: &[&str],
    input: &str,
) -> anyhow::Result<Output> {
    let mut child = Command::new(tools::binary("zen")?)
        .args(words)
        .args(["--server", server])
        .arg("--api-key-file")
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A refused command line does not read what it is given.
        let _written = stdin.write_all(input.as_bytes()).await;
    }
    Ok(child.wait_with_output().await?)
}

/// What it said to people.
#[must_use]
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

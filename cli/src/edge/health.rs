//! `zen edge health`: what a container without a shell asks itself.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Time for question and answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest answer.
const ANSWER: usize = 64 * 1024;

/// Fine if the admin listener says that all is ready; else the error is what is pending.
pub(crate) async fn run(admin: SocketAddr) -> anyhow::Result<()> {
    let (ready, said) = tokio::time::timeout(PATIENCE, ask(admin))
        .await
        .with_context(|| format!("no answer from {admin} within {PATIENCE:?}"))?
        .with_context(|| format!("no edge plane answers at {admin}"))?;
    anyhow::ensure!(ready, "not ready: {}", said.trim());
    Ok(())
}

async fn ask(admin: SocketAddr) -> anyhow::Result<(bool, String)> {
    let socket = TcpStream::connect(admin).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let request = Request::get("/readyz")
        .header(http::header::HOST, admin.to_string())
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let ready = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok((ready, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::select! {
        answer = answer => answer,
        // It is driven here; it ends after the answer, unless it breaks.
        ended = connection => {
            ended?;
            anyhow::bail!("the connection ended without an answer")
        }
    }
}

//! Intake of the built ingester over HTTP/1.1 keep-alive: 64 connections, 1 KiB, GitHub signature
//! checked, 2xx = fsynced; and the same with the journal switched to memory.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use zen_integration_tests::fake_agent::FakeAgent;
use zen_integration_tests::ports;
use zen_integration_tests::sign;
use zen_integration_tests::unit::Unit;
use zen_proto::agent::v1::Slice;
use zen_proto::ids::{EndpointId, Id, PlaneId, TenantId};
use zen_proto::snapshot::v1::{Endpoint, Scheme, Snapshot, Verification};

use crate::machine;
use crate::report::{Row, median};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const SECRET: &[u8] = b"It's a secret to everybody";

pub(crate) async fn run() -> anyhow::Result<Vec<Row>> {
    let (mut durable, mut memory) = (Vec::new(), Vec::new());
    let (mut took, mut took_memory) = (Histogram::new(3)?, Histogram::new(3)?);
    for _ in 0..ROUNDS {
        durable.push(round("fsync", &mut took).await?);
        memory.push(round("memory", &mut took_memory).await?);
    }
    let (durable, memory) = (median(durable), median(memory));
    Ok(vec![
        Row::rate("intake/fsync", durable, "events/s", &took).against(memory),
        Row::rate("intake/memory", memory, "events/s", &took_memory),
    ])
}

/// Starts an ingester, loads it for one round, stops it; the answer is its rate.
async fn round(durability: &str, took: &mut Histogram<u64>) -> anyhow::Result<f64> {
    let folder = machine::folder()?;
    let endpoint = EndpointId::generate(1_700_000_000_000, [7; 10]);
    let sockets = tempfile::tempdir()?;
    let socket = sockets.path().join("a.sock");
    let _agent = FakeAgent::start(&socket, slice(endpoint))?;
    std::fs::create_dir(folder.path().join("secrets"))?;
    std::fs::write(folder.path().join("secrets/github"), SECRET)?;
    let listen = ports::reserve()?;
    let mut ingester = Unit::new(
        "zen-ingester",
        folder.path(),
        vec![
            format!("state_dir={}", folder.path().join("state").display()),
            format!("secrets_dir={}", folder.path().join("secrets").display()),
            format!("agent.address=unix:{}", socket.display()),
            format!("listen={}", listen.address),
            format!("journal.durability={durability}"),
            "egress=null".to_owned(),
            "log.level=warn".to_owned(),
        ],
    )?;
    ingester.start()?;
    ingester.ready().await?;
    let rate = load(listen.address, &format!("/hooks/{endpoint}"), took).await;
    ingester.terminate().await?;
    keep_log_on_failure(folder.path(), rate)
}

fn keep_log_on_failure(folder: &Path, rate: anyhow::Result<f64>) -> anyhow::Result<f64> {
    rate.with_context(|| format!("the ingester's log was in {}", folder.display()))
}

fn slice(endpoint: EndpointId) -> Slice {
    let tenant = TenantId::generate(1_700_000_000_000, [1; 10]).to_string();
    let endpoint = Endpoint {
        id: endpoint.to_string(),
        tenant_id: tenant.clone(),
        name: "bench".to_owned(),
        verification: Some(Verification {
            scheme: Scheme::Github.into(),
            secrets: vec!["file:github".to_owned()],
            tolerance_seconds: 0,
        }),
        ..Endpoint::default()
    };
    let snapshot = Snapshot {
        version: 1,
        revision: 1,
        tenant_id: tenant,
        plane_id: PlaneId::generate(1_700_000_000_000, [2; 10]).to_string(),
        endpoints: vec![endpoint],
        ..Snapshot::default()
    };
    Slice {
        snapshot: Some(snapshot),
        ..Slice::default()
    }
}

/// Posts from all connections for one round.
async fn load(address: SocketAddr, path: &str, took: &mut Histogram<u64>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let until = start + ROUND;
    let mut running = JoinSet::new();
    for connection in 0..CONNECTIONS {
        running.spawn(post_until(address, path.to_owned(), connection, until));
    }
    let mut count = 0_u64;
    while let Some(latencies) = running.join_next().await {
        for latency in latencies?? {
            count += 1;
            took.record(u64::try_from(latency.as_micros())?)?;
        }
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// One keep-alive connection: writes a request, reads the whole answer, and again.
async fn post_until(
    address: SocketAddr,
    path: String,
    connection: usize,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let body = vec![b'x'; 1024];
    let signature = sign::github(SECRET, &body);
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         x-github-event: push\r\nx-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\
         x-github-delivery: 0000000000000000\r\n\r\n",
        body.len()
    )
    .into_bytes();
    let number_at = request.len() - 4 - 16;
    request.extend_from_slice(&body);
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4096];
    let mut took = Vec::new();
    let mut number = (connection as u64) << 40;
    while Instant::now() < until {
        number += 1;
        request[number_at..number_at + 16].copy_from_slice(format!("{number:016x}").as_bytes());
        let start = Instant::now();
        stream.write_all(&request).await?;
        read_answer(&mut stream, &mut buffer).await?;
        took.push(start.elapsed());
    }
    Ok(took)
}

/// Reads one answer with a content length; anything but 202 is a failure.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        anyhow::ensure!(count > 0, "the connection was closed");
        filled += count;
        let text = &buffer[..filled];
        let Some(head) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let lines = std::str::from_utf8(&text[..head])?;
        anyhow::ensure!(lines.starts_with("HTTP/1.1 202"), "refused: {lines}");
        let length: usize = lines
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .context("no content length")?;
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}

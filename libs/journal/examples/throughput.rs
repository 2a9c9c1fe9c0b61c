//! Appends per second, every ack after the sync: this journal against a bare file driven the same way.
//!
//! `cargo run --release -p zen-journal --example throughput [seconds] [directory]`
#![expect(clippy::print_stdout, reason = "it prints its measurements")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use zen_journal::{Journal, Options};

const RECORD: usize = 1024;
const ROUNDS: usize = 9;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .map_or(Ok(2.0), |argument| argument.parse())?;
    let dir = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let time = Duration::from_secs_f64(seconds);
    println!(
        "{:>9} {:>12} {:>12} {:>6} {:>10}",
        "producers", "journal/s", "bare/s", "ratio", "p99"
    );
    for producers in [1, 64, 1024] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            // By turns, so that a noisy neighbour meets both.
            let bare = bare_file(&dir, producers, time).await?;
            rounds.push((journal(&dir, producers, time).await?, bare));
        }
        rounds.sort_by(|(left, left_bare), (right, right_bare)| {
            (left.rate / left_bare.rate).total_cmp(&(right.rate / right_bare.rate))
        });
        let (ours, bare) = &rounds[ROUNDS / 2];
        let (ratio, p99) = (ours.rate / bare.rate, ours.p99);
        println!(
            "{producers:>9} {:>12.0} {:>12.0} {ratio:>6.2} {p99:>10.2?}",
            ours.rate, bare.rate
        );
    }
    Ok(())
}

struct Measured {
    rate: f64,
    p99: Duration,
}

async fn journal(dir: &Path, producers: usize, time: Duration) -> Result<Measured, std::io::Error> {
    let dir = dir.join("zen-journal-throughput");
    let (journal, _) = Journal::open(&dir, Options::default())
        .await
        .map_err(std::io::Error::other)?;
    let appending = journal.clone();
    let measured = drive(producers, time, move |payload| {
        let journal = appending.clone();
        async move { journal.append(payload).await.is_ok() }
    })
    .await;
    journal.close().await;
    std::fs::remove_dir_all(dir)?;
    Ok(measured)
}

type Waiting = (Bytes, oneshot::Sender<()>);

/// The least that gives the same promise: queue, writer thread, one write and one sync per batch, acks.
async fn bare_file(
    dir: &Path,
    producers: usize,
    time: Duration,
) -> Result<Measured, std::io::Error> {
    let path = dir.join("zen-journal-throughput.bare");
    let mut file = File::create(&path)?;
    let (queue, mut queued) = mpsc::channel::<Waiting>(8192);
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let mut batch = Vec::with_capacity(1024);
        let mut buffer = Vec::new();
        while queued.blocking_recv_many(&mut batch, 1024) > 0 {
            buffer.clear();
            for (payload, _) in &batch {
                buffer.extend_from_slice(payload);
            }
            file.write_all(&buffer)?;
            file.sync_data()?;
            for (_, ack) in batch.drain(..) {
                // A producer whose time is up no longer waits.
                _ = ack.send(());
            }
        }
        Ok(())
    });
    let queue = Arc::new(queue);
    let measured = drive(producers, time, move |payload| {
        let queue = Arc::clone(&queue);
        async move {
            let (ack, acked) = oneshot::channel();
            queue.send((payload, ack)).await.is_ok() && acked.await.is_ok()
        }
    })
    .await;
    writer
        .join()
        .map_err(|_panic| std::io::Error::other("the writer died"))??;
    std::fs::remove_file(path)?;
    Ok(measured)
}

/// Runs producers that each append and wait, one record after the other.
async fn drive<F, A>(producers: usize, time: Duration, append: F) -> Measured
where
    F: Fn(Bytes) -> A + Clone + Send + 'static,
    A: Future<Output = bool> + Send,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|producer| {
            let append = append.clone();
            tokio::spawn(async move {
                let content: Vec<u8> = (0..RECORD)
                    .map(|index| (index * 31 + producer * 17) as u8)
                    .collect();
                let payload = Bytes::from(content);
                let mut latencies = Vec::new();
                while began.elapsed() < time {
                    let asked = Instant::now();
                    if !append(payload.clone()).await {
                        break;
                    }
                    latencies.push(asked.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap_or_default());
    }
    let rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let p99 = latencies
        .get(latencies.len() * 99 / 100)
        .copied()
        .unwrap_or_default();
    Measured { rate, p99 }
}

//! Journal append against a bare file with the same group commit: one writer thread drains a
//! queue, writes once, syncs once, acknowledges all.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zen_journal::{Journal, Options};

use crate::machine;
use crate::report::{Row, median};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const RECORD: usize = 1024;

pub(crate) async fn run() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for writers in [1, 64, 1024] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        let mut took = Histogram::new(3)?;
        for _ in 0..ROUNDS {
            bare.push(bare_file(writers).await?);
            let (rate, latencies) = journal(writers).await?;
            ours.push(rate);
            took.add(latencies)?;
        }
        let row = Row::rate(
            &format!("append/{writers}"),
            median(ours),
            "events/s",
            &took,
        );
        rows.push(row.against(median(bare)));
    }
    Ok(rows)
}

async fn journal(writers: usize) -> anyhow::Result<(f64, Histogram<u64>)> {
    let folder = machine::folder()?;
    let (journal, _) = Journal::open(folder.path().join("log"), Options::default()).await?;
    let append = {
        let journal = journal.clone();
        move |record: Bytes| {
            let journal = journal.clone();
            async move { journal.append(record).await.is_ok() }
        }
    };
    let measured = drive(writers, append).await?;
    journal.close().await;
    Ok(measured)
}

async fn bare_file(writers: usize) -> anyhow::Result<f64> {
    let folder = machine::folder()?;
    let mut file = File::create(folder.path().join("bare"))?;
    let (queue, mut queued) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(8192);
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut buffer, mut acks) = (Vec::new(), Vec::new());
        while let Some((record, ack)) = queued.blocking_recv() {
            buffer.extend_from_slice(&record);
            acks.push(ack);
            while let Ok((record, ack)) = queued.try_recv() {
                buffer.extend_from_slice(&record);
                acks.push(ack);
            }
            file.write_all(&buffer)?;
            file.sync_data()?;
            buffer.clear();
            for ack in acks.drain(..) {
                // A writer that stopped waiting at the end of its round.
                let _gone = ack.send(());
            }
        }
        Ok(())
    });
    let append = move |record: Bytes| {
        let queue = queue.clone();
        async move {
            let (ack, acked) = oneshot::channel();
            queue.send((record, ack)).await.is_ok() && acked.await.is_ok()
        }
    };
    let (rate, _) = drive(writers, append).await?;
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(rate)
}

/// Appends from `writers` tasks for one round; the answer is the rate and what each took in µs.
async fn drive<F>(
    writers: usize,
    append: impl Fn(Bytes) -> F + Clone + Send + 'static,
) -> anyhow::Result<(f64, Histogram<u64>)>
where
    F: Future<Output = bool> + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let record = Bytes::from(vec![7; RECORD]);
    let start = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..writers {
        let (append, over, record) = (append.clone(), Arc::clone(&over), record.clone());
        running.spawn(async move {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                if !append(record.clone()).await {
                    break;
                }
                took.push(start.elapsed());
            }
            took
        });
    }
    tokio::time::sleep(ROUND).await;
    over.store(true, Ordering::Relaxed);
    let all = running.join_all().await;
    let seconds = start.elapsed().as_secs_f64();
    let mut histogram = Histogram::new(3)?;
    let mut count = 0_u64;
    for took in all.into_iter().flatten() {
        count += 1;
        histogram.record(u64::try_from(took.as_micros())?)?;
    }
    anyhow::ensure!(count > 0, "nothing was appended");
    Ok((count as f64 / seconds, histogram))
}

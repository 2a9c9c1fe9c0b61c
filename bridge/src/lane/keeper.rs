//! The one task that reads a lane's journal and keeps its book: it hands out what waits, takes in
//! credits and acknowledgements, and lets what expires go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};
use zen_chassis::chain::Chain;
use zen_journal::{Position, ReadError, Reader, Record};
use zen_proto::limits;
use zen_proto::relay::v1::{Parcel, PositionedParcel};

use super::attachment::Batch;
use super::book::{AttachmentId, Book, Entry};
use super::committer::Progress;
use super::{Lane, record};

/// How often waiting parcels are looked at for their expiry.
const SWEEP: Duration = Duration::from_secs(1);

/// What attachments tell the keeper.
pub(super) enum Command {
    Attach {
        batches: mpsc::Sender<Batch>,
        answer: oneshot::Sender<AttachmentId>,
    },
    /// It waits for its next batch.
    Ask(AttachmentId),
    Grant(AttachmentId, u32),
    Acknowledge(Vec<u64>),
}

/// A read under way, with the reader it borrowed.
type Reading = BoxFuture<'static, (Reader, Result<Vec<Record>, ReadError>)>;

/// The reader, at rest or at work. A read is never cancelled half way: acknowledgements come in
/// more often than a disk answers.
enum Hand {
    Free(Reader),
    Busy(Reading),
    /// The log cannot be read on.
    Lost,
}

/// The keeper of one lane.
pub(super) struct Keeper {
    lane: Lane,
    book: Book,
    hand: Hand,
    /// Parcels just read and not yet handed out.
    loaded: HashMap<Position, Parcel>,
    outlets: HashMap<AttachmentId, mpsc::Sender<Batch>>,
    leaving: FuturesUnordered<BoxFuture<'static, AttachmentId>>,
    orders: mpsc::Receiver<Command>,
    progress: watch::Sender<Progress>,
    settled_records: u64,
}

impl Keeper {
    pub(super) fn new(
        lane: Lane,
        settled: Position,
        orders: mpsc::Receiver<Command>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let reader = lane.0.journal.reader(settled);
        let book = Book::new(settled, lane.0.setup.max_in_flight);
        Self {
            lane,
            book,
            hand: Hand::Free(reader),
            loaded: HashMap::new(),
            outlets: HashMap::new(),
            leaving: FuturesUnordered::new(),
            orders,
            progress,
            settled_records: 0,
        }
    }

    /// Until the lane closes or its log cannot be read any more.
    pub(super) async fn run(mut self) {
        let closing = self.lane.0.closing.clone();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !closing.is_cancelled() {
            self.hand_out().await;
            self.tell();
            self.reach_for_more();
            tokio::select! {
                // Orders first: what an attachment said before it left must count.
                biased;
                () = closing.cancelled() => break,
                Some(order) = self.orders.recv() => self.obey(order),
                Some(id) = self.leaving.next() => self.let_go(id),
                outcome = read(&mut self.hand) => self.take_in(outcome),
                _ = sweep.tick(), if self.book.has_waiting() => {}
            }
        }
        // Whoever is attached sees its batches end and detaches by itself.
        let left = self.outlets.len();
        self.count_attached(-i64::try_from(left).unwrap_or(i64::MAX));
        self.tell();
    }

    fn obey(&mut self, order: Command) {
        match order {
            Command::Attach { batches, answer } => {
                let id = self.book.attach();
                let gone = batches.clone();
                self.leaving.push(
                    async move {
                        gone.closed().await;
                        id
                    }
                    .boxed(),
                );
                self.outlets.insert(id, batches);
                self.count_attached(1);
                // If it left meanwhile, its closed batches tell so.
                let _told = answer.send(id);
            }
            Command::Ask(id) => self.book.ask(id),
            Command::Grant(id, parcels) => self.book.grant(id, parcels),
            Command::Acknowledge(positions) => {
                let known = positions
                    .into_iter()
                    .filter(|p| self.book.acknowledge(Position(*p)))
                    .count();
                self.lane
                    .0
                    .setup
                    .metrics
                    .acknowledged
                    .add(known as u64, &[]);
                self.settled(known as u64);
            }
        }
    }

    fn let_go(&mut self, id: AttachmentId) {
        self.book.detach(id);
        self.outlets.remove(&id);
        self.count_attached(-1);
    }

    /// Starts a read if the book wants one and none is under way.
    fn reach_for_more(&mut self) {
        let wanted = self.book.wanted();
        if wanted == 0 || !matches!(self.hand, Hand::Free(_)) {
            return;
        }
        if let Hand::Free(mut reader) = std::mem::replace(&mut self.hand, Hand::Lost) {
            let reading = async move {
                let outcome = reader
                    .next_batch(wanted, limits::DELIVERY_BATCH_BYTES)
                    .await;
                (reader, outcome)
            };
            self.hand = Hand::Busy(reading.boxed());
        }
    }

    /// What was read becomes known.
    fn take_in(&mut self, (mut reader, outcome): (Reader, Result<Vec<Record>, ReadError>)) {
        match outcome {
            Ok(records) => records.into_iter().for_each(|record| self.learn(record)),
            Err(ReadError::Closed) => return,
            Err(error) => {
                self.report(&error);
                let Some(next) = way_past(&error) else {
                    // Opened anew, the journal recovers what can be.
                    self.lane.0.closing.cancel();
                    return;
                };
                reader.skip_to(next);
                self.book.pass(next);
            }
        }
        self.hand = Hand::Free(reader);
    }

    fn learn(&mut self, record: Record) {
        let Record {
            position,
            next,
            payload,
        } = record;
        let stored = match record::decode(payload) {
            Ok(stored) => stored,
            Err(error) => {
                self.damaged(position, &error);
                self.book.pass(next);
                self.settled(1);
                return;
            }
        };
        let entry = Entry {
            accepted_at_ms: stored.accepted_at_ms,
            deadline_ms: self
                .lane
                .deadline_ms(stored.accepted_at_ms, stored.parcel.expires_at_ms),
            bytes: stored.parcel.encoded_len(),
            sent: false,
        };
        self.book.know(position, next, entry);
        self.loaded.insert(position, stored.parcel);
    }

    /// Gives everybody who asks what it can take.
    async fn hand_out(&mut self) {
        let expired = self.book.expire(self.lane.0.setup.clock.unix_ms());
        if expired > 0 {
            tracing::warn!(plane = %self.lane.0.plane, expired, "parcels expired before they were taken");
            self.lane.0.setup.metrics.expired(expired);
            self.settled(expired);
        }
        while let Some(handed) = self.book.hand_over() {
            let mut batch = Batch::with_capacity(handed.positions.len());
            for position in handed.positions {
                if let Some(parcel) = self.load(position).await {
                    batch.push(PositionedParcel {
                        position: position.0,
                        parcel: Some(parcel),
                    });
                }
            }
            let metrics = &self.lane.0.setup.metrics;
            metrics.relayed.add(batch.len() as u64, &[]);
            metrics.redelivered.add(handed.again, &[]);
            if batch.is_empty() {
                // All of it was damaged: it still waits for parcels.
                self.book.ask(handed.to);
            } else if let Some(outlet) = self.outlets.get(&handed.to) {
                // It asked, so there is room; if it is gone, its parcels come back when it is let go.
                let _sent = outlet.try_send(batch);
            }
        }
        // What nobody took is read again when somebody does, rather than kept.
        self.loaded.clear();
    }

    /// The parcel at a known position, from memory or from the log.
    async fn load(&mut self, position: Position) -> Option<Parcel> {
        if let Some(parcel) = self.loaded.remove(&position) {
            return Some(parcel);
        }
        match self.lane.0.journal.read(position).await {
            Ok(payload) => match record::decode(payload) {
                Ok(stored) => return Some(stored.parcel),
                Err(error) => self.damaged(position, &error),
            },
            Err(error @ (ReadError::Closed | ReadError::Io(_))) => {
                // It stays in the lane and is sent after the next opening.
                self.report(&error);
                self.lane.0.closing.cancel();
                return None;
            }
            Err(error) => self.report(&error),
        }
        self.book.settle(position);
        self.settled(1);
        None
    }

    fn report(&self, error: &ReadError) {
        let plane = self.lane.0.plane;
        if let ReadError::Corrupt {
            segment, position, ..
        } = error
        {
            self.lane.0.setup.metrics.corrupt.add(1, &[]);
            tracing::error!(
                %plane, code = error.code(), segment = %segment.display(), %position,
                "damaged record in a lane"
            );
        } else {
            tracing::error!(%plane, code = error.code(), error = %Chain(error), "lane not readable");
        }
    }

    fn damaged(&self, position: Position, error: &record::RecordError) {
        self.lane.0.setup.metrics.corrupt.add(1, &[]);
        tracing::error!(
            plane = %self.lane.0.plane, code = "RECORD_UNREADABLE", %position, error = %Chain(error),
            "unreadable record in a lane"
        );
    }

    fn count_attached(&self, change: i64) {
        let attached = isize::try_from(change).unwrap_or(0);
        self.lane
            .0
            .figures
            .attached
            .fetch_add(attached.cast_unsigned(), Ordering::AcqRel);
        self.lane.0.setup.metrics.attached.add(change, &[]);
    }

    /// Counts records that no longer wait.
    fn settled(&mut self, records: u64) {
        self.settled_records += records;
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        self.lane
            .0
            .figures
            .backlog
            .fetch_sub(records, Ordering::AcqRel);
    }

    /// Shows others how far it has come.
    fn tell(&self) {
        let settled = self.book.settled();
        let figures = &self.lane.0.figures;
        figures.settled.store(settled.0, Ordering::Release);
        figures.oldest_ms.store(
            self.book.oldest_accepted_at_ms().unwrap_or(0),
            Ordering::Release,
        );
        if settled == self.lane.0.journal.end() && figures.is_quiet() {
            // Nothing is left: sets right what an append that was given up half way has miscounted.
            figures.backlog.store(0, Ordering::Release);
        }
        let records = self.settled_records;
        self.progress.send_if_modified(|told| {
            let changed = told.settled != settled;
            *told = Progress { settled, records };
            changed
        });
    }
}

/// Waits for the read under way; for ever if there is none.
async fn read(hand: &mut Hand) -> (Reader, Result<Vec<Record>, ReadError>) {
    match hand {
        Hand::Busy(reading) => {
            let outcome = reading.await;
            *hand = Hand::Lost;
            outcome
        }
        Hand::Free(_) | Hand::Lost => std::future::pending().await,
    }
}

/// Where reading can go on after a failure, if it can.
pub(super) fn way_past(error: &ReadError) -> Option<Position> {
    match error {
        ReadError::Corrupt { next, .. } => *next,
        ReadError::Trimmed { oldest } => Some(*oldest),
        ReadError::BeyondEnd { .. } | ReadError::Io(_) | ReadError::Closed => None,
    }
}

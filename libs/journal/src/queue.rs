//! The bounded queue between those who append and the writer thread.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use crate::frame::{MAX_APPEND_ALL, MAX_RECORD, frame_len};
use crate::{AppendError, Position};

/// One place in the queue per begun unit of payload, so that the queue bounds memory as well as count.
const UNIT: usize = 8 << 10;

/// What is appended together, and who waits for it.
pub(crate) enum Work {
    One(Bytes, oneshot::Sender<Result<Position, AppendError>>),
    Many(
        Vec<Bytes>,
        oneshot::Sender<Result<Vec<Position>, AppendError>>,
    ),
}

impl Work {
    /// The payloads in order.
    pub(crate) fn payloads(&self) -> &[Bytes] {
        match self {
            Self::One(payload, _) => std::slice::from_ref(payload),
            Self::Many(payloads, _) => payloads,
        }
    }

    /// Acknowledges: the first frame stands at `start`. Returns where the last one ends.
    /// Whoever stopped waiting is not told; the record is durable all the same.
    pub(crate) fn acknowledge(self, start: u64) -> u64 {
        match self {
            Self::One(payload, waiting) => {
                _ = waiting.send(Ok(Position(start)));
                start + frame_len(payload.len())
            }
            Self::Many(payloads, waiting) => {
                let mut at = start;
                let place = |payload: &Bytes| {
                    let position = Position(at);
                    at += frame_len(payload.len());
                    position
                };
                let positions = payloads.iter().map(place).collect();
                _ = waiting.send(Ok(positions));
                at
            }
        }
    }

    /// Tells whoever waits that nothing was promised.
    pub(crate) fn refuse(self, error: AppendError) {
        match self {
            Self::One(_, waiting) => _ = waiting.send(Err(error)),
            Self::Many(_, waiting) => _ = waiting.send(Err(error)),
        }
    }
}

/// Work with its place in the queue.
pub(crate) struct Entry {
    pub(crate) work: Work,
    /// What its frames take, in bytes.
    pub(crate) bytes: u64,
    places: u32,
}

impl Entry {
    /// Checks the sizes and counts what the work will take.
    pub(crate) fn new(work: Work) -> Result<Self, AppendError> {
        let sizes = || work.payloads().iter().map(Bytes::len);
        let total: usize = sizes().sum();
        if let Some(bytes) = sizes().find(|size| *size > MAX_RECORD) {
            return Err(AppendError::TooLarge { bytes });
        }
        if total > MAX_APPEND_ALL.max(MAX_RECORD) {
            return Err(AppendError::TooLarge { bytes: total });
        }
        let places = sizes()
            .map(|size| size.div_ceil(UNIT).max(1))
            .sum::<usize>();
        let bytes = sizes().map(frame_len).sum();
        Ok(Self {
            work,
            bytes,
            places: u32::try_from(places).unwrap_or(u32::MAX),
        })
    }
}

/// Why the queue takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Closed,
    Poisoned,
}

impl Stop {
    fn error(self) -> AppendError {
        match self {
            Self::Closed => AppendError::Closed,
            Self::Poisoned => AppendError::Poisoned,
        }
    }
}

/// What became of an entry that was pushed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The writer will take it.
    Queued,
    /// The same, but no writer is running: the caller has to start one.
    WriterNeeded,
}

/// The queue. Places are taken before pushing and given back when the writer takes the work into a batch.
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    room: Semaphore,
    capacity: u32,
}

struct State {
    entries: VecDeque<Entry>,
    stop: Option<Stop>,
    /// Whether the directory is to be given up once no writer runs.
    closing: bool,
    writer_runs: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                stop: None,
                closing: false,
                writer_runs: false,
            }),
            wake: Condvar::new(),
            room: Semaphore::new(capacity as usize),
            capacity,
        }
    }

    /// Waits for room, then queues. Cancelled while waiting, nothing is queued.
    pub(crate) async fn push(&self, mut entry: Entry) -> Result<Pushed, AppendError> {
        // Work larger than the whole queue goes alone.
        entry.places = entry.places.min(self.capacity);
        match self.room.acquire_many(entry.places).await {
            Ok(places) => places.forget(),
            Err(_closed) => return Err(self.refusal()),
        }
        self.enqueue(entry)
    }

    /// Queues if there is room now.
    pub(crate) fn try_push(&self, mut entry: Entry) -> Result<Pushed, AppendError> {
        entry.places = entry.places.min(self.capacity);
        match self.room.try_acquire_many(entry.places) {
            Ok(places) => places.forget(),
            Err(TryAcquireError::NoPermits) => return Err(AppendError::Full),
            Err(TryAcquireError::Closed) => return Err(self.refusal()),
        }
        self.enqueue(entry)
    }

    fn enqueue(&self, entry: Entry) -> Result<Pushed, AppendError> {
        let mut state = self.state.lock();
        if let Some(stop) = state.stop {
            return Err(stop.error());
        }
        state.entries.push_back(entry);
        if !std::mem::replace(&mut state.writer_runs, true) {
            return Ok(Pushed::WriterNeeded);
        }
        drop(state);
        self.wake.notify_one();
        Ok(Pushed::Queued)
    }

    /// Whether a small append would be queued at once.
    pub(crate) fn has_room(&self) -> bool {
        self.room.available_permits() > 0 && self.stop().is_none()
    }

    /// How many appends wait for the writer.
    pub(crate) fn depth(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Why nothing more is taken, if so.
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.state.lock().stop
    }

    /// For the writer: moves all work into the empty `pending`, waiting for some. False when the writer shall
    /// end: the queue was stopped and is drained, or nothing came for `idle`.
    pub(crate) fn take(&self, pending: &mut VecDeque<Entry>, idle: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        while state.entries.is_empty() {
            let timed_out = match (state.stop, idle) {
                (Some(_), _) => true,
                (None, Some(idle)) => self.wake.wait_for(&mut state, idle).timed_out(),
                (None, None) => {
                    self.wake.wait(&mut state);
                    false
                }
            };
            if timed_out && state.entries.is_empty() {
                // Under the lock: whoever pushes next sees that a writer is needed.
                state.writer_runs = false;
                return false;
            }
        }
        std::mem::swap(&mut state.entries, pending);
        true
    }

    /// For the writer: gives the places of work back once it is in a batch.
    pub(crate) fn release(&self, batch: &[Entry]) {
        let places: u64 = batch.iter().map(|entry| u64::from(entry.places)).sum();
        self.room.add_permits(places as usize);
    }

    /// Takes no more; what is queued will still be written. Returns whether no writer is running, so that the caller
    /// has to finish in its place.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state.lock();
        state.stop.get_or_insert(Stop::Closed);
        state.closing = true;
        let idle = !state.writer_runs;
        drop(state);
        self.room.close();
        self.wake.notify_all();
        idle
    }

    /// Takes no more and refuses what is queued.
    pub(crate) fn poison(&self) {
        let mut state = self.state.lock();
        state.stop = Some(Stop::Poisoned);
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        self.room.close();
        self.wake.notify_all();
        for entry in entries {
            entry.work.refuse(AppendError::Poisoned);
        }
    }

    /// For a writer that ends: whether it is the one who has to give the directory up. A writer that ended idle may
    /// have been replaced already; after poison none is.
    pub(crate) fn writer_ended(&self) -> bool {
        let mut state = self.state.lock();
        if state.stop == Some(Stop::Poisoned) {
            state.writer_runs = false;
        }
        state.closing && !state.writer_runs
    }

    /// The error for whoever comes after the stop.
    pub(crate) fn refusal(&self) -> AppendError {
        self.stop().map_or(AppendError::Closed, Stop::error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: usize) -> Entry {
        Entry::new(Work::One(Bytes::from(vec![0; size]), oneshot::channel().0)).unwrap()
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_room_comes_back_with_the_batch() {
        let queue = Queue::new(2);
        assert_eq!(queue.try_push(entry(1)).unwrap(), Pushed::WriterNeeded);
        assert!(queue.has_room());
        assert_eq!(queue.try_push(entry(1)).unwrap(), Pushed::Queued);
        assert!(!queue.has_room());
        assert!(matches!(queue.try_push(entry(1)), Err(AppendError::Full)));
        let mut pending = VecDeque::new();
        assert!(queue.take(&mut pending, None));
        queue.release(pending.make_contiguous());
        assert_eq!(queue.try_push(entry(1)).unwrap(), Pushed::Queued);
    }

    #[test]
    fn large_work_takes_more_places_but_never_more_than_there_are() {
        let queue = Queue::new(4);
        queue.try_push(entry(3 * UNIT)).unwrap();
        assert!(matches!(
            queue.try_push(entry(2 * UNIT)),
            Err(AppendError::Full)
        ));
        let mut pending = VecDeque::new();
        assert!(queue.take(&mut pending, None));
        queue.release(pending.make_contiguous());
        queue.try_push(entry(100 * UNIT)).unwrap();
    }

    #[test]
    fn a_closed_queue_is_drained_and_then_ends_the_writer() {
        let queue = Queue::new(4);
        queue.try_push(entry(1)).unwrap();
        assert!(!queue.close());
        assert!(matches!(queue.try_push(entry(1)), Err(AppendError::Closed)));
        let mut pending = VecDeque::new();
        assert!(queue.take(&mut pending, None));
        pending.clear();
        assert!(!queue.take(&mut pending, None));
    }

    #[test]
    fn an_idle_writer_ends_and_the_next_push_asks_for_a_new_one() {
        let queue = Queue::new(4);
        queue.try_push(entry(1)).unwrap();
        let mut pending = VecDeque::new();
        assert!(queue.take(&mut pending, Some(Duration::from_millis(1))));
        pending.clear();
        assert!(!queue.take(&mut pending, Some(Duration::from_millis(1))));
        assert_eq!(queue.try_push(entry(1)).unwrap(), Pushed::WriterNeeded);
    }

    #[test]
    fn sizes_beyond_the_limits_are_refused() {
        let huge = Bytes::from(vec![0; MAX_RECORD + 1]);
        let work = Work::One(huge, oneshot::channel().0);
        assert!(matches!(
            Entry::new(work),
            Err(AppendError::TooLarge { .. })
        ));
        let large = Bytes::from(vec![0; MAX_RECORD]);
        let work = Work::Many(
            vec![large.clone(), large.clone(), large],
            oneshot::channel().0,
        );
        assert!(matches!(
            Entry::new(work),
            Err(AppendError::TooLarge { .. })
        ));
    }
}

//! Planes as they are at this moment: their sessions, what they last said, and the way to ask them
//! something. In memory only; a restart learns it anew. What is on another control plane stands here
//! as a mirror, which [`crate::replicas`] keeps.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use zen_proto::ids::PlaneId;
use zen_proto::query::v1::{answer, query};

use crate::plane::Report;

/// Orders waiting for one session at the most.
const ORDERS: usize = 64;
/// Questions waiting to be handed to other control planes at the most.
const ABROAD: usize = 256;
/// What another control plane adds to the time of a question at the most.
const DETOUR: Duration = Duration::from_secs(2);

/// What a session is told to do.
pub(crate) enum Order {
    /// Ask the plane. In a box: each session's queue has room for many, and most stay empty.
    Ask(Box<Ask>),
    /// Tell the plane that it is retired, and end.
    Retire,
}

/// A question on its way to a plane.
pub(crate) struct Ask {
    /// Unique in this process.
    pub(crate) query_id: String,
    pub(crate) question: query::Question,
    pub(crate) timeout: Duration,
    /// Takes the answer; dropped if there will be none.
    pub(crate) reply: oneshot::Sender<answer::Answer>,
}

/// A question to a plane whose session is on another control plane.
pub(crate) struct AskAbroad {
    pub(crate) replica: String,
    pub(crate) plane: PlaneId,
    pub(crate) question: query::Question,
    pub(crate) timeout: Duration,
    pub(crate) reply: oneshot::Sender<Result<answer::Answer, AskError>>,
}

/// Why a plane gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// It has no session, or lost it meanwhile.
    #[error("the plane is not connected")]
    NotConnected,
    /// Too many questions wait already.
    #[error("too many questions are waiting for the plane")]
    Busy,
    /// It did not answer in time.
    #[error("the plane did not answer in time")]
    Timeout,
}

/// Every plane that was heard of since the start. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live(Arc<Inner>);

struct Inner {
    planes: Mutex<HashMap<PlaneId, Entry>>,
    numbers: AtomicU64,
    /// What other control planes shall know; none if there can be no others.
    news: Option<News>,
}

/// What changed since the last look, for the other control planes.
struct News {
    changed: Mutex<BTreeSet<PlaneId>>,
    /// Wakes when a session opens or ends; what is merely said waits for the next beat.
    urgent: Notify,
    abroad: mpsc::Sender<AskAbroad>,
}

struct Entry {
    /// Revision last published, as far as was said since the start; wakes the session.
    revision: watch::Sender<u64>,
    place: Whereabouts,
    /// When the newest session known was opened, by the one clock of all control planes.
    opened_at: u64,
    report: Report,
}

/// Where a plane's session is.
enum Whereabouts {
    Nowhere,
    Here(Handle),
    /// On the control plane of this id.
    There(String),
}

struct Handle {
    number: u64,
    orders: mpsc::Sender<Order>,
}

/// A session's place among the live planes; given back when dropped.
pub(crate) struct Place {
    live: Live,
    plane: PlaneId,
    number: u64,
    /// What to do; ends when a newer session of the plane takes the place.
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Wakes when a revision is published.
    pub(crate) revision: watch::Receiver<u64>,
}

/// A session as the other control planes shall know it.
pub(crate) struct Told {
    pub(crate) plane: PlaneId,
    pub(crate) opened_at: u64,
    pub(crate) open: bool,
    pub(crate) report: Report,
}

impl Entry {
    fn new() -> Self {
        Self {
            revision: watch::Sender::new(0),
            place: Whereabouts::Nowhere,
            opened_at: 0,
            report: Report::default(),
        }
    }

    const fn is_open(&self) -> bool {
        !matches!(self.place, Whereabouts::Nowhere)
    }

    /// The session's way in, if it is here and of that number.
    fn is_here(&self, number: u64) -> bool {
        matches!(&self.place, Whereabouts::Here(handle) if handle.number == number)
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::with(None)
    }
}

impl Live {
    fn with(news: Option<News>) -> Self {
        Self(Arc::new(Inner {
            planes: Mutex::default(),
            numbers: AtomicU64::new(0),
            news,
        }))
    }

    /// Live planes that other control planes share; with the questions to be handed to them.
    pub(crate) fn shared() -> (Self, mpsc::Receiver<AskAbroad>) {
        let (abroad, asked) = mpsc::channel(ABROAD);
        let news = News {
            changed: Mutex::default(),
            urgent: Notify::new(),
            abroad,
        };
        (Self::with(Some(news)), asked)
    }

    /// Takes the plane's place for a new session, opened at `opened_at` by the one clock of all
    /// control planes; an older one learns it by the end of its orders.
    pub(crate) fn attach(&self, plane: PlaneId, report: Report, opened_at: u64) -> Place {
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let mut planes = self.0.planes.lock();
        let entry = planes.entry(plane).or_insert_with(Entry::new);
        entry.place = Whereabouts::Here(Handle {
            number,
            orders: orders_in,
        });
        entry.opened_at = opened_at;
        entry.report = report;
        let revision = entry.revision.subscribe();
        drop(planes);
        self.tell(plane, true);
        Place {
            live: self.clone(),
            plane,
            number,
            orders,
            revision,
        }
    }

    fn tell(&self, plane: PlaneId, urgent: bool) {
        if let Some(news) = &self.0.news {
            news.changed.lock().insert(plane);
            if urgent {
                news.urgent.notify_one();
            }
        }
    }

    /// A revision was published: wakes the plane's session, unless it is no news.
    pub(crate) fn published(&self, plane: PlaneId, revision: u64) {
        let mut planes = self.0.planes.lock();
        let entry = planes.entry(plane).or_insert_with(Entry::new);
        entry.revision.send_if_modified(|known| {
            let news = *known < revision;
            *known = revision.max(*known);
            news
        });
    }

    /// Whether the plane has a session, here or elsewhere, and what it last said.
    pub(crate) fn look(&self, plane: PlaneId) -> Option<(bool, Report)> {
        let planes = self.0.planes.lock();
        planes
            .get(&plane)
            .map(|entry| (entry.is_open(), entry.report.clone()))
    }

    /// Reads whether the plane has a session, and what it last said, without copying it.
    pub(crate) fn read<T>(
        &self,
        plane: PlaneId,
        read: impl FnOnce(bool, &Report) -> T,
    ) -> Option<T> {
        let planes = self.0.planes.lock();
        let entry = planes.get(&plane)?;
        Some(read(entry.is_open(), &entry.report))
    }

    /// How many sessions are open here.
    pub(crate) fn sessions(&self) -> usize {
        let planes = self.0.planes.lock();
        let here = |entry: &&Entry| matches!(entry.place, Whereabouts::Here(_));
        planes.values().filter(here).count()
    }

    /// Tells the plane's session, if there is one here, that the plane is retired.
    pub(crate) fn retire(&self, plane: PlaneId) {
        let mut planes = self.0.planes.lock();
        let Some(entry) = planes.get_mut(&plane) else {
            return;
        };
        if let Whereabouts::Here(session) = &entry.place {
            // A session with no room for the order ends all the same, now that its orders do.
            let _told = session.orders.try_send(Order::Retire);
            entry.place = Whereabouts::Nowhere;
            drop(planes);
            self.tell(plane, true);
        }
    }

    /// Asks the plane and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn ask(
        &self,
        plane: PlaneId,
        question: query::Question,
        timeout: Duration,
    ) -> Result<answer::Answer, AskError> {
        let replica = {
            let planes = self.0.planes.lock();
            match planes.get(&plane).map(|entry| &entry.place) {
                Some(Whereabouts::There(replica)) => Some(replica.clone()),
                _ => None,
            }
        };
        match replica {
            Some(replica) => self.ask_abroad(replica, plane, question, timeout).await,
            None => self.ask_here(plane, question, timeout).await,
        }
    }

    /// Asks a plane whose session is on another control plane.
    async fn ask_abroad(
        &self,
        replica: String,
        plane: PlaneId,
        question: query::Question,
        timeout: Duration,
    ) -> Result<answer::Answer, AskError> {
        let (reply, answered) = oneshot::channel();
        let ask = AskAbroad {
            replica,
            plane,
            question,
            timeout,
            reply,
        };
        let news = self.0.news.as_ref().ok_or(AskError::NotConnected)?;
        news.abroad.try_send(ask).map_err(|_| AskError::Busy)?;
        match tokio::time::timeout(timeout + DETOUR, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_dropped)) => Err(AskError::NotConnected),
            Err(_elapsed) => Err(AskError::Timeout),
        }
    }

    /// Asks a plane whose session is here.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn ask_here(
        &self,
        plane: PlaneId,
        question: query::Question,
        timeout: Duration,
    ) -> Result<answer::Answer, AskError> {
        let orders = {
            let planes = self.0.planes.lock();
            match planes.get(&plane).map(|entry| &entry.place) {
                Some(Whereabouts::Here(session)) => session.orders.clone(),
                _ => return Err(AskError::NotConnected),
            }
        };
        let (reply, answered) = oneshot::channel();
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let ask = Ask {
            query_id: format!("q{number}"),
            question,
            timeout,
            reply,
        };
        orders
            .try_send(Order::Ask(Box::new(ask)))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AskError::Busy,
                mpsc::error::TrySendError::Closed(_) => AskError::NotConnected,
            })?;
        // Kept, the queue would seem in use after the session was replaced.
        drop(orders);
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_dropped)) => Err(AskError::NotConnected),
            Err(_elapsed) => Err(AskError::Timeout),
        }
    }
}

/// What concerns other control planes.
impl Live {
    /// Waits until a session opened or ended.
    pub(crate) async fn urgent(&self) {
        match &self.0.news {
            Some(news) => news.urgent.notified().await,
            None => std::future::pending().await,
        }
    }

    /// What changed of the sessions here since the last look.
    pub(crate) fn take_news(&self) -> Vec<Told> {
        let Some(news) = &self.0.news else {
            return Vec::new();
        };
        let changed = std::mem::take(&mut *news.changed.lock());
        let planes = self.0.planes.lock();
        let told = changed.into_iter().filter_map(|plane| {
            let entry = planes.get(&plane)?;
            // What is elsewhere is told from there.
            let here = !matches!(entry.place, Whereabouts::There(_));
            here.then(|| Told {
                plane,
                opened_at: entry.opened_at,
                open: entry.is_open(),
                report: entry.report.clone(),
            })
        });
        told.collect()
    }

    /// News that could not be told is news again.
    pub(crate) fn put_back_news(&self, told: &[PlaneId]) {
        if let Some(news) = &self.0.news {
            news.changed.lock().extend(told);
        }
    }

    /// Another control plane tells of a session. If it is newer than the one here, that one ends:
    /// the agent has moved.
    pub(crate) fn told(&self, replica: &str, told: Told) {
        let mut planes = self.0.planes.lock();
        let entry = planes.entry(told.plane).or_insert_with(Entry::new);
        if told.opened_at < entry.opened_at {
            return;
        }
        entry.opened_at = told.opened_at;
        entry.report = told.report;
        // Dropping what was here ends its orders, and so the session.
        entry.place = if told.open {
            Whereabouts::There(replica.to_owned())
        } else {
            Whereabouts::Nowhere
        };
    }

    /// Sessions on control planes that are not among the living are over.
    pub(crate) fn alive(&self, replicas: &BTreeSet<String>) {
        let mut planes = self.0.planes.lock();
        for entry in planes.values_mut() {
            if matches!(&entry.place, Whereabouts::There(replica) if !replicas.contains(replica)) {
                entry.place = Whereabouts::Nowhere;
            }
        }
    }
}

impl Place {
    /// Changes what the plane last said, unless a newer session has taken the place.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        let mut planes = self.live.0.planes.lock();
        if let Some(entry) = planes.get_mut(&self.plane)
            && entry.is_here(self.number)
        {
            change(&mut entry.report);
            drop(planes);
            self.live.tell(self.plane, false);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut planes = self.live.0.planes.lock();
        if let Some(entry) = planes.get_mut(&self.plane)
            && entry.is_here(self.number)
        {
            entry.place = Whereabouts::Nowhere;
            drop(planes);
            self.live.tell(self.plane, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;
    use zen_proto::query::v1::ListDeliveries;

    use super::*;

    fn question() -> query::Question {
        query::Question::ListDeliveries(ListDeliveries::default())
    }

    #[tokio::test]
    async fn a_newer_session_ends_the_older_ones_orders_and_keeps_its_place() {
        let live = Live::default();
        let plane = PlaneId::generate(1, [1; 10]);
        let mut older = live.attach(plane, Report::default(), 1);
        let newer = live.attach(plane, Report::default(), 1);
        assert!(older.orders.recv().await.is_none());
        drop(older);
        assert_eq!(live.sessions(), 1);
        drop(newer);
        assert_eq!(live.sessions(), 0);
    }

    #[tokio::test]
    async fn a_question_to_a_silent_plane_times_out_and_to_an_absent_one_fails_at_once() {
        let live = Live::default();
        let plane = PlaneId::generate(1, [1; 10]);
        let short = Duration::from_millis(20);
        assert_eq!(
            live.ask(plane, question(), short).await,
            Err(AskError::NotConnected)
        );
        let place = live.attach(plane, Report::default(), 1);
        assert_eq!(
            live.ask(plane, question(), short).await,
            Err(AskError::Timeout)
        );
        for _ in 1..ORDERS {
            let _timed_out = live.ask(plane, question(), Duration::from_millis(1)).await;
        }
        assert_eq!(
            live.ask(plane, question(), short).await,
            Err(AskError::Busy)
        );
        drop(place);
    }

    #[tokio::test]
    async fn a_published_revision_wakes_the_session() {
        let live = Live::default();
        let plane = PlaneId::generate(1, [1; 10]);
        live.published(plane, 3);
        let mut place = live.attach(plane, Report::default(), 1);
        live.published(plane, 4);
        place.revision.changed().await.unwrap();
        assert_eq!(*place.revision.borrow(), 4);
    }

    fn told(plane: PlaneId, opened_at: u64, open: bool) -> Told {
        Told {
            plane,
            opened_at,
            open,
            report: Report::default(),
        }
    }

    #[tokio::test]
    async fn a_newer_session_elsewhere_ends_the_one_here_and_late_news_of_an_older_one_does_not() {
        let (live, _asked) = Live::shared();
        let plane = PlaneId::generate(1, [1; 10]);
        let mut place = live.attach(plane, Report::default(), 5);
        live.told("other", told(plane, 4, true));
        assert!(matches!(
            place.orders.try_recv(),
            Err(mpsc::error::TryRecvError::Empty)
        ));
        live.told("other", told(plane, 6, true));
        assert!(place.orders.recv().await.is_none());
        drop(place);
        assert!(live.look(plane).unwrap().0, "it is open elsewhere");
        live.alive(&BTreeSet::new());
        assert!(!live.look(plane).unwrap().0, "that control plane is dead");
    }

    #[tokio::test]
    async fn what_opened_or_was_said_here_is_told_once() {
        let (live, _asked) = Live::shared();
        let plane = PlaneId::generate(1, [1; 10]);
        let place = live.attach(plane, Report::default(), 5);
        live.urgent().await;
        assert!(live.take_news()[0].open);
        assert!(live.take_news().is_empty());
        place.update(|report| report.applied_revision = 3);
        assert_eq!(live.take_news()[0].report.applied_revision, 3);
        drop(place);
        assert!(!live.take_news()[0].open);
    }
}

//! Planes as they are at this moment: their sessions, what they last said, and the way to ask them
//! something. In memory only; a restart learns it anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use zen_proto::ids::PlaneId;
use zen_proto::query::v1::{answer, query};

use crate::plane::Report;

/// Orders waiting for one session at the most.
const ORDERS: usize = 64;

/// What a session is told to do.
pub(crate) enum Order {
    /// Ask the plane.
    Ask(Ask),
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
#[derive(Clone, Default)]
pub(crate) struct Live(Arc<Inner>);

#[derive(Default)]
struct Inner {
    planes: Mutex<HashMap<PlaneId, Entry>>,
    numbers: AtomicU64,
}

struct Entry {
    /// Revision last published, as far as was said since the start; wakes the session.
    revision: watch::Sender<u64>,
    session: Option<Handle>,
    report: Report,
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

impl Entry {
    fn new() -> Self {
        Self {
            revision: watch::Sender::new(0),
            session: None,
            report: Report::default(),
        }
    }
}

impl Live {
    /// Takes the plane's place for a new session; an older one learns it by the end of its orders.
    pub(crate) fn attach(&self, plane: PlaneId, report: Report) -> Place {
        let (orders_in, orders) = mpsc::channel(ORDERS);
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let mut planes = self.0.planes.lock();
        let entry = planes.entry(plane).or_insert_with(Entry::new);
        entry.session = Some(Handle {
            number,
            orders: orders_in,
        });
        entry.report = report;
        let revision = entry.revision.subscribe();
        Place {
            live: self.clone(),
            plane,
            number,
            orders,
            revision,
        }
    }

    /// A revision was published: wakes the plane's session.
    pub(crate) fn published(&self, plane: PlaneId, revision: u64) {
        let mut planes = self.0.planes.lock();
        planes
            .entry(plane)
            .or_insert_with(Entry::new)
            .revision
            .send_replace(revision);
    }

    /// Whether the plane has a session, and what it last said.
    pub(crate) fn look(&self, plane: PlaneId) -> Option<(bool, Report)> {
        let planes = self.0.planes.lock();
        planes
            .get(&plane)
            .map(|entry| (entry.session.is_some(), entry.report.clone()))
    }

    /// How many sessions are open.
    pub(crate) fn sessions(&self) -> usize {
        self.0
            .planes
            .lock()
            .values()
            .filter(|entry| entry.session.is_some())
            .count()
    }

    /// Tells the plane's session, if there is one, that the plane is retired.
    pub(crate) fn retire(&self, plane: PlaneId) {
        let mut planes = self.0.planes.lock();
        let Some(entry) = planes.get_mut(&plane) else {
            return;
        };
        if let Some(session) = entry.session.take() {
            // A session with no room for the order ends all the same, now that its orders do.
            let _told = session.orders.try_send(Order::Retire);
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
        let orders = {
            let planes = self.0.planes.lock();
            let session = planes.get(&plane).and_then(|entry| entry.session.as_ref());
            session
                .map(|session| session.orders.clone())
                .ok_or(AskError::NotConnected)?
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
            .try_send(Order::Ask(ask))
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

impl Place {
    /// Changes what the plane last said, unless a newer session has taken the place.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        let mut planes = self.live.0.planes.lock();
        if let Some(entry) = planes.get_mut(&self.plane)
            && entry
                .session
                .as_ref()
                .is_some_and(|session| session.number == self.number)
        {
            change(&mut entry.report);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut planes = self.live.0.planes.lock();
        if let Some(entry) = planes.get_mut(&self.plane)
            && entry
                .session
                .as_ref()
                .is_some_and(|session| session.number == self.number)
        {
            entry.session = None;
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
        let mut older = live.attach(plane, Report::default());
        let newer = live.attach(plane, Report::default());
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
        let place = live.attach(plane, Report::default());
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
        let mut place = live.attach(plane, Report::default());
        live.published(plane, 4);
        place.revision.changed().await.unwrap();
        assert_eq!(*place.revision.borrow(), 4);
    }
}

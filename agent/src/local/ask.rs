//! Questions of the control plane: to the instances that can answer, and their pages back as one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use zen_proto::component::Component;
use zen_proto::limits;
use zen_proto::query::v1::query::Question;
use zen_proto::query::v1::{Answer, DeliveryPage, Query, QueryError, answer};

/// Questions on their way to one instance.
const QUEUE: usize = 16;
/// Instances that may be asked at once.
const MOST: usize = 64;
/// Time for an answer if the question names none, and the most it may name.
const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60);
/// Rows of a page if the question names no number.
const ROWS: u32 = 50;
/// Largest cursor that is looked at.
const CURSOR: usize = 16 * 1024;

/// Knows who answers. Clones are the same router.
#[derive(Clone, Default)]
pub(crate) struct Router(Arc<Shared>);

#[derive(Default)]
struct Shared {
    askers: Mutex<BTreeMap<u64, Asker>>,
    next: AtomicU64,
}

/// One instance that takes questions.
struct Asker {
    component: Component,
    instance: String,
    questions: mpsc::Sender<Query>,
    waiting: HashMap<String, oneshot::Sender<answer::Answer>>,
}

/// An instance's place with the router; given up when dropped.
pub(crate) struct Place {
    router: Router,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.router.0.askers.lock().remove(&self.id);
    }
}

impl Place {
    /// An answer came; one that nobody waits for any more is dropped.
    pub(crate) fn answer(&self, answer: Answer) {
        let waiting = match self.router.0.askers.lock().get_mut(&self.id) {
            Some(asker) => asker.waiting.remove(&answer.query_id),
            None => None,
        };
        if let (Some(waiting), Some(answer)) = (waiting, answer.answer) {
            // Whoever asked may have given up meanwhile.
            let _sent = waiting.send(answer);
        }
    }
}

impl Router {
    /// Takes in an instance that answers questions; nothing if there are too many. A newer
    /// connection of the same instance takes the place of the one before.
    pub(crate) fn enter(
        &self,
        component: Component,
        instance: &str,
    ) -> Option<(Place, mpsc::Receiver<Query>)> {
        let (questions, queue) = mpsc::channel(QUEUE);
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let mut askers = self.0.askers.lock();
        askers.retain(|_, asker| (asker.component, &*asker.instance) != (component, instance));
        if askers.len() >= MOST {
            return None;
        }
        let instance = instance.to_owned();
        askers.insert(
            id,
            Asker {
                component,
                instance,
                questions,
                waiting: HashMap::new(),
            },
        );
        drop(askers);
        Some((
            Place {
                router: self.clone(),
                id,
            },
            queue,
        ))
    }

    /// Asks every instance that can answer, and makes one answer of theirs.
    pub(crate) async fn ask(&self, query: Query) -> Answer {
        let query_id = query.query_id.clone();
        let answer = match self.page(query).await {
            Ok(page) => answer::Answer::Deliveries(page),
            Err(error) => answer::Answer::Error(error),
        };
        Answer {
            query_id,
            answer: Some(answer),
        }
    }

    async fn page(&self, query: Query) -> Result<DeliveryPage, QueryError> {
        // Every question there is today is one of the egress's ledger.
        let component = Component::Egress;
        let asked = parts(&query, &self.instances(component))?;
        let timeout = match query.timeout_ms {
            0 => TIMEOUT,
            given => Duration::from_millis(given.into()).min(LONGEST),
        };
        let answers = asked.into_iter().map(|(instance, part)| async move {
            let answer = self.ask_one(component, &instance, part, timeout).await?;
            Ok((instance, answer))
        });
        let mut pages = Vec::new();
        for answer in join_all(answers).await {
            match answer? {
                (instance, answer::Answer::Deliveries(page)) => pages.push((instance, page)),
                (_, answer::Answer::Error(error)) => return Err(error),
            }
        }
        Ok(merge(pages))
    }

    fn instances(&self, component: Component) -> Vec<String> {
        let askers = self.0.askers.lock();
        let those = askers.values().filter(|asker| asker.component == component);
        those.map(|asker| asker.instance.clone()).collect()
    }

    async fn ask_one(
        &self,
        component: Component,
        instance: &str,
        query: Query,
        timeout: Duration,
    ) -> Result<answer::Answer, QueryError> {
        let (reply, answer) = oneshot::channel();
        let query_id = query.query_id.clone();
        let place = {
            let mut askers = self.0.askers.lock();
            let mut those = askers.iter_mut();
            let found = those.find(|(_, a)| (a.component, &*a.instance) == (component, instance));
            let Some((id, asker)) = found else {
                return Err(error(
                    "COMPONENT_ABSENT",
                    &format!("{component} {instance} left"),
                ));
            };
            if asker.questions.try_send(query).is_err() {
                let text = format!("{component} {instance} has too many questions waiting");
                return Err(error("QUERY_FAILED", &text));
            }
            asker.waiting.insert(query_id.clone(), reply);
            *id
        };
        let outcome = tokio::time::timeout(timeout, answer).await;
        if let Some(asker) = self.0.askers.lock().get_mut(&place) {
            asker.waiting.remove(&query_id);
        }
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(error(
                "COMPONENT_ABSENT",
                &format!("{component} {instance} left"),
            )),
            Err(_) => {
                let text = format!("no answer of {component} {instance} in time");
                Err(error("QUERY_TIMEOUT", &text))
            }
        }
    }
}

/// Who is asked what: all instances share the page, each goes on from its own cursor. A page that
/// was the last of an instance leaves it out.
fn parts(query: &Query, present: &[String]) -> Result<Vec<(String, Query)>, QueryError> {
    let (limit, cursor) = match &query.question {
        Some(Question::ListDeliveries(list)) => (list.limit, &list.cursor),
        Some(Question::ListDeadLetters(list)) => (list.limit, &list.cursor),
        None => {
            return Err(error(
                "QUERY_INVALID",
                "the question is not known to this agent",
            ));
        }
    };
    let places: BTreeMap<String, String> = if cursor.is_empty() {
        present
            .iter()
            .map(|instance| (instance.clone(), String::new()))
            .collect()
    } else {
        read_cursor(cursor).ok_or_else(|| error("QUERY_INVALID", "the cursor is malformed"))?
    };
    if places.is_empty() {
        return Err(error(
            "COMPONENT_ABSENT",
            "no egress is connected to the agent",
        ));
    }
    let limit = if limit == 0 {
        ROWS
    } else {
        limit.min(limits::PAGE)
    };
    let share = (limit / u32::try_from(places.len()).unwrap_or(u32::MAX)).max(1);
    let part = |cursor: String| {
        let mut part = query.clone();
        match &mut part.question {
            Some(Question::ListDeliveries(list)) => (list.limit, list.cursor) = (share, cursor),
            Some(Question::ListDeadLetters(list)) => (list.limit, list.cursor) = (share, cursor),
            None => {}
        }
        part
    };
    Ok(places
        .into_iter()
        .map(|(instance, cursor)| (instance, part(cursor)))
        .collect())
}

/// One page of several: newest first, and a cursor that remembers where each instance stopped.
fn merge(pages: Vec<(String, DeliveryPage)>) -> DeliveryPage {
    let mut places = BTreeMap::new();
    let mut deliveries = Vec::new();
    for (instance, page) in pages {
        deliveries.extend(page.deliveries);
        if !page.next_cursor.is_empty() {
            places.insert(instance, page.next_cursor);
        }
    }
    // Stable: an instance's own order stays among equals.
    deliveries.sort_by_key(|delivery| std::cmp::Reverse(delivery.accepted_at_ms));
    DeliveryPage {
        deliveries,
        next_cursor: write_cursor(&places),
    }
}

fn write_cursor(places: &BTreeMap<String, String>) -> String {
    if places.is_empty() {
        return String::new();
    }
    serde_json::to_vec(places)
        .map(hex::encode)
        .unwrap_or_default()
}

fn read_cursor(cursor: &str) -> Option<BTreeMap<String, String>> {
    if cursor.len() > CURSOR {
        return None;
    }
    serde_json::from_slice(&hex::decode(cursor).ok()?).ok()
}

fn error(code: &str, detail: &str) -> QueryError {
    QueryError {
        code: code.to_owned(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
#[path = "ask/tests.rs"]
mod tests;

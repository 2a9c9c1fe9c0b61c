//! Questions of the control plane: to the instances that can answer, and their answers back as one.

mod merge;
mod pages;
mod replays;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use zen_proto::component::Component;
use zen_proto::query::v1::query::Question;
use zen_proto::query::v1::{Answer, Pong, Probed, Query, QueryError, answer};

/// Questions on their way to one instance.
const QUEUE: usize = 16;
/// Instances that may be asked at once.
const MOST: usize = 64;
/// Time for an answer if the question names none, and the most it may name.
const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60);

/// What each instance made of its part of a question.
type Answers = Vec<(String, Result<answer::Answer, QueryError>)>;

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

    /// Asks whoever can answer, and makes one answer of theirs.
    pub(crate) async fn ask(&self, query: Query) -> Answer {
        let query_id = query.query_id.clone();
        let answer = self.answer(query).await;
        Answer {
            query_id,
            answer: Some(answer.unwrap_or_else(answer::Answer::Error)),
        }
    }

    /// By the kind of question: to the egresses what is of their ledgers, to one that knows the
    /// target or endpoint what is tried, to everybody a probe, to nobody a ping.
    async fn answer(&self, query: Query) -> Result<answer::Answer, QueryError> {
        match &query.question {
            Some(Question::ListDeliveries(_) | Question::ListDeadLetters(_)) => {
                let asked = pages::parts(&query, &self.instances(Component::Egress))?;
                let answers = self.ask_each(Component::Egress, asked, &query).await;
                pages::merge(answers)
            }
            Some(Question::GetDelivery(_)) => {
                let asked = same(&query, &self.present(Component::Egress)?);
                merge::found(self.ask_each(Component::Egress, asked, &query).await)
            }
            Some(Question::Replay(_)) => {
                let asked = replays::parts(&query, &self.instances(Component::Egress))?;
                let answers = self.ask_each(Component::Egress, asked, &query).await;
                replays::merge(answers)
            }
            Some(Question::TestCall(_)) => self.ask_any(Component::Egress, &query).await,
            Some(Question::TestEvent(_)) => self.ask_any(Component::Ingester, &query).await,
            Some(Question::Probe(_)) => Ok(self.probe(&query).await),
            Some(Question::Ping(_)) => Ok(answer::Answer::Pong(Pong {})),
            // The control plane's session keeps it to itself.
            Some(Question::RotatePlaneCa(_)) | None => Err(error(
                "QUERY_INVALID",
                "the question is not known to this agent",
            )),
        }
    }

    /// Every ingester and egress tells its own hops.
    async fn probe(&self, query: &Query) -> answer::Answer {
        let of = async |component: Component| {
            let asked = same(query, &self.instances(component));
            merge::hops(component, self.ask_each(component, asked, query).await)
        };
        let (first, second) = join(of(Component::Ingester), of(Component::Egress)).await;
        let hops = first.into_iter().chain(second).collect();
        answer::Answer::Probed(Probed { hops })
    }

    /// Asks one instance after the other until one has answered.
    async fn ask_any(
        &self,
        component: Component,
        query: &Query,
    ) -> Result<answer::Answer, QueryError> {
        let mut outcome = Err(absent(component));
        for instance in self.present(component)? {
            outcome = self
                .ask_one(component, &instance, query.clone(), timeout(query))
                .await;
            let gone = |error: &QueryError| error.code == "COMPONENT_ABSENT";
            if !outcome.as_ref().is_err_and(gone) {
                break;
            }
        }
        outcome
    }

    /// Puts its part to each instance, all at once.
    async fn ask_each(
        &self,
        component: Component,
        asked: Vec<(String, Query)>,
        query: &Query,
    ) -> Answers {
        let answers = asked.into_iter().map(|(instance, part)| async move {
            let answer = self.ask_one(component, &instance, part, timeout(query));
            let answer = answer.await.and_then(|answer| match answer {
                answer::Answer::Error(error) => Err(error),
                answer => Ok(answer),
            });
            (instance, answer)
        });
        join_all(answers).await
    }

    /// The instances of a component, at least one.
    fn present(&self, component: Component) -> Result<Vec<String>, QueryError> {
        let instances = self.instances(component);
        if instances.is_empty() {
            return Err(absent(component));
        }
        Ok(instances)
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

/// The same question for each of them.
fn same(query: &Query, instances: &[String]) -> Vec<(String, Query)> {
    let part = |instance: &String| (instance.clone(), query.clone());
    instances.iter().map(part).collect()
}

fn timeout(query: &Query) -> Duration {
    match query.timeout_ms {
        0 => TIMEOUT,
        given => Duration::from_millis(given.into()).min(LONGEST),
    }
}

fn absent(component: Component) -> QueryError {
    let text = format!("no {component} is connected to the agent");
    error("COMPONENT_ABSENT", &text)
}

/// The answer is not one to the question.
fn besides(instance: &str) -> QueryError {
    let text = format!("{instance} answered another question");
    error("QUERY_FAILED", &text)
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
